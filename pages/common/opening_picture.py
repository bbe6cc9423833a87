"""The first picture of the start page: one eye through three networks, from the recorded demo. Imports no torch."""

import streamlit as st

from lib.demo.opening import EYE_FILE, TITLES, Opening, View, read_opening
from pages.common.text import percent, plain

_EYE = "eye"
_WORDS = {
    "pretrained": "learned on photographs of the world; only its last layer is new",
    "tuned": "started from there and learned on eyes",
    "scratch": "learned on the same eyes from random weights",
}


def show() -> None:
    """Draw it where the program has a recording."""
    opening = _opening()
    if opening is None:
        return
    left, right = st.columns([1, 1], gap="large", vertical_alignment="center")
    with right:
        st.subheader("Borrowed eyes, new question.", anchor=False)
        options = [_EYE, *(view.network for view in opening.views)]
        chosen = st.select_slider(
            "Through which network", options, value="tuned", format_func={_EYE: "The eye", **TITLES}.get,
            key="start_network", label_visibility="collapsed",
        )  # fmt: skip
        view = next((view for view in opening.views if view.network == chosen), None)
        st.markdown(_words(opening, view))
        st.markdown(plain(opening.finding, 400), help=plain(opening.rule, 600))
    with left:
        name = EYE_FILE if view is None else view.file
        alt = f"A drawn eye with bleedings, {opening.class_name}"
        alt += "" if view is None else f", and where the network {TITLES[view.network].lower()} looks for that grade"
        st.image(str(opening.folder / name), width=320, alt=alt)


def _words(opening: Opening, view: View | None) -> str:
    """What is seen now, always three lines at most."""
    name = plain(opening.class_name)
    if view is None:
        area = percent(opening.lesion_area, 0)
        return f"A drawn eye of the grade **{name}**; bleedings and other lesions take {area} of it."
    return (
        f"**{TITLES[view.network]}**: {_WORDS[view.network]}. It gives *{name}* {view.score:.2f}; "
        f"{percent(view.on_lesions, 0)} of its map lies on lesions, which take {percent(opening.lesion_area, 0)} of "
        "the picture."
    )


@st.cache_data(show_spinner=False)
def _opening() -> Opening | None:
    return read_opening()
