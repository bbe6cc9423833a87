"""The live panel of the training page: one run as it happens, and those that wait. All of it read from the runs."""

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from lib import jobs, tracking
from lib.errors import UserError
from lib.tracking import RunState
from lib.tracking.scores import folder_score
from lib.tracking.state import stored_states
from lib.tracking.timeline import Timeline, read_timeline
from lib.training.strategies import STRATEGIES
from pages.common import controls, pinned_pictures, replay, resources, state, train_live
from pages.common.errors import show_errors
from pages.common.pinned_pictures import WatchedRun
from pages.common.run_data import dataset_of_run, version_note
from pages.common.run_view import RunView
from pages.common.text import plain, plain_message
from pages.common.train_details import draw_details
from pages.common.train_queue import draw_queue

POLL_S = 1.0
LOG_LINES = 6
LOG_PX = 176
ACTIONS_PX = 48
EMPTY_PX = 320
EXTREMES_PX = 56


def draw_live_panel(dataset: str) -> None:
    """Draw the run of the link, else the one at work, else the last one on the data set, else what could be here."""
    active = jobs.active_runs()
    run_id = state.current_run() or (active[0].run_id if active else _last_run(dataset))
    if run_id is None:
        with st.container(border=True, height=EMPTY_PX, vertical_alignment="center"):
            st.markdown(
                "Nothing is training. Choose a strategy and press **Start training**: its progress and curves appear "
                "here, and stay here after a reload.",
                text_alignment="center",
            )
        return
    try:
        run_id = train_live.full_run_id(run_id)
    except UserError as error:
        st.error(plain_message(error), icon=":material/error:")
        st.button("Show the last run", key="train_last_run", on_click=state.remember, args=("run", None))
        return
    if state.current_run() is None:
        state.settle("run", run_id)  # found, not linked: it stays in view, with its Resume, after it was stopped
    st.html(train_live.STYLE)
    if _replay(run_id):
        return
    is_live = bool(active) or tracking.read_state(run_id).is_active
    # Polling ends with the last active run: nothing moves on a page that has nothing new to say.
    was_asked = replay.is_asked(run_id)
    st.fragment(_panel, run_every=POLL_S if is_live else None)(run_id, is_live=is_live, was_asked=was_asked)


def _replay(run_id: str) -> bool:
    """Play the recording of a finished run where that was asked for; False where it was not."""
    if tracking.read_state(run_id).state != "finished" or not replay.is_asked(run_id):
        return False
    timeline = read_timeline(run_id)
    if timeline is None:
        st.info("This run kept no times, so there is nothing to play again.", icon=":material/info:")
        return False
    playback = replay.current(run_id, timeline.seconds)
    st.fragment(_recorded_panel, run_every=replay.tick_s(playback))(run_id, timeline, playback, playback.is_playing)
    return True


def _recorded_panel(run_id: str, timeline: Timeline, playback: replay.Playback, was_playing: bool) -> None:  # noqa: FBT001
    with show_errors("play the recording"):
        run = tracking.read_state(run_id)
        replay.draw_controls(playback, timeline.stops, made=run.recorded_words)
        _draw_run(RunView.of_recording(run, timeline, playback.now_s), [])
        replay.rerun_if_changed(playback, was_playing=was_playing)


def _last_run(dataset: str) -> str | None:
    """The newest run on a data set that is kept here."""
    runs = stored_states()
    return next((run.run_id for run in runs if train_live.run_config(run).get("dataset") == dataset), None)


def _panel(run_id: str, *, is_live: bool, was_asked: bool) -> None:
    with show_errors("show the training"):
        active = jobs.active_runs()
        if replay.is_asked(run_id) and not was_asked:
            st.rerun()  # asked for in here: the whole page once
        run = tracking.read_state(run_id)
        _draw_run(RunView(run), [other.run_id for other in active])
        draw_queue(active, run_id, _stop)
        if is_live != (bool(active) or run.is_active):
            resources.forget_results()  # so that Compare below brings the new result along
            st.rerun()  # the whole page once: it starts or ends the polling


