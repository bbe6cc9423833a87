"""The metric on screen against what it cost: seconds of training, or trained parameters, with the Pareto front."""

import math

import streamlit as st

from lib.errors import UserError
from lib.figures.cost_charts import MAX_COSTS, CostPoint, cost_figure, cost_table, pareto_front
from lib.tracking import RunRecord
from lib.tracking.tested import TestedRun
from lib.training.config import TrainConfig
from lib.training.resolution import trained_parameters
from pages.common import controls
from pages.common.text import count, joined, plain, readable
from pages.compare.scene import Scene
from pages.compare.shared import estimate_of, shared_runs

_COSTS = {"seconds": "Seconds", "parameters": "Trained parameters"}


def draw(scene: Scene) -> None:
    """One point a run; who lies on the dotted line is beaten by none at its cost."""
    shared = shared_runs(scene)
    if not shared:
        return
    with st.container(horizontal=True):
        metric = scene.choose_metric()
        cost = controls.choose(
            "Against", _COSTS, "axis", key="compare_cost", is_segmented=True, label_visibility="collapsed"
        )
    points = [
        CostPoint(one.label, str(one.run.config.get("strategy", "")), estimate_of(one, metric), cost_of(one, cost))
        for one in shared
    ]
    if not any(math.isfinite(point.cost) and math.isfinite(point.value.value) for point in points):
        st.markdown(f"Nothing to draw: {metric.word} or {_COSTS[cost].lower()} of these runs are not known.")
        return
    is_lower = metric.is_lower_better
    title = f"{metric.title} on {count(len(shared[0].targets), 'test image')}, against {_COSTS[cost].lower()}"
    figure = cost_figure(
        points, title=title, cost_title=_COSTS[cost], is_dark=controls.is_dark(), is_lower_better=is_lower
    )
    front = [points[k].label for k in pareto_front(points, is_lower_better=is_lower)]
    words = f"None is better at the same or a lower cost: {joined(front)}."
    controls.show_figure(figure, alt=readable(f"Scatter plot: {title}. {words}", 600), key=f"cost_{cost}",
                         data=cost_table(points, cost, is_lower_better=is_lower))  # fmt: skip
    st.markdown(plain(words, 600))
    about = "Seconds are those of the machine that trained, from start to result." if cost == "seconds" else ""
    better = "lower" if is_lower else "higher"
    st.caption(f"Bars: 95 % intervals; {better} is better. Dotted: the runs that none beats at their cost. {about}")
    if unknown := [one.label for one, point in zip(shared, points, strict=True) if not math.isfinite(point.cost)]:
        st.caption(plain(f"Not drawn, since its {_COSTS[cost].lower()} are not known: {joined(unknown)}.", 400))
    if len(points) > MAX_COSTS:
        st.caption(f"The first {MAX_COSTS} of {len(points)} runs are drawn; the data hold all.")


def cost_of(tested: TestedRun, cost: str) -> float:
    """Seconds from start to result, or trained parameters; NaN where that is not known."""
    if cost == "seconds":
        seconds = tested.run.summary.get("seconds_total")
        return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else math.nan
    return _parameters(tested.run, len(tested.class_names))


def _parameters(run: RunRecord, num_classes: int) -> float:
    try:
        return float(trained_parameters(TrainConfig.from_dict(run.config), num_classes)[0])
    except (UserError, TypeError, ValueError):  # a run of another version
        return math.nan
