"""Trainings that were asked for: started in order by one thread of this server, while the page goes on.

To start a training takes a moment, seconds the first time; the page's script only hands over, and follows. Clicks that
come before the outcome could be seen are one training; a later click on the same form is another one.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib import jobs
from lib.training.config import TrainConfig
from pages.common import clicks, state
from pages.common.text import count

_POLL_S = 0.1
_KEY = "train_starts"
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="start")


def draw_button(config: TrainConfig | None) -> None:
    """The button; disabled without a config."""
    is_off = config is None
    st.button("Start training", type="primary", key="train_start", disabled=is_off, on_click=ask, args=(config,))


def ask(config: TrainConfig) -> None:
    """Start a training as soon as those asked for before are started; returns at once."""
    ask_for(f"train {config.to_command()}", lambda: jobs.start(config))


def ask_for(action: str, start: Callable[[], str]) -> None:
    """The same of anything that returns the id of its run; of a double click once."""
    if not clicks.is_repeat(action):
        st.session_state.setdefault(_KEY, []).append(_starter.submit(start))


def follow_starts(beside: DeltaGenerator) -> None:
    """Wait for what was asked for and bring the first of it into view; raises what the last failure was.

    A further click ends this run of the script while it waits; the next run follows on.
    """
    starts: list[Future[str]] = st.session_state.get(_KEY, [])
    failure: BaseException | None = None
    while starts:
        while not starts[0].done():
            _show_waiting(beside, len(starts))
            wait(starts[:1], timeout=_POLL_S)
        # No element is drawn from here to `remember`, so that no click can come in between.
        started = starts.pop(0)
        failure = started.exception() or failure
        behind = 0 if started.exception() else _bring_into_view(started.result())
        if behind and not starts:
            st.toast(f"Queued behind {count(behind, 'training')}.", icon=":material/schedule:")
    beside.empty()
    if failure:
        raise failure


def _show_waiting(beside: DeltaGenerator, number: int) -> None:
    beside.caption(f"Starting {count(number, 'training')} …")


def _bring_into_view(run_id: str) -> int:
    """Watch a new run unless one at work is being watched; returns the number of runs in front of it if so."""
    active = [run.run_id for run in jobs.active_runs()]
    watched = state.current_run()
    if watched != run_id and watched in active:
        return active.index(run_id) if run_id in active else 0
    state.settle("run", run_id)
    return 0