def _draw_run(view: RunView, queue: list[str]) -> None:
    run = view.run
    config = train_live.run_config(run)
    is_iterative = config.get("strategy") not in STRATEGIES or STRATEGIES.get(config["strategy"]).is_iterative
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.markdown(f"**{plain(run.name)}**", width="stretch")
        st.badge(run.title.lower(), color=train_live.STATE_COLORS[run.state])
    if run.recorded_words and not view.is_recording:
        st.caption(plain(f"{run.recorded_words[:1].upper()}{run.recorded_words[1:]}; it came with the program."))
    ahead = queue.index(run.run_id) if run.run_id in queue else 0
    st.progress(train_live.progress_fraction(run), train_live.progress_words(run, ahead))
    summary = train_live.run_summary(run) if run.state == "finished" else {}
    score = folder_score(run.folder, summary) if summary else None
    facts = train_live.final_facts(score, summary) if score else train_live.live_facts(run, is_iterative=is_iterative)
    if view.time_fact and not score:
        facts[-1] = view.time_fact
    st.html(train_live.facts_html(facts))
    if score and (words := train_live.beside_words(score)):
        st.caption(plain(words, 300))
    if words := train_live.expected_grade_words(summary):
        st.markdown(words)
    if words := version_note(config):
        st.caption(words)
    with st.container(horizontal=True, height=ACTIONS_PX, border=False, vertical_alignment="center"):
        if not view.is_recording or not run.is_active:
            _draw_actions(run, is_recording=view.is_recording)
    controls.show_kept_error("train")
    if caveat := summary.get("split_caveat"):
        st.warning(plain_message(caveat), icon=":material/group_off:")
    for note in run.notes:
        st.info(plain_message(note), icon=":material/info:")
    if run.message and run.state in ("failed", "killed"):
        st.error(plain_message(run.message), icon=":material/error:")
    curves = st.container(
        height=train_live.CURVES_HEIGHT_PX + EXTREMES_PX + 16 if is_iterative else "content", border=False
    )
    st.code(view.log(LOG_LINES) or "The log is empty so far.", language=None, height=LOG_PX)
    details = st.container() if is_iterative else None
    with curves:  # last: the first look at the curves waits for MLflow, which takes seconds to import
        if is_iterative:
            # With a time budget the config has the most epochs, the progress those that were chosen.
            epochs = int(run.progress.get("epochs") or config.get("epochs") or 1)
            _draw_curves(view, str(config.get("strategy")), epochs)
        else:
            st.caption("No epochs, so no curves: this strategy is fitted in one go on features that stay as they are.")
    if details is not None:
        with details:
            draw_details(view, prefix=train_live.curve_prefix(run), strategy=str(config.get("strategy")))

    _draw_pinned(view, config)


def _draw_pinned(view: RunView, config: dict[str, Any]) -> None:
    """What the run says of its pinned images, where it has any."""
    dataset = dataset_of_run(config) if config.get("pinned_images") else None
    if dataset is None:
        return
    newest = view.epoch if view.run.is_active else None
    watched = WatchedRun("Network", view.run.run_id, view.run.folder, newest)
    epochs = int(config.get("epochs") or 0)
    pinned_pictures.draw(config["pinned_images"], [watched], dataset, epochs=epochs, key=view.run.run_id)


def _draw_curves(view: RunView, strategy: str, epochs: int) -> None:
    prefix = train_live.curve_prefix(view.run)
    figure, text, extremes = _curves(
        view.run.run_id, prefix, view.moment, strategy, epochs, _view=view, is_dark=controls.is_dark()
    )
    if figure is None:
        st.markdown(plain(text, 300))
    else:
        controls.show_figure(figure, alt=text, key="train_curves")
        st.html(extremes)


@st.cache_resource(max_entries=32, show_spinner=False)
def _curves(
    run_id: str, prefix: str, moment: tuple[object, ...], strategy: str, epochs: int, *, _view: RunView, is_dark: bool
) -> tuple[go.Figure | None, str, str]:
    """The curves of a run, from two epochs on, their text and extremes; drawn once a `moment` for all; never change."""
    history = _view.history([prefix + key for key in train_live.CURVE_KEYS])
    history = history.assign(key=history["key"].str.removeprefix(prefix))
    text = train_live.curves_text(history)
    if train_live.num_epochs(history) < 2:
        return None, text, ""
    figure = train_live.curves_figure(history, strategy=strategy, epochs=epochs, is_dark=is_dark)
    return figure, text, train_live.extremes_html(history)


def _draw_actions(run: RunState, *, is_recording: bool = False) -> None:
    if run.is_active:
        is_stopping = run.state == "stopping"
        label = "Stopping …" if is_stopping else "Cancel" if run.state == "queued" else "Stop"
        icon = ":material/stop_circle:"
        st.button(label, icon=icon, key="train_stop", disabled=is_stopping, on_click=_stop, args=(run.run_id,))
    elif run.is_resumable:
        st.button("Resume", icon=":material/resume:", key="train_resume", on_click=_resume, args=(run.run_id,))
    else:
        dataset = str(train_live.run_config(run).get("dataset"))
        runs = ",".join([run.run_id, *resources.best_beside(run.run_id, dataset, number=2)])
        icon = ":material/leaderboard:"
        controls.link_to("compare_runs", "Compare", icon=icon, dataset=dataset, runs=runs, run=run.run_id)
        controls.link_to("grade_images", "Grade images with it", icon=":material/fact_check:", run=run.run_id)
        if not is_recording:
            replay.offer(run.run_id)


def _stop(run_id: str) -> None:
    with controls.keep_error("train", "stop the training"):
        jobs.stop(run_id)


def _resume(run_id: str) -> None:
    with controls.keep_error("train", "resume the training"):
        jobs.resume(run_id)
