"""What is being looked at: one value a key, kept in the session and in the URL, so that every view is a link.

The URL wins when it was changed from outside (a link, the back button); otherwise the session does, since Streamlit
clears the URL when a person changes the page.
"""

from collections.abc import Sequence

import streamlit as st

from lib.settings import DEFAULT_BACKBONE

# Query parameter = key. `dataset` and `backbone` are on every page, the others where a page asks for them.
KEYS = ("dataset", "backbone", "run", "runs", "stage", "image", "class", "rule", "race")
_MAX_CHARACTERS = 500


def sync_from_url() -> None:
    """Take over what the URL says, where it says something new. Called by the frame, once a run."""
    seen = st.session_state.setdefault("view_seen_in_url", {})
    for key in KEYS:
        value = st.query_params.get(key)
        if value and value != seen.get(key):
            seen[key] = value
            st.session_state[f"view_{key}"] = value[:_MAX_CHARACTERS]


def remember(key: str, value: str | None) -> None:
    """Choose a value: kept for the session, written to the URL."""
    st.session_state[f"view_{key}"] = value
    show_in_url(key)


def current(key: str) -> str | None:
    """The chosen value of a key, also written to the URL of the page that asks; None if nothing was chosen."""
    show_in_url(key)
    value = st.session_state.get(f"view_{key}")
    return value if isinstance(value, str) and value else None


def show_in_url(key: str) -> None:
    """Write the session's value of a key to the URL."""
    value = st.session_state.get(f"view_{key}")
    if value:
        st.session_state.setdefault("view_seen_in_url", {})[key] = value
        if st.query_params.get(key) != value:
            st.query_params[key] = value
    elif key in st.query_params:
        del st.query_params[key]


def current_dataset() -> str | None:
    """The name of the chosen data set, checked against the library by the frame; None while the library is empty."""
    return current("dataset")


def current_backbone() -> str:
    """The name of the chosen backbone, checked against the table by the frame."""
    return current("backbone") or DEFAULT_BACKBONE


def current_run() -> str | None:
    """The id of the chosen run as the link gave it: unchecked, `get_run` says if there is none."""
    return current("run")


def current_runs() -> list[str]:
    """The ids of the runs chosen for comparison, unchecked."""
    return [run for run in (current("runs") or "").split(",") if run]


def remember_runs(run_ids: Sequence[str]) -> None:
    """Choose the runs to compare."""
    remember("runs", ",".join(run_ids) or None)


def current_stage() -> str | None:
    """The name of the chosen stage, unchecked: it may belong to another backbone."""
    return current("stage")


def current_image() -> str | None:
    """The image_id of the chosen image, unchecked: it may belong to another data set."""
    return current("image")


def link_parameters(**view: str | None) -> dict[str, str]:
    """Query parameters of a link to another page: data set and backbone, and what is given on top."""
    base = {key: st.session_state.get(f"view_{key}") for key in ("dataset", "backbone")}
    return {key: value for key, value in {**base, **view}.items() if value}
