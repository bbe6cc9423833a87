"""Imports that were ended before they were whole: go on, or remove what they stored."""

from functools import partial

import streamlit as st

from lib.data.importing import continue_import
from lib.data.interrupted import KEPT_DAYS, InterruptedImport, drop_interrupted, interrupted_imports
from lib.disk_cache import size_words
from lib.settings import is_allowed
from pages.common import background, clicks, controls
from pages.common.text import plain


def draw(task: str) -> None:
    """One row each, most recent first; `task` is the name of the background task that imports."""
    for one in interrupted_imports():
        if one.num_stored:
            _draw_row(one, task)


def _draw_row(one: InterruptedImport, task: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", border=True, key=f"interrupted_{one.key}"):
        st.markdown(
            f"Interrupted: **{plain(one.name)}** goes on from {one.num_stored:,} of {one.num_files:,} images "
            f"({size_words(one.num_bytes)}, kept for {KEPT_DAYS} days).",
            help=plain(one.source, 400), width="stretch",
        )  # fmt: skip
        st.button(
            "Go on", icon=":material/resume:", type="primary", key=f"continue_{one.key}", on_click=_go_on,
            args=(one, task),
        )  # fmt: skip
        st.button("Remove", icon=":material/delete:", key=f"drop_{one.key}", on_click=_drop, args=(one,))


def _go_on(one: InterruptedImport, task: str) -> None:
    if not clicks.is_repeat(f"continue {one.key}"):
        work = partial(continue_import, one.key, is_allowed=is_allowed)
        background.start(task, f"Importing {one.name}", lambda progress: work(progress=progress))


def _drop(one: InterruptedImport) -> None:
    if not clicks.is_repeat(f"drop {one.key}"):
        with controls.keep_error("explore", "remove what was stored"):
            drop_interrupted(one.key)
