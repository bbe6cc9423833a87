"""The line of trainings: which one is at work, which wait, in order, and a way to end each."""

from collections.abc import Callable

import streamlit as st

from lib.tracking import RunState
from pages.common import state
from pages.common.text import count, plain

MAX_ROWS_PX = 250


def draw_queue(active: list[RunState], shown: str, stop: Callable[[str], None]) -> None:
    """Draw nothing if the run in view is the only one; `stop(run_id)` stops or cancels a run."""
    if not [run for run in active if run.run_id != shown]:
        return
    waiting = [run.run_id for run in active if run.state == "queued"]
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", wrap=False):
            st.markdown(f"**Queue** · {count(len(waiting), 'training')} waiting", width="stretch")
            if len(waiting) > 1:
                args = (waiting, stop)
                st.button("Cancel all waiting", type="tertiary", key="train_cancel_all", on_click=_each, args=args)
        with st.container(height=MAX_ROWS_PX if len(active) > 5 else "content", border=False, gap="xsmall"):
            for place, run in enumerate(active, start=1):
                _draw_row(place, run, stop, is_shown=run.run_id == shown)


def _draw_row(place: int, run: RunState, stop: Callable[[str], None], *, is_shown: bool) -> None:
    name, watch, end = st.columns([8, 2, 2], vertical_alignment="center", gap="small")
    # Five clicks on one form give five runs of one name; the id tells them apart.
    name.markdown(f"{place}\\. {run.state.capitalize()}: {plain(run.name)} · {plain(run.run_id[:8])}")
    if is_shown:
        watch.caption("in view")
    elif watch.button("Watch", type="tertiary", key=f"train_watch_{run.run_id}"):
        state.remember("run", run.run_id)
        st.rerun()
    label, is_off = "Cancel" if run.state == "queued" else "Stop", run.state == "stopping"
    key = f"train_stop_{run.run_id}"
    end.button(label, type="tertiary", key=key, disabled=is_off, on_click=stop, args=(run.run_id,))


def _each(run_ids: list[str], stop: Callable[[str], None]) -> None:
    for run_id in reversed(run_ids):  # from the back: none of them moves up and begins meanwhile
        stop(run_id)
