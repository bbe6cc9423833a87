"""Figures of trainings: curves over epochs, steps or seconds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lib.figures.style import (
    MAX_POINTS_PER_LINE,
    StrategyStyle,
    literal,
    new_figure,
    palette,
    spread,
    strategy_style,
)

METRIC_TITLES = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "quadratic_weighted_kappa": "Quadratic weighted kappa",
    "auroc": "AUROC",
    "learning_rate": "Learning rate",
    "images_per_second": "Images per second",
}
SHORTEST_S = 0.1  # where a logarithmic axis of seconds begins
MAX_RUNS = 10  # more names than that do not find room beside the lines
_HEIGHT_PX = 360
_LABEL_GAP = 0.065  # of the axis height: one line of 14 px text at 360 px


@dataclass(frozen=True)
class RunCurves:
    """The logged values of one run: `history` has the columns key, step, value, timestamp_ms (lib.tracking).

    `started_s` is when it began, since 1970; None: with its first value.
    """

    label: str
    strategy: str
    history: pd.DataFrame
    started_s: float | None = None


def learning_curves_figure(
    runs: Sequence[RunCurves],
    metric: str,
    *,
    x: str = "step",
    is_dark: bool,
) -> go.Figure:
    """Curves of several runs in one picture: validation as the run's line, training as a thin pale one.

    Args:
        runs: at least one run; runs without a curve of that metric are passed over, and those behind `MAX_RUNS`.
        metric: name without prefix, such as "loss": draws val_loss and train_loss; else the key itself.
        x: "step" (epochs) or "seconds" since the run began, on a logarithmic axis.
        is_dark: theme.
    """
    figure = new_figure(is_dark=is_dark, height=_HEIGHT_PX)
    ends: list[tuple[float, float, str, str]] = []
    runs = [run for run in runs if has_curves(run.history, metric)][:MAX_RUNS]
    for run in runs:
        style = strategy_style(run.strategy, is_dark)
        for key, is_main in ((f"val_{metric}", True), (f"train_{metric}", False), (metric, True)):
            line = _line(run, key, x)
            if line.empty:
                continue
            figure.add_trace(_trace(line, run.label, key, style=style, is_main=is_main))
            if is_main:
                last = line.iloc[-1]
                ends.append((float(last["x"]), float(last["value"]), run.label, style.color))
    _label_ends(figure, ends)
    title = METRIC_TITLES.get(metric, metric.replace("_", " ").capitalize())
    figure.update_layout(title={"text": title}, showlegend=False)
    figure.update_xaxes(title_text="Seconds" if x == "seconds" else "Epoch", showgrid=False)
    if x == "seconds":  # a probe takes one second where fine-tuning takes a thousand
        figure.update_xaxes(type="log", dtick=1)
    if metric in {"accuracy", "balanced_accuracy", "auroc"}:
        figure.update_yaxes(range=[min(0.0, _lowest(figure)), 1.02])
    if ends:
        _caption(figure, "thick: validation · thin: training", is_dark=is_dark)
    return figure


def has_curves(history: pd.DataFrame, metric: str) -> bool:
    """Whether a history holds a curve of this metric: two epochs at least, since one point is no curve."""
    return num_points(history, metric) >= 2


def num_points(history: pd.DataFrame, metric: str) -> int:
    """How many epochs the longest line of a metric has; step 0 holds what a finished run reached as a whole."""
    drawn = history[history["key"].isin([metric, f"val_{metric}", f"train_{metric}"]) & (history["step"] > 0)]
    return int(drawn.groupby("key")["step"].nunique().max()) if len(drawn) else 0


def thin(table: pd.DataFrame, max_points: int = MAX_POINTS_PER_LINE) -> pd.DataFrame:
    """At most `max_points` rows, evenly chosen, the first and the last always among them."""
    if len(table) <= max_points:
        return table
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, max_points).round().astype(int))]


def _line(run: RunCurves, key: str, x: str) -> pd.DataFrame:
    history = run.history
    line = history[(history["key"] == key) & (history["step"] > 0)].sort_values("step")
    if x == "seconds" and not line.empty:
        started_ms = history["timestamp_ms"].min() if run.started_s is None else 1000 * run.started_s
        seconds = (line["timestamp_ms"] - started_ms) / 1000
        return thin(line.assign(x=seconds.clip(lower=SHORTEST_S)))
    return thin(line.assign(x=line["step"]))


def _trace(line: pd.DataFrame, label: str, key: str, *, style: StrategyStyle, is_main: bool) -> go.Scatter:
    shows_markers = is_main and len(line) <= 40
    kind = key.replace("_", " ")
    return go.Scatter(
        x=line["x"],
        y=line["value"],
        name=literal(label),
        mode="lines+markers" if shows_markers else "lines",
        opacity=1.0 if is_main else 0.55,
        line={"color": style.color, "dash": style.dash if is_main else "solid", "width": 2.5 if is_main else 1.2},
        marker={"symbol": style.marker, "size": 7, "color": style.color},
        hovertemplate=f"{literal(label)}<br>{kind} %{{y:.4g}} at %{{x:.4g}}<extra></extra>",
    )


def _label_ends(figure: go.Figure, ends: list[tuple[float, float, str, str]]) -> None:
    """Write each run's name at the end of its line, moved apart where they would overlap."""
    if not ends:
        return
    values = [value for trace in figure.data for value in trace.y if np.isfinite(value)]
    height = (max(values) - min(values)) or 1.0
    places = spread([value for _, value, _, _ in ends], gap=_LABEL_GAP * height)
    for (_, _, label, color), y in zip(ends, places, strict=True):
        figure.add_annotation(
            x=1.01, xref="paper", xanchor="left", y=y, text=literal(label, 34), showarrow=False, font={"color": color}
        )
    longest = max(len(label[:34]) for _, _, label, _ in ends)
    figure.update_layout(margin={"r": 16 + 7 * longest})


def _lowest(figure: go.Figure) -> float:
    values = [value for trace in figure.data for value in trace.y if np.isfinite(value)]
    return min(values, default=0.0)


def _caption(figure: go.Figure, text: str, *, is_dark: bool) -> None:
    font = {"color": palette(is_dark=is_dark).muted}
    figure.add_annotation(
        x=1,
        xref="paper",
        xanchor="right",
        y=1.02,
        yref="paper",
        yanchor="bottom",
        text=text,
        showarrow=False,
        font=font,
    )
