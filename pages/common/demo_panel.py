"""The demo: installed by itself on a first visit; on the start page its race to watch, and a training of it here."""

import threading

import streamlit as st

from lib import demo
from lib.data.builtin import ensure_default_dataset
from lib.data.dataset import Dataset
from lib.demo import DEMO, STORY
from lib.demo.opening import EYE_FILE, TITLES, Opening, View, read_opening
from lib.errors import UserError
from lib.progress import Progress, duration
from lib.settings import DEMO_DATASET, trash_dir
from lib.sweeps.plan import SweepState
from pages.common import background, clicks, resources
from pages.common.controls import button_to, link_to
from pages.common.errors import show_errors
from pages.common.text import count, percent, plain, plain_message

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
            strategy = next((entry.key for entry in STORY if entry.title == state.step), "")
            if running := state.runs.get(strategy):
                link_to("train_model", "Watch it learn", icon=":material/monitoring:", run=running)
            label, icon = "Cancel", ":material/stop_circle:"
            st.button(label, icon=icon, key="demo_stop", disabled=is_stopping, on_click=DEMO.stop)


def _start() -> None:
    if clicks.is_repeat("demo"):
        return
    with show_errors("start the training"):
        DEMO.start()


def _restore() -> None:
    with show_errors("bring the demo back"):
        demo.install()
    resources.forget_results()


FIRST_DATASET = "first_dataset"


def show_first_dataset() -> None:
    """On an empty library: make the first data set by itself (on request, if data sets were deleted), with progress."""
    background.show_outcome(FIRST_DATASET, "The first data set is ready: generated fundus images in five grades.")
    if DEMO.read().is_active:
        return  # it makes the data set itself
    if background.find(FIRST_DATASET) is None:
        if resources.dataset_summaries():
            return
        was_emptied = any(trash_dir().iterdir())
        if was_emptied and not st.button("Make the generated fundus data set", icon=":material/auto_awesome:"):
            return
        background.start(
            FIRST_DATASET, "Making a first data set, so that there is something to look at", _make_first_dataset
        )
    background.watch(FIRST_DATASET)


def _make_first_dataset(progress: Progress) -> Dataset:
    dataset = ensure_default_dataset(progress)
    resources.forget_dataset()  # so that the next run of every page sees it
    return dataset


_EYE = "eye"
_WORDS = {
    "pretrained": "learned on photographs of the world; only its last layer is new",
    "tuned": "started from there and learned on eyes",
    "scratch": "learned on the same eyes from random weights",
}


def show_opening() -> None:
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
        st.markdown(_view_words(opening, view))
        st.markdown(plain(opening.finding, 400), help=plain(opening.rule, 600))
    with left:
        name = EYE_FILE if view is None else view.file
        alt = f"A drawn eye with bleedings, {opening.class_name}"
        alt += "" if view is None else f", and where the network {TITLES[view.network].lower()} looks for that grade"
        st.image(str(opening.folder / name), width=320, alt=alt)


def _view_words(opening: Opening, view: View | None) -> str:
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
