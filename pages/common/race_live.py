"""A race as it stands: the picture, the table of rungs, and the pinned images; all of it read from the runs."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from lib.data.dataset import Dataset
from lib.data.specs import DatasetSpec
from lib.evaluation.headline import headline_metric
from lib.evaluation.metric_table import KAPPA
from lib.figures.race_charts import RaceLine, race_figure, race_text
from lib.figures.style import strategy_style
from lib.recipes import RECIPES, PublishedLine
from lib.sweeps.plan import SweepState
from lib.sweeps.results import ArmResult, arm_results, leader
from lib.sweeps.strategies import StrategySweep
from lib.tracking import read_state
from lib.training.strategies import STRATEGIES
from pages.common import controls, pinned_pictures, train_live
from pages.common.pinned_pictures import WatchedRun
from pages.common.run_view import dataset_of_run
from pages.common.text import plain, readable

POLL_S = 1.0
METRICS = {"quadratic_weighted_kappa": "Weighted kappa", "accuracy": "Accuracy"}
_STATES = {"waiting": "waits for its turn", "queued": "starting", "running": "running", "stopping": "stopping",
           "stopped": "stopped", "failed": "failed", "killed": "killed"}  # fmt: skip


def choose_metric(spec: DatasetSpec | None) -> str:
    """Kappa or accuracy of grades; kappa weighs how far off a grade is, which says nothing of other classes."""
    if spec is not None and headline_metric(is_ordinal=spec.is_ordinal, num_classes=spec.num_classes) is not KAPPA:
        return "accuracy"
    chosen = st.segmented_control(
        "Metric", list(METRICS), format_func=METRICS.__getitem__, default="quadratic_weighted_kappa", required=True,
        key="race_metric", label_visibility="collapsed", persist_state="session",
    )  # fmt: skip
    return chosen or "quadratic_weighted_kappa"


def draw(
    plan: StrategySweep,
    now: SweepState,
    dataset: Dataset | None,
    metric: str,
    *,
    then: Sequence[ArmResult] | None = None,
    newest: Mapping[str, int] | None = None,
) -> None:
    """Picture, table and pinned images.

    Args:
        plan: the race.
        now: its state.
        dataset: that it is run on; None if it is gone.
        metric: what the picture shows.
        then: the rungs as they stood at a moment of a recording, instead of as they are.
        newest: of a recording: run id -> the last epoch whose pictures may be shown.
    """
    standings = list(then) if then is not None else arm_results(plan, now)
    lines = race_lines(standings, metric)
    published = plan.published_lines(dataset.spec, metric) if dataset is not None else {}
    moment = tuple((line.strategy, len(line.values), line.values[-1]) for line in lines)
    figure, alt = _figure(plan, metric, moment, published, lines, is_dark=controls.is_dark())
    controls.show_figure(figure, alt=alt, key="race_figure")
    st.html(table_html(standings))
    if (first := leader(standings)) and first.score:
        st.caption(plain(f"{first.title} leads: {first.score.words}.", 500))
    st.caption(
        "The picture is of validation images, after each epoch; the table of test images, looked at once, with 95 % "
        "intervals. Seconds are those of the rung, with its evaluation; what nearest neighbours takes is mostly the "
        "features of the frozen network, which the linear probe then finds at hand."
    )
    for key, line in published.items():
        st.caption(published_words(key, line.recipe, line.measured_on))
    if dataset is not None and plan.pinned_images:
        watched = [
            WatchedRun(one.title, one.run_id, one.folder, (newest or {}).get(str(one.run_id))) for one in standings
        ]
        pinned_pictures.draw(
            plan.pinned_images, watched, _dataset_of_runs(standings) or dataset, epochs=plan.epochs, key=plan.race_id
        )


def _dataset_of_runs(standings: Sequence[ArmResult]) -> Dataset | None:
    """The data set at the version that the rungs read, which may not be the present one."""
    begun = next((standing.run_id for standing in standings if standing.run_id and standing.folder), None)
    return dataset_of_run(train_live.run_config(read_state(begun))) if begun else None


def race_lines(standings: Sequence[ArmResult], metric: str) -> list[RaceLine]:
    """The rungs that have a value to show."""
    lines = []
    for standing in standings:
        points = [point for point in standing.curve.points if f"val_{metric}" in point.values]
        values = [float(point.values[f"val_{metric}"]) for point in points]
        seconds, epochs = [point.seconds for point in points], [point.epoch for point in points]
        if not values and standing.is_finished and metric in standing.validation:
            values, seconds = [standing.validation[metric]], [float(standing.summary.get("seconds_total") or 0.0)]
        if values and all(math.isfinite(value) for value in values):
            lines.append(RaceLine(standing.key, standing.title, values, seconds, epochs, standing.curve.num_trained))
    return lines


@st.cache_resource(max_entries=64, show_spinner=False)
def _figure(
    plan: StrategySweep,
    metric: str,
    moment: tuple[Any, ...],
    published: dict[str, PublishedLine],
    _lines: list[RaceLine],
    *,
    is_dark: bool,
) -> tuple[go.Figure, str]:
    """The picture and its text, drawn once a `moment` for everybody who watches; never change them."""
    longest = max((entry.cost_s for entry in plan.entries), default=10.0)
    figure = race_figure(_lines, metric, epochs=plan.epochs, seconds=longest, is_dark=is_dark, published=published)
    return figure, race_text(_lines, metric)


def published_words(key: str, recipe: str, measured_on: str) -> str:
    """What a dashed line is, and why it is not to be reached here."""
    entry, rung, sign = RECIPES.get(recipe), STRATEGIES.get(key).title, strategy_style(key, is_dark=False).sign
    return plain(
        f"Dashed, {sign}: published for {rung.lower()} ({entry.title}; {entry.study.line}), "
        f"on {measured_on}. Other images and another network: a landmark, not a target.",
        600,
    )


def table_html(standings: Sequence[ArmResult]) -> str:
    """The rungs in the ladder's order, the leader marked; always as many rows, so that nothing jumps."""
    first = leader(list(standings))
    heads = ("Rung", "Weighted kappa", "Accuracy", "Seconds", "Trained parameters")
    body = "".join(_row(standing, is_leader=first is not None and first.key == standing.key) for standing in standings)
    head = "".join(f"<th>{head}</th>" for head in heads)
    return f'{_STYLE}<table class="rl"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _row(standing: ArmResult, *, is_leader: bool) -> str:
    light, dark = (strategy_style(standing.key, is_dark) for is_dark in (False, True))
    sign = f'<span class="rl-sign" style="color:light-dark({light.color},{dark.color})">{light.sign}</span>'
    name = html.escape(readable(standing.title)) + ('<span class="rl-first">leads</span>' if is_leader else "")
    trained = standing.curve.num_trained
    cells = ["", "", "", "" if trained is None else f"{trained:,}"]
    if standing.is_finished:
        seconds = float(standing.summary.get("seconds_total") or 0.0)
        cells[:3] = [_value(*standing.test("quadratic_weighted_kappa")), _value(*standing.test("accuracy")),
                     f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"]  # fmt: skip
    else:
        cells[0] = f'<span class="rl-quiet">{html.escape(_words(standing))}</span>'
    return f"<tr><td>{sign}{name}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _words(standing: ArmResult) -> str:
    words = _STATES.get(standing.state, standing.state)
    epochs = len(standing.curve.points)
    if standing.state == "running" and standing.key in STRATEGIES and STRATEGIES.get(standing.key).is_iterative:
        return f"{words}, {epochs} epochs done" if epochs != 1 else f"{words}, 1 epoch done"
    return words


def _value(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "not defined"
    interval = "" if math.isnan(low) else f' <span class="rl-quiet">{low:.2f} to {high:.2f}</span>'
    return f"{value:.2f}{interval}"


_STYLE = """<style>
.rl { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
.rl th { text-align: left; font-weight: 600; font-size: 14px; opacity: .75; padding: 4px 12px 4px 0; }
.rl td { border-top: 1px solid color-mix(in srgb, currentColor 14%, transparent); padding: 7px 12px 7px 0;
  white-space: nowrap; height: 38px; box-sizing: border-box; }
.rl-sign { display: inline-block; width: 16px; margin-right: 6px; text-align: center; }
.rl-quiet { opacity: .7; font-size: 14px; }
.rl-first { margin-left: 8px; padding: 1px 8px; border-radius: 8px; font-size: 14px;
  border: 1px solid var(--st-primary-color, #0F766E); }
</style>"""
