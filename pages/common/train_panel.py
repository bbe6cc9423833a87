"""The live panel of the training page: one run as it happens, and those that wait. All of it read from the runs."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from lib import jobs, tracking
from lib.errors import UserError
from lib.figures.confusion_charts import confusion_figure
from lib.figures.training_charts import LIVE_HEIGHT_PX, LIVE_KEYS, progress_figure, progress_text
from lib.tracking import RunState
from lib.tracking.scores import folder_score
from lib.tracking.state import stored_states
from lib.tracking.tested import class_names_by_dataset
from lib.tracking.timeline import Timeline, read_timeline
from lib.training.results import Diagnosis, diagnose
from lib.training.strategies import STRATEGIES
from pages.common import controls, pinned_pictures, replay, resources, state, train_live
from pages.common.errors import show_errors
from pages.common.pinned_pictures import WatchedRun
from pages.common.run_view import RunView, dataset_of_run, version_note
from pages.common.text import count, plain, plain_message

POLL_S = 1.0
LOG_LINES = 6
LOG_PX = 176
ACTIONS_PX = 48
EMPTY_PX = 320
EXTREMES_PX = 56
MAX_ROWS_PX = 250
_ICONS = {"overfitting": ":material/trending_up:", "underfitting": ":material/trending_flat:"}
_DIAGNOSIS_PX = 136
_EMPTY_PX = LIVE_HEIGHT_PX + 16


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
        _draw_queue(active, run_id)
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
    height = train_live.CURVES_HEIGHT_PX + EXTREMES_PX + 16 if is_iterative else "content"
    with st.container(height=height, border=False):
        if is_iterative:
            # With a time budget the config has the most epochs, the progress those that were chosen.
            epochs = int(run.progress.get("epochs") or config.get("epochs") or 1)
            _draw_curves(view, str(config.get("strategy")), epochs)
        else:
            st.caption("No epochs, so no curves: this strategy is fitted in one go on features that stay as they are.")
    st.code(view.log(LOG_LINES) or "The log is empty so far.", language=None, height=LOG_PX)
    if is_iterative:
        _draw_details(view, prefix=train_live.curve_prefix(run), strategy=str(config.get("strategy")))
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


def _stop(*run_ids: str) -> None:
    for run_id in run_ids:
        with controls.keep_error("train", "stop the training"):
            jobs.stop(run_id)


def _resume(run_id: str) -> None:
    with controls.keep_error("train", "resume the training"):
        jobs.resume(run_id)


def _draw_queue(active: list[RunState], shown: str) -> None:
    """Draw nothing if the run in view is the only one."""
    if not [run for run in active if run.run_id != shown]:
        return
    waiting = [run.run_id for run in active if run.state == "queued"]
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", wrap=False):
            st.markdown(f"**Queue** · {count(len(waiting), 'training')} waiting", width="stretch")
            if len(waiting) > 1:
                # From the back: none of them moves up and begins meanwhile.
                args = tuple(reversed(waiting))
                st.button("Cancel all waiting", type="tertiary", key="train_cancel_all", on_click=_stop, args=args)
        with st.container(height=MAX_ROWS_PX if len(active) > 5 else "content", border=False, gap="xsmall"):
            for place, run in enumerate(active, start=1):
                _draw_row(place, run, is_shown=run.run_id == shown)


def _draw_row(place: int, run: RunState, *, is_shown: bool) -> None:
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
    end.button(label, type="tertiary", key=key, disabled=is_off, on_click=_stop, args=(run.run_id,))


def _draw_details(view: RunView, *, prefix: str, strategy: str) -> None:
    """The reading of the curves, and two tabs, of which the open one is drawn."""
    figure, text, diagnosis = _numbers(
        view.run.run_id, prefix, view.moment, strategy, _view=view, is_dark=controls.is_dark()
    )
    with st.container(height=_DIAGNOSIS_PX, border=False):
        _draw_diagnosis(diagnosis)
    numbers, matrix = st.tabs(["Gap, gradient, rate", "Confusion matrix"], on_change="rerun", key="train_details")
    if numbers.open:
        with numbers, st.container(height=_EMPTY_PX, border=False):
            controls.show_figure(figure, alt=text, key="train_progress")
    if matrix.open:
        with matrix:
            _draw_confusion(view, prefix)


def _draw_diagnosis(diagnosis: Diagnosis) -> None:
    if icon := _ICONS.get(diagnosis.kind):
        st.warning(diagnosis.text, icon=icon)
    else:
        st.caption(diagnosis.text)


@st.cache_resource(max_entries=32, show_spinner=False)
def _numbers(
    run_id: str, prefix: str, moment: tuple[object, ...], strategy: str, *, _view: RunView, is_dark: bool
) -> tuple[go.Figure, str, Diagnosis]:
    """Picture, its text and the diagnosis, made once a `moment` for everybody who watches; never change them."""
    keys = dict.fromkeys((*train_live.CURVE_KEYS, *LIVE_KEYS))
    history = _view.history([prefix + key for key in keys])
    history = history.assign(key=history["key"].str.removeprefix(prefix))
    # Epochs count from 1: what a finished run reached as a whole is kept at step 0 under some of the same names.
    epochs = history[history["key"].isin(train_live.CURVE_KEYS) & (history["step"] > 0)]
    by_epoch: list[dict[str, Any]] = [
        dict(zip(rows["key"], rows["value"], strict=True)) for _, rows in epochs.groupby("step", sort=True)
    ]
    figure = progress_figure(history, strategy=strategy, is_dark=is_dark)
    return figure, progress_text(history), diagnose(by_epoch)


def _draw_confusion(view: RunView, prefix: str) -> None:
    run, matrices = view.run, view.confusions(prefix)
    if not matrices:
        st.caption("The matrix of the validation images appears when the first epoch has ended.")
        return
    epoch = _choose_epoch(run.run_id, list(matrices))
    matrix = matrices[epoch]
    names, _ = class_names_by_dataset(train_live.run_config(run), len(matrix))
    hits, total = int(np.trace(matrix)), int(matrix.sum())
    title = f"Validation images, epoch {epoch}"
    figure = confusion_figure(matrix, [" ".join(name.split()) for name in names], title, controls.is_dark())
    alt = f"{title}: {hits} of {count(total, 'image')} in their class. Rows are true classes, columns predicted ones."
    controls.show_figure(figure, alt=alt, key="train_confusion")
    st.caption(plain(alt))


def _choose_epoch(run_id: str, epochs: list[int]) -> int:
    """The newest epoch, until somebody moves the slider back to an earlier one."""
    key, kept = f"train_epoch_{run_id}", f"train_epoch_kept_{run_id}"
    if len(epochs) < 2:
        return epochs[-1]
    chosen = st.session_state.get(kept)
    st.session_state[key] = chosen if chosen in epochs else epochs[-1]

    def keep() -> None:
        value = st.session_state[key]
        st.session_state[kept] = None if value == epochs[-1] else value

    return int(st.select_slider("Epoch", epochs, key=key, on_change=keep, help="Back through time."))
