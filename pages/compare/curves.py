"""Learning curves of the selected runs, overlaid."""

import time
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from lib.figures.training_charts import MAX_RUNS, RunCurves, has_curves, learning_curves_figure, num_points
from lib.tracking import RunRecord
from pages.common import controls, resources
from pages.common.text import plain
from pages.compare.scene import Scene

_CURVES = {"loss": "Loss", "accuracy": "Accuracy", "quadratic_weighted_kappa": "Kappa"}


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
    available = [metric for metric in _CURVES if any(has_curves(run.history, metric) for run in iterative)]
    with st.container(horizontal=True):
        metric = st.segmented_control(
            "Curve", available, default=available[0], format_func=_CURVES.get, required=True, key="compare_curve"
        )
        axis = st.segmented_control(
            "Against", ["step", "seconds"], default="step", format_func={"step": "Epochs", "seconds": "Seconds"}.get,
            required=True, key="compare_axis",
        )  # fmt: skip
    figure = learning_curves_figure(iterative, str(metric), x=str(axis), is_dark=controls.is_dark())
    history = pd.concat([run.history.assign(run=run.label) for run in iterative])
    alt = f"Line chart: {_CURVES[str(metric)].lower()} of {len(iterative)} runs in training and validation"
    controls.show_figure(figure, alt=alt, key="curves", data=history)
    _say_single(single)
    if num_other := len(runs) - len(iterative) - len(single):
        st.caption(f"{num_other} of the selected runs have no epochs and so no curve.")
    if len(iterative) > MAX_RUNS:
        st.caption(f"The first {MAX_RUNS} of {len(iterative)} runs with curves are drawn; the data hold all.")


def _say_single(runs: Sequence[RunCurves]) -> None:
    """Runs of one epoch: their numbers, since one point is no curve."""
    for run in runs:
        last = run.history[run.history["step"] > 0].groupby("key")["value"].last()
        found = [
            f"{name} {title.lower()} {last[f'{key}_{metric}']:.3f}"
            for metric, title in _CURVES.items()
            for key, name in (("train", "training"), ("val", "validation"))
            if f"{key}_{metric}" in last
        ]
        st.markdown(plain(f"{run.label}, one epoch and so no curve: {', '.join(found)}.", 400))


def _curves(run: RunRecord, label: str) -> RunCurves:
    # While it runs, the cache holds for two seconds; afterwards for good.
    age = int(time.time() // 2) if run.is_active else 0
    history = resources.cached_history(run.run_id, run.ended_s, age)
    return RunCurves(label, str(run.config.get("strategy", "")), history, run.created_s or None)
