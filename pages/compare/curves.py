"""Learning curves of the selected runs, overlaid, by epoch, second and images seen."""

import time
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from lib.figures.training_charts import (
    AXES,
    MAX_RUNS,
    METRIC_TITLES,
    RunCurves,
    has_curves,
    learning_curves_figure,
    mean_of_folds,
    num_points,
)
from lib.tracking import RunRecord
from pages.common import controls, resources
from pages.common.text import count, joined, plain
from pages.compare.scene import Scene

_CURVES = [name for name in METRIC_TITLES if name not in ("learning_rate", "images_per_second")]


def draw(scene: Scene) -> None:
    """Learning curves of the selected runs that have epochs."""
    runs = scene.runs
    curves = [_curves(run, scene.labels[run.run_id]) for run in runs]
    iterative = [run for run in curves if any(has_curves(run.history, metric) for metric in _CURVES)]
    single = [run for run in curves if run not in iterative and num_points(run.history, "loss")]
    if not iterative:
        if not single:
            st.markdown("No curves: the selected runs were fitted in one go, without epochs.")
        _say_single(single)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        titles = {
            name: METRIC_TITLES[name] for name in _CURVES if any(has_curves(run.history, name) for run in iterative)
        }
        metric = controls.choose("Curve", titles, "metric", key="compare_curve_metric", is_segmented=True)
        axis = controls.choose("Against", AXES, "axis", key="compare_curve_axis", is_segmented=True)
    figure = learning_curves_figure(iterative, metric, x=axis, is_dark=controls.is_dark())
    history = pd.concat([_data(run) for run in iterative])
    title = METRIC_TITLES[metric].lower()
    alt = f"Line chart: {title} of {len(iterative)} runs in training and validation against {AXES[axis].lower()}"
    controls.show_figure(figure, alt=alt, key="curves", data=history)
    _say_single(single)
    if axis == "images":
        _say_unknown([run for run in iterative if not run.images_per_epoch])
    if num_other := len(runs) - len(iterative) - len(single):
        st.caption(f"{num_other} of the selected runs have no epochs and so no curve.")
    without = [run for run in iterative if not has_curves(run.history, metric)]
    if without:
        st.caption(f"{count(len(without), 'run')} kept no {plain(title)} by epoch.")
    if len(iterative) - len(without) > MAX_RUNS:
        st.caption(f"The first {MAX_RUNS} of {len(iterative)} runs with curves are drawn; the data hold all.")


def _data(run: RunCurves) -> pd.DataFrame:
    """What is drawn of a run, with the images seen at each epoch where that is known."""
    own = run.history.assign(run=run.label)
    if not run.images_per_epoch:
        return own
    is_epoch = ~own["key"].str.contains("step_")
    return own.assign(images_seen=(own["step"] * run.images_per_epoch).where(is_epoch))


def _say_unknown(runs: Sequence[RunCurves]) -> None:
    if runs:
        labels = [run.label for run in runs[:3]] + ([f"{len(runs) - 3} more"] if len(runs) > 3 else [])
        why = "a training writes how many images an epoch has when it finishes"
        st.caption(plain(f"Not drawn against images: {joined(labels)}; {why}.", 400))


def _say_single(runs: Sequence[RunCurves]) -> None:
    """Runs of one epoch: their numbers, since one point is no curve."""
    for run in runs:
        last = run.history[run.history["step"] > 0].groupby("key")["value"].last()
        found = [
            f"{name} {METRIC_TITLES[metric].lower()} {last[f'{key}_{metric}']:.3f}"
            for metric in _CURVES
            for key, name in (("train", "training"), ("val", "validation"))
            if f"{key}_{metric}" in last
        ]
        st.markdown(plain(f"{run.label}, one epoch and so no curve: {', '.join(found)}.", 400))


def _curves(run: RunRecord, label: str) -> RunCurves:
    # While it runs, the cache holds for two seconds; afterwards for good.
    age = int(time.time() // 2) if run.is_active else 0
    history, num_folds = mean_of_folds(resources.cached_history(run.run_id, run.ended_s, age))
    label = f"{label} (mean of {num_folds} folds)" if num_folds else label
    num_train = run.summary.get("num_train")
    known = int(num_train) if isinstance(num_train, int | float) and num_train > 0 else None
    return RunCurves(label, str(run.config.get("strategy", "")), history, run.created_s or None, known)
