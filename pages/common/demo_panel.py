"""The demo: installed by itself on a first visit; on the start page its race to watch, and a training of it here."""

import threading

import streamlit as st

from lib import demo
from lib.demo import DEMO, STORY
from lib.errors import UserError
from lib.settings import DEMO_DATASET
from lib.sweeps.plan import SweepState
from pages.common import clicks, resources
from pages.common.controls import button_to, link_to
from pages.common.errors import show_errors
from pages.common.text import count, duration, plain, plain_message

_POLL_S = 1.0
_SEEN = "demo_seen"
_installing = threading.Lock()  # sessions of one server; the library has a lock between processes
_failed: dict[str, str] = {}  # what was said of the recording that could not be installed, until the server ends


def install_once() -> None:
    """On every page, before anything is looked up: a home that has not had the recorded demo gets it, in seconds."""
    if not demo.is_due() or _failed:
        return
    with st.spinner("Unpacking the demo, once: generated images and recorded trainings …"), _installing:
        _install()


def _install() -> None:
    if not demo.is_due() or _failed:
        return  # another session was first
    try:
        demo.install()
    except UserError as error:
        _failed["message"] = str(error)
    except Exception:
        _failed["message"] = "The recorded demo could not be installed; the server's log says why."
        raise
    finally:
        resources.forget_results()


def show() -> None:
    """What fits the state of the demo; a training is done by a process of its own, here it is only watched."""
    if message := _failed.get("message"):
        st.warning(plain_message(message), icon=":material/movie_off:")
    state = DEMO.read()
    if state.is_active:
        st.session_state.setdefault(_SEEN, state.step)
        _watch()
        return
    recording = demo.installed_recording()
    if st.session_state.pop(_SEEN, None) and state.state == "finished":
        took = f" It took {duration(state.seconds_total)}." if state.seconds_total > 1 else ""
        st.success(f"The demo was trained here: {len(state.runs)} trainings to compare.{took}",
                   icon=":material/check_circle:")  # fmt: skip
        return
    if recording is not None:
        _offer(recording, state)


def _offer(recording: "demo.Recording", state: SweepState) -> None:
    is_incomplete = bool(demo.missing_runs()) or resources.find_summary(DEMO_DATASET) is None
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="demo_offer"):
        there = f"{count(len(STORY), 'training')}, from no training at all to training from scratch, on the same "
        there += f"generated images: {recording.words}."
        st.markdown(plain(f"**See the whole story.** {there}", 400).replace("\\*\\*", "**"))
        if is_incomplete:
            st.button("Bring back what was deleted", icon=":material/restore:", key="demo_restore", on_click=_restore)
        else:
            button_to("train_model", "Watch the race", icon=":material/replay:", is_primary=True,
                      dataset=DEMO_DATASET, race=recording.race_id, replay=recording.race_id)  # fmt: skip
        label = "Go on training it here" if state.state in ("stopped", "failed") else "Train it here yourself"
        if not (state.state == "finished" and len(state.runs) == len(STORY)):
            st.button(label, icon=":material/model_training:", key="demo_start", on_click=_start,
                      help="The same trainings on this machine, beside the recorded ones: some minutes.")  # fmt: skip
    if state.state == "failed":
        st.error(plain_message(state.message), icon=":material/error:")
    elif state.state == "stopped":
        st.info(plain_message(state.message), icon=":material/info:")


@st.fragment(run_every=_POLL_S)
def _watch() -> None:
    with show_errors("show the preparation"):
        _watch_now()


def _watch_now() -> None:
    state = DEMO.read()
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
        st.markdown("**Training the demo here** · you can go to other pages meanwhile, or close the browser")
        left = f" · about {duration(state.seconds_left)} left" if state.seconds_left else ""
        is_stopping = state.state == "stopping"
        words = "Stopping …" if is_stopping else f"{plain(state.step)}{left}"
        st.progress(min(1.0, state.share), text=words)
        done = [entry.title for entry in STORY if state.runs.get(entry.key) and entry.title != state.step]
        with st.container(horizontal=True, vertical_alignment="center"):
            sentences = [f"{plain(state.what)}."] if state.what and not is_stopping else []
            sentences += [f"Done: {', '.join(done)}."] if done else []
            st.caption(" ".join(sentences) or "Starting …")
            if running := state.runs.get(_strategy_of(state.step)):
                link_to("train_model", "Watch it learn", icon=":material/monitoring:", run=running)
            label, icon = "Cancel", ":material/stop_circle:"
            st.button(label, icon=icon, key="demo_stop", disabled=is_stopping, on_click=DEMO.stop)


def _strategy_of(title: str) -> str:
    return next((entry.key for entry in STORY if entry.title == title), "")


def _start() -> None:
    if clicks.is_repeat("demo"):
        return
    with show_errors("start the training"):
        DEMO.start()


def _restore() -> None:
    with show_errors("bring the demo back"):
        demo.install()
    resources.forget_results()
