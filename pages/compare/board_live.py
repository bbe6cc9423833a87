"""What changes on the board by itself: runs at work count their epochs, and figures that are being worked out.

A fragment: the table and what is selected stay as they are until a run begins or ends, or all figures are there.
"""

import streamlit as st

from lib import jobs
from lib.board import Board, summarise_pending
from lib.progress import Progress, duration
from lib.tracking import RunState
from pages.common import background, controls, resources
from pages.common.errors import show_errors
from pages.common.text import count, plain
from pages.common.train_live import progress_words

_POLL_S = 2.0
_MAX_SHOWN = 3
_TASK = "figures of the board"


def watch(board: Board) -> None:
    """Draw what is at work now and look again every two seconds; begins to work out figures that lack."""
    if board.pending and not background.is_measuring(_TASK):
        pending = board.pending

        def work(progress: Progress) -> int:
            return summarise_pending(pending, progress)

        if background.find(_TASK) is None:  # one that failed is not begun again by every rerun
            background.start(_TASK, "Working out the figures of the runs", work)
    at_work = tuple(board.table.loc[board.table["is_active"], "run_id"])
    _watch(at_work, is_waiting=bool(board.pending))


@st.fragment(run_every=_POLL_S)
def _watch(at_work: tuple[str, ...], *, is_waiting: bool) -> None:
    with show_errors("show the runs at work"):
        active = jobs.active_runs()
        task = background.find(_TASK)
        is_over = is_waiting and (task is None or task.is_over)
        if {run.run_id for run in active} != set(at_work) or is_over:
            if task is not None and task.is_over and not task.error:
                background.forget(_TASK)
            if st.session_state.get("board_seen") != (state := _moment(active, is_over=is_over)):
                st.session_state["board_seen"] = state
                resources.forget_results()
                st.rerun(scope="app")
        for run in active[:_MAX_SHOWN]:
            _draw_run(run)
        if len(active) > _MAX_SHOWN:
            st.caption(f"{len(active) - _MAX_SHOWN} more at work or waiting.")
        if is_waiting and task is not None and not task.is_over and task.total:
            left = "" if task.seconds_left != task.seconds_left else f", about {duration(task.seconds_left)} left"
            st.caption(f"Working out intervals: {task.done:,} of {count(task.total, 'run')}{left}.")


def _moment(active: list[RunState], *, is_over: bool) -> tuple[object, ...]:
    return (tuple(run.run_id for run in active), is_over)


def _draw_run(run: RunState) -> None:
    done, total = run.progress.get("epoch"), run.progress.get("epochs")
    epochs = f"epoch {done:,} of {total:,}" if done and total else ""
    words = ", ".join(filter(None, (progress_words(run, 0), epochs)))
    with st.container(horizontal=True, vertical_alignment="center", key=f"board_at_work_{run.run_id[:8]}"):
        st.caption(f":material/progress_activity: **{plain(run.name or run.run_id[:8])}**: {plain(words)}")
        controls.link_to("train_model", "Watch", run=run.run_id)
