"""How many images of each class an import takes: all, so many, or so many to train and to test."""

import streamlit as st

from lib.data.drawing import ALL_IMAGES, Draw

_ALL, _EACH, _PARTS = "all", "each", "parts"
_TITLES = {_ALL: "All", _EACH: "So many of each class", _PARTS: "So many to train and to test"}
_HELP = (
    "Drawn by chance before anything is decoded, a patient whole or not at all. Where the source has parts, images to "
    "train come from its training part and images to test from its test part."
)


def choose_draw() -> Draw:
    """Draw the fields; returns what is asked for."""
    way = st.selectbox("Images", list(_TITLES), format_func=_TITLES.__getitem__, key="explore_draw", help=_HELP)
    if way == _ALL:
        return ALL_IMAGES
    if way == _EACH:
        per_class = int(st.number_input("Of each class", 1, value=200, key="explore_per_class"))
        return Draw(per_class=per_class, seed=_choose_seed())
    left, right = st.columns(2)
    train = int(left.number_input("Of each class to train", 1, value=750, key="explore_train_per_class"))
    test = int(right.number_input("Of each class to test", 1, value=200, key="explore_test_per_class"))
    return Draw(train_per_class=train, test_per_class=test, seed=_choose_seed())


def _choose_seed() -> int:
    return int(st.number_input("Seed of the draw", 0, value=0, key="explore_draw_seed", help="Another, other images."))
