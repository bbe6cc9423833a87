"""What is being looked at: one value a key, kept in the session and in the address, so that every view is a link.

A value comes into the view in two ways. What a person chooses (`remember`) is a step: one entry of the browser's
history, which Back undoes. What a page fills in by itself (`settle`) completes the address without an entry.

Streamlit alone cannot do the second: each write to `st.query_params` makes an entry. So only steps are written there,
all of one click at once; at the end of a run a component replaces the address with the complete one (pages.common.
address). The browser goes on sending what `st.query_params` wrote last, so the address is taken over only where it is
news: on another page, after Back or Forward, or when it is neither what was written last nor what was shown last.
"""

from collections.abc import Sequence
from urllib.parse import urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from lib.models.weights import default_backbone

# Query parameter = key. `dataset` and `backbone` are on every page, the others where a page asks for them.
KEYS = (
    "dataset", "backbone", "run", "runs", "stage", "image", "class", "target", "rule", "race", "recipe", "budget",
    "form", "replay", "view", "cut", "part",
    "kernel", "layer", "networks",
    "beside", "methods", "method", "stages", "ask", "opacity", "unit", "options",
    "second", "tuned", "behind", "channel", "reset",
    "tab", "metric", "axis", "share", "cell", "filter", "at", "cutoff", "sensitivity", "prevalence",
    "columns", "sort", "search", "where", "scope", "studies", "external", "maps", "pictures",
    "published", "boards",
    "colour", "coloured",
    "source", "uploads", "coverage", "rotations", "largest", "status", "given", "decision", "order",
    "split", "flag", "predicted", "outcome", "measure", "between", "falls", "by", "sheet", "open", "way",
)  # fmt: skip
# Which images of a data set are looked at; they are let go with it.
OF_IMAGES = ("split", "flag", "predicted", "outcome", "between", "sheet", "open", "way")
# What `image` may say instead of an image_id; a sample's file name follows.
SAMPLE, UPLOAD, CAMERA = "sample:", "upload", "camera"
# Or an image of "Grade images": the beginning of its digest follows.
GRADED = "graded:"
_MAX_CHARACTERS = 4000  # some hundred runs to compare
_PAGE, _ASKED, _WRITTEN, _SHOWN, _DUE = "view_page", "view_asked", "view_written", "view_shown", "view_step_is_due"


def sync_from_url(page: str) -> None:
    """Take over what the address says where that is news, and write a step that is due. Once a run, by the frame."""
    session = st.session_state
    received = {key: value[:_MAX_CHARACTERS] for key in KEYS if (value := st.query_params.get(key))}
    is_back = is_history_navigation()
    is_other_page = session.get(_PAGE) != page
    asked = session.setdefault(_ASKED, {}).setdefault(page, set())
    session["view_came_back"] = is_back
    if is_back or is_other_page or received not in (session.get(_WRITTEN), session.get(_SHOWN)):
        for key in KEYS:
            if key in received:
                session[f"view_{key}"] = received[key]
            elif is_back and key in asked:
                session[f"view_{key}"] = None  # a page's address holds all that it asked for: here it had none
        session[_DUE] = False
    session[_WRITTEN], session[_PAGE] = received, page
    if session.pop(_DUE, False) and not is_other_page:
        address = view_of_page()
        if address != received:
            st.query_params.from_dict({**_others(), **address})
            session[_WRITTEN] = address
    asked.clear()


def is_history_navigation() -> bool:
    """Whether the browser went to another entry of its history: Back, Forward, or a link inside a page."""
    return bool(getattr(get_script_run_ctx(), "is_history_navigation", False))


def view_of_page() -> dict[str, str]:
    """The values that the page has asked for so far: what its address should say."""
    asked = st.session_state.get(_ASKED, {}).get(st.session_state.get(_PAGE), set())
    values = {key: st.session_state.get(f"view_{key}") for key in KEYS if key in asked}
    return {key: str(value)[:_MAX_CHARACTERS] for key, value in values.items() if value}


def complete_query() -> str:
    """The query of the complete address, at the end of a run; from now on no news."""
    address = st.session_state[_SHOWN] = view_of_page()
    return urlencode({**_others(), **address})


def remember(key: str, value: str | None) -> None:
    """What a person chose: a step that Back undoes."""
    if st.session_state.get(f"view_{key}") != value:
        st.session_state[f"view_{key}"] = value
        st.session_state[_DUE] = True


def settle(key: str, value: str | None) -> None:
    """What a page chose by itself: in the address, but no step."""
    st.session_state[f"view_{key}"] = value


def current(key: str) -> str | None:
    """The chosen value of a key, from now on also in the address of the page that asks; None if nothing was chosen."""
    st.session_state.get(_ASKED, {}).get(st.session_state.get(_PAGE), set()).add(key)
    value = st.session_state.get(f"view_{key}")
    return value if isinstance(value, str) and value else None


def current_dataset() -> str | None:
    """The name of the chosen data set, which may be gone (`resources.find_summary`); None while there is none."""
    return current("dataset")


def choose_dataset(name: str | None) -> None:
    """Another data set: what belonged to the former one is let go."""
    remember("dataset", name)
    for key in ("class", "target", "runs", "race", "replay", *OF_IMAGES):
        settle(key, None)
    image = st.session_state.get("view_image") or ""
    if image not in (UPLOAD, CAMERA) and not image.startswith(SAMPLE):  # those belong to no data set
        settle("image", None)


def current_backbone() -> str:
    """The name of the chosen backbone, checked against the table by the frame."""
    return current("backbone") or default_backbone()


def current_run() -> str | None:
    """The id of the chosen run as the link gave it: unchecked, `get_run` says if there is none."""
    return current("run")


def settle_runs(run_ids: Sequence[str]) -> None:
    """The page chose the runs to compare."""
    settle("runs", ",".join(run_ids) or None)


def current_stage() -> str | None:
    """The name of the chosen stage, unchecked: it may belong to another backbone."""
    return current("stage")


def current_image() -> str | None:
    """The image_id of the chosen image, unchecked: it may belong to another data set; none of "Grade images"."""
    image = current("image")
    return None if image is not None and image.startswith(GRADED) else image


def link_parameters(**view: str | None) -> dict[str, str]:
    """Query parameters of a link to another page: data set and backbone, and what is given on top."""
    base = {key: st.session_state.get(f"view_{key}") for key in ("dataset", "backbone")}
    return {key: value for key, value in {**base, **view}.items() if value}


def page_link(page: str, **view: str | None) -> str:
    """The address of a page with what it shows now and what is given on top, for a link inside a page."""
    asked = st.session_state.get(_ASKED, {}).get(page, set())
    kept = {key: st.session_state.get(f"view_{key}") for key in KEYS if key in asked}
    return f"{page}?{urlencode(link_parameters(**{**kept, **view}))}"


def _others() -> dict[str, str]:
    return {key: value for key, value in st.query_params.to_dict().items() if key not in KEYS}
