"""What the live panel shows besides the curves: what they mean, gap, gradient and rate, and the confusion matrix."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from lib.figures.result_charts import confusion_figure
from lib.figures.training_charts import LIVE_HEIGHT_PX, LIVE_KEYS, progress_figure, progress_text
from lib.training.diagnosis import Diagnosis, diagnose
from pages.common import controls, train_live
from pages.common.run_data import class_names_of_run
from pages.common.run_view import RunView
from pages.common.text import count, plain

_ICONS = {"overfitting": ":material/trending_up:", "underfitting": ":material/trending_flat:"}
_DIAGNOSIS_PX = 136
_EMPTY_PX = LIVE_HEIGHT_PX + 16


def draw_details(view: RunView, *, prefix: str, strategy: str) -> None:
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
    names = class_names_of_run(train_live.run_config(run), len(matrix))
    hits, total = int(np.trace(matrix)), int(matrix.sum())
    title = f"Validation images, epoch {epoch}"
    figure = confusion_figure(matrix, [plain_name(name) for name in names], title, controls.is_dark())
    alt = f"{title}: {hits} of {count(total, 'image')} in their class. Rows are true classes, columns predicted ones."
    controls.show_figure(figure, alt=alt, key="train_confusion")
    st.caption(plain(alt))


def plain_name(name: str) -> str:
    """A class name on one line."""
    return " ".join(str(name).split())


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
