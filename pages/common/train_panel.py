"""The live panel of the training page: one run as it happens, and those that wait. All of it read from the runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from lib import jobs, tracking
from lib.errors import UserError
from lib.tracking import RunState
from lib.tracking.scores import folder_score
from lib.training.strategies import STRATEGIES
from pages.common import controls, pinned_pictures, state, train_live
from pages.common.errors import show_errors
from pages.common.pinned_pictures import WatchedRun
from pages.common.run_data import dataset_of_run
from pages.common.text import plain, plain_message
from pages.common.train_details import draw_details
from pages.common.train_queue import draw_queue

POLL_S = 1.0
HISTORY_AGE_S = 10  # curves are read from the database this often, and after each epoch
LOG_LINES = 6
LOG_PX = 176
ACTIONS_PX = 48
EMPTY_PX = 320
_logger = logging.getLogger("transferscope.pages")


def draw_live_panel() -> None:
    """Draw the run of the link, else the one at work, else what could be here."""
    active = jobs.active_runs()
    run_id = state.current_run() or (active[0].run_id if active else None)
    if run_id is None:
        with st.container(border=True, height=EMPTY_PX, vertical_alignment="center"):
            st.markdown(
                "Nothing is training. Choose a strategy and press **Start training**: its progress and curves appear "
                "here, and stay here after a reload.",
                text_alignment="center",
            )
        return
    run_id = train_live.full_run_id(run_id)
    if state.current_run() is None:
        state.remember("run", run_id)  # found, not linked: it stays in view, with its Resume, after it was stopped
    is_live = bool(active) or tracking.read_state(run_id).is_active
    st.html(train_live.STYLE)
    # Polling ends with the last active run: nothing moves on a page that has nothing new to say.
    st.fragment(_panel, run_every=POLL_S if is_live else None)(run_id, is_live=is_live)


def _panel(run_id: str, *, is_live: bool) -> None:
    with show_errors("show the training"):
        active = jobs.active_runs()
        run = tracking.read_state(run_id)
        _draw_run(run, [other.run_id for other in active])
        draw_queue(active, run_id, _stop)
        if is_live != (bool(active) or run.is_active):
            st.rerun()  # the whole page once: it starts or ends the polling


def _draw_run(run: RunState, queue: list[str]) -> None:
    config = train_live.run_config(run)
    is_iterative = config.get("strategy") not in STRATEGIES or STRATEGIES.get(config["strategy"]).is_iterative
    with st.container(horizontal=True, vertical_alignment="center", wrap=False):
        st.markdown(f"**{plain(run.name)}**", width="stretch")
        st.badge(run.title.lower(), color=train_live.STATE_COLORS[run.state])
    ahead = queue.index(run.run_id) if run.run_id in queue else 0
    st.progress(train_live.progress_fraction(run), train_live.progress_words(run, ahead))
    summary = train_live.run_summary(run) if run.state == "finished" else {}
    score = folder_score(run.folder, summary) if summary else None
    facts = train_live.final_facts(score, summary) if score else train_live.live_facts(run, is_iterative=is_iterative)
    st.html(train_live.facts_html(facts))
    if score and (words := train_live.beside_words(score)):
        st.caption(plain(words, 300))
    if words := train_live.expected_grade_words(summary):
        st.caption(words)
    with st.container(horizontal=True, height=ACTIONS_PX, border=False, vertical_alignment="center"):
        _draw_actions(run)
    _show_kept_error()
    for note in run.notes:
        st.info(plain_message(note), icon=":material/info:")
    if run.message and run.state in ("failed", "killed"):
        st.error(plain_message(run.message), icon=":material/error:")
    curves = st.container(height=train_live.CURVES_HEIGHT_PX + 16 if is_iterative else "content", border=False)
    st.code(jobs.tail_log(run.run_id, LOG_LINES) or "The log is empty so far.", language=None, height=LOG_PX)
    details = st.container() if is_iterative else None
    with curves:  # last: the first look at the curves waits for MLflow, which takes seconds to import
        if is_iterative:
            # With a time budget the config has the most epochs, the progress those that were chosen.
            epochs = int(run.progress.get("epochs") or config.get("epochs") or 1)
            _draw_curves(run, str(config.get("strategy")), epochs)
        else:
            st.caption("No epochs, so no curves: this strategy is fitted in one go on features that stay as they are.")
    if details is not None:
        with details:
            draw_details(
                run, prefix=train_live.curve_prefix(run), strategy=str(config.get("strategy")), moment=_moment(run)
            )

    _draw_pinned(run, config)


def _draw_pinned(run: RunState, config: dict[str, Any]) -> None:
    """What the run says of its pinned images, where it has any."""
    dataset = dataset_of_run(config) if config.get("pinned_images") else None
    if dataset is None:
        return
    watched = WatchedRun("Network", run.run_id, run.folder)
    epochs = int(config.get("epochs") or 0)
    pinned_pictures.draw(config["pinned_images"], [watched], dataset, epochs=epochs, key=run.run_id)


def _moment(run: RunState) -> tuple[object, ...]:
    """What changes when there is something new to draw."""
    # The epoch is written after its numbers, so a new epoch shows at once; the age is for whatever was missed.
    return (run.state, run.progress.get("epoch"), int(run.heartbeat_s / HISTORY_AGE_S))


def _draw_curves(run: RunState, strategy: str, epochs: int) -> None:
    moment = _moment(run)
    prefix = train_live.curve_prefix(run)
    figure, alt = _curves(run.run_id, prefix, moment, strategy, epochs, is_dark=controls.is_dark())
    controls.show_figure(figure, alt=alt, key="train_curves")


@st.cache_resource(max_entries=32, show_spinner=False)
def _curves(
    run_id: str, prefix: str, moment: tuple[object, ...], strategy: str, epochs: int, *, is_dark: bool
) -> tuple[go.Figure, str]:
    """The curves of a run and their text, drawn once a `moment` for everybody who watches; never change them."""
    history = tracking.metric_history(run_id, [prefix + key for key in train_live.CURVE_KEYS])
    history = history.assign(key=history["key"].str.removeprefix(prefix))
    figure = train_live.curves_figure(history, strategy=strategy, epochs=epochs, is_dark=is_dark)
    return figure, train_live.curves_text(history)


def _draw_actions(run: RunState) -> None:
    if run.is_active:
        is_stopping = run.state == "stopping"
        label = "Stopping …" if is_stopping else "Cancel" if run.state == "queued" else "Stop"
        icon = ":material/stop_circle:"
        st.button(label, icon=icon, key="train_stop", disabled=is_stopping, on_click=_stop, args=(run.run_id,))
    elif run.is_resumable:
        st.button("Resume", icon=":material/resume:", key="train_resume", on_click=_resume, args=(run.run_id,))
    else:
        controls.link_to("compare_runs", "Compare", icon=":material/leaderboard:", runs=run.run_id, run=run.run_id)
        controls.link_to("grade_images", "Grade images with it", icon=":material/fact_check:", run=run.run_id)


def _stop(run_id: str) -> None:
    with _keep_error("stop the training"):
        jobs.stop(run_id)


def _resume(run_id: str) -> None:
    with _keep_error("resume the training"):
        jobs.resume(run_id)


@contextmanager
def _keep_error(what: str) -> Iterator[None]:
    """Callbacks run before the panel is drawn: keep what went wrong until its place is reached."""
    try:
        yield
    except UserError as error:
        st.session_state["train_error"] = plain_message(error)
    except Exception:
        _logger.exception("could not %s", what)
        st.session_state["train_error"] = f"Could not {what}; the server's log has the details."


def _show_kept_error() -> None:
    if message := st.session_state.pop("train_error", None):
        st.error(message, icon=":material/error:")
