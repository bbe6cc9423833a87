"""What is taken away of the selected runs: tables, one page with pictures, and the address of the view."""

import re
from urllib.parse import urlencode

import streamlit as st

from lib.reports.selection import Selection
from pages.common import state
from pages.compare.scene import Scene
from pages.compare.verdict import compared, read_answers


def draw(scene: Scene) -> None:
    """A button that opens the kinds of file; each is made when it is asked for. At the end of the page: see `_link`."""
    box = st.popover("Take away", icon=":material/download:", type="tertiary", key="take_away", on_change="rerun")
    if not box.open:
        return
    from lib.reports.formats import FORMATS

    link = view_address()
    with box:
        st.caption("The address of this view")
        st.code(link, language=None, wrap_lines=True)  # with its own button to copy it
        st.caption(f"The selected runs, compared by {scene.metric.word}, with the intervals of all metrics")
        with st.container(horizontal=True):
            for one in FORMATS:
                st.download_button(
                    one.title,
                    lambda one=one: one.write(selection_of(scene, link)),
                    file_name=f"transferscope_runs.{one.ending}",
                    mime=one.mime,
                    key=f"take_away_{one.name}",
                    icon=":material/download:",
                    type="tertiary",
                    on_click="ignore",
                )


def selection_of(scene: Scene, link: str) -> Selection:
    """The runs as they are taken away, the best first."""
    from pages.compare.referable import DEFAULT_PREVALENCE, DEFAULT_SENSITIVITY, asked_share

    found = compared(scene, scene.metric)
    runs = tuple(run for row in found.rows for run in row.runs)
    return Selection(
        runs, scene.labels, found, lambda run: read_answers(run, scene), link, cutoff=state.current("cutoff") or "",
        sensitivity=asked_share("sensitivity", DEFAULT_SENSITIVITY, most=100),
        prevalence=asked_share("prevalence", DEFAULT_PREVALENCE, most=99),
    )  # fmt: skip


def view_address() -> str:
    """The complete address of what the page shows; to be asked at its end, when it has asked for all of its keys."""
    return f"{page_address()}?{urlencode(state.view_of_page())}"


def page_address() -> str:
    """Where the page is in the person's browser."""
    return re.sub("[?#].*", "", st.context.url or "")
