"""Trainings that were asked for: started in order by one thread of this server, so that quick clicks are all heard.

To start a training takes a moment, seconds the first time; the page's script only hands over, and follows. Of several
clicks that come while it is busy, Streamlit keeps one: a few lines in the browser count them and say how many it were.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib import jobs
from lib.training.config import TrainConfig
from pages.common import state
from pages.common.text import count

_POLL_S = 0.1
_KEY, _BALANCE_KEY, _REPORTS_KEY, _KNOWN_KEY = "train_starts", "train_balance", "train_reports", "train_known_clicks"
_COUNTER = """
export default function ({ setTriggerValue }) {
  const seen = (window.transferscopeStarts ??= {
    page: String(Math.random()), total: 0, recent: 0, timer: null, listener: null,
  });
  document.removeEventListener("click", seen.listener, true);
  seen.listener = (event) => {
    const button = event.target.closest?.(".st-key-train_start button");
    if (!button || button.disabled) return;
    seen.total += 1;
    seen.recent += 1;
    clearTimeout(seen.timer);
    seen.timer = setTimeout(() => {
      setTriggerValue("burst", { page: seen.page, total: seen.total, recent: seen.recent });
      seen.recent = 0;
    }, 400);
  };
  document.addEventListener("click", seen.listener, true);
}
"""
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="start")


def draw_button(config: TrainConfig | None) -> None:
    """The button; disabled without a config. Each click is one training."""
    is_off = config is None
    st.button("Start training", type="primary", key="train_start", disabled=is_off, on_click=ask, args=(config,))
    counter = st.components.v2.component("train_start_counter", js=_COUNTER)
    counter(key="train_start_counter", height=0, on_burst_change=_keep_report)
    for report in st.session_state.pop(_REPORTS_KEY, []):
        st.session_state[_BALANCE_KEY] = st.session_state.get(_BALANCE_KEY, 0) + _num_new_clicks(report)
    while config is not None and st.session_state.get(_BALANCE_KEY, 0) > 0:
        ask(config)


def _keep_report() -> None:
    # Weighed only after all callbacks: that of the button's own click may come behind.
    if report := st.session_state["train_start_counter"].burst:
        st.session_state.setdefault(_REPORTS_KEY, []).append(report)


def _num_new_clicks(report: Mapping[str, Any]) -> int:
    """Clicks since the last report of this page of the browser; one may have been lost on the way."""
    known = st.session_state.setdefault(_KNOWN_KEY, {})
    # To a server that was restarted meanwhile, only the clicks of just now are new.
    before = known.get(report["page"], report["total"] - report["recent"])
    known[report["page"]] = report["total"]
    return max(0, int(report["total"] - before))


def ask(config: TrainConfig) -> None:
    """Start a training as soon as those asked for before are started; returns at once."""
    ask_for(lambda: jobs.start(config))


def ask_for(start: Callable[[], str]) -> None:
    """The same of anything that returns the id of its run."""
    # Clicks that the browser has counted, less those that were heard here.
    st.session_state[_BALANCE_KEY] = st.session_state.get(_BALANCE_KEY, 0) - 1
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
    state.remember("run", run_id)
    return 0
