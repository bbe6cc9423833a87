"""The demo on the start page: prepare it with one click, watch it, stop it, go on."""

import streamlit as st

from lib import demo
from lib.demo import STORY
from lib.series import SeriesState
from pages.common import clicks, resources
from pages.common.controls import link_to
from pages.common.errors import show_errors
from pages.common.text import count, duration, plain, plain_message

_POLL_S = 1.0
_SEEN = "demo_seen"


def show() -> None:
    """What fits the state of the demo; the work is done by a process of its own, here it is only watched."""
    state = demo.read_demo()
    if state.is_active:
        st.session_state.setdefault(_SEEN, state.step)
        _watch()
        return
    num_ready = len(demo.demo_run_ids())
    if num_ready == len(STORY):
        if st.session_state.pop(_SEEN, None):
            took = f" It took {duration(state.seconds_total)}." if state.seconds_total > 1 else ""
            st.success(f"The demo is ready: {num_ready} trainings to compare.{took}", icon=":material/check_circle:")
        return
    _offer(state, num_ready)


def _offer(state: SeriesState, num_ready: int) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="demo_offer"):
        left = f"{num_ready} of {len(STORY)} trainings are ready. " if num_ready else ""
        st.markdown(
            f"**See the whole story.** {left}{count(len(STORY), 'training')}, from no training at all to training from "
            "scratch, on the same generated images: to compare, to look inside and to grade with. Some minutes, once."
        )
        label = "Go on" if num_ready or state.state in ("stopped", "failed") else "Prepare the demo"
        st.button(label, type="primary", icon=":material/play_circle:", key="demo_start", on_click=_start)
    if state.state == "failed":
        st.error(plain_message(state.message), icon=":material/error:")
    elif state.state == "stopped":
        st.info(plain_message(state.message), icon=":material/info:")


@st.fragment(run_every=_POLL_S)
def _watch() -> None:
    with show_errors("show the preparation"):
        _watch_now()


def _watch_now() -> None:
    state = demo.read_demo()
    if not state.is_active:
        resources.forget_results()
        st.rerun(scope="app")
        return
    if st.session_state.get(_SEEN) != state.step:
        # A step is done: the data set or one more result is there to be shown below.
        st.session_state[_SEEN] = state.step
        resources.forget_results()
        st.rerun(scope="app")
    with st.container(border=True, key="demo_progress"):
        st.markdown("**Preparing the demo** · you can go to other pages meanwhile, or close the browser")
        left = f" · about {duration(state.seconds_left)} left" if state.seconds_left else ""
        is_stopping = state.state == "stopping"
        words = "Stopping …" if is_stopping else f"{plain(state.step)}{left}"
        st.progress(min(1.0, state.share), text=words)
        done = [entry.title for entry in STORY if state.runs.get(entry.strategy) and entry.title != state.step]
        with st.container(horizontal=True, vertical_alignment="center"):
            sentences = [f"{plain(state.what)}."] if state.what and not is_stopping else []
            sentences += [f"Done: {', '.join(done)}."] if done else []
            st.caption(" ".join(sentences) or "Starting …")
            if running := state.runs.get(_strategy_of(state.step)):
                link_to("train_model", "Watch it learn", icon=":material/monitoring:", run=running)
            label, icon = "Cancel", ":material/stop_circle:"
            st.button(label, icon=icon, key="demo_stop", disabled=is_stopping, on_click=demo.stop)


def _strategy_of(title: str) -> str:
    return next((entry.strategy for entry in STORY if entry.title == title), "")


def _start() -> None:
    if clicks.is_repeat("demo"):
        return
    with show_errors("start the preparation"):
        demo.start()
