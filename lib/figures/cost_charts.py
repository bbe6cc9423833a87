"""Figures of what a result costs: the value against seconds, trained parameters, or training images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from lib.evaluation.roc import Valued, interval_text
from lib.figures.race_charts import parameter_position
from lib.figures.roc_charts import HEIGHT_PX, MAX_RUNS, KeyEntry, add_key
from lib.figures.style import literal, new_figure, palette, strategy_style

MAX_COSTS = 12
_PLOT = 0.58  # of the width, the key has the rest


@dataclass(frozen=True)
class CostPoint:
    """A run's value with its interval, and what it cost; `cost` is NaN where that is not known."""

    label: str
    strategy: str
    value: Valued
    cost: float


@dataclass(frozen=True)
class SizeSeries:
    """One training with several numbers of training images, rising, and its value with each."""

    label: str
    strategy: str
    sizes: tuple[int, ...]
    values: tuple[Valued, ...]


def pareto_front(points: Sequence[CostPoint], *, is_lower_better: bool = False) -> list[int]:
    """The numbers of the points that no other one beats, by rising cost: none is better at the same or a lower cost."""
    sign = -1.0 if is_lower_better else 1.0
    known = [k for k, point in enumerate(points) if math.isfinite(point.cost) and math.isfinite(point.value.value)]
    front, best = [], -math.inf
    for k in sorted(known, key=lambda k: (points[k].cost, -sign * points[k].value.value)):
        if sign * points[k].value.value > best:
            front.append(k)
            best = sign * points[k].value.value
    return front


def cost_figure(
    points: Sequence[CostPoint], *, title: str, cost_title: str, is_dark: bool, is_lower_better: bool = False
) -> go.Figure:
    """Value against cost on a logarithmic axis; a dotted line joins the runs that none beats at their cost.

    Args:
        points: of which the first `MAX_COSTS` with a cost and a value are drawn.
        title: the value, on what.
        cost_title: "Seconds" or "Trained parameters", where a run without any stands at "none".
        is_dark: theme.
        is_lower_better: whether the smaller value wins.
    """
    drawn = [one for one in points if math.isfinite(one.cost) and math.isfinite(one.value.value)][:MAX_COSTS]
    figure, colors = _plot(title, cost_title, is_dark=is_dark), palette(is_dark=is_dark)
    places = [parameter_position(point.cost) if point.cost >= 1 else 0.0 for point in drawn]
    front = pareto_front(drawn, is_lower_better=is_lower_better)
    if len(front) > 1:
        figure.add_scatter(
            x=[places[k] for k in front], y=[drawn[k].value.value for k in front], mode="lines", hoverinfo="skip",
            line={"color": colors.muted, "dash": "dot", "width": 2},
        )  # fmt: skip
    entries = []
    for number, (point, x) in enumerate(zip(drawn, places, strict=True), start=1):
        style = strategy_style(point.strategy, is_dark)
        is_best = number - 1 in front
        words = f"{interval_text(point.value, '{:.3f}'.format)}, {_cost_words(point.cost, cost_title)}"
        _mark(figure, [x], [point.value], label=point.label, words=[words], color=style.color, symbol=style.marker)
        figure.add_annotation(
            x=x, y=point.value.value, text=f"<b>{number}</b>", showarrow=False, xshift=14, yshift=8,
            font={"color": style.color},
        )  # fmt: skip
        said = f"{words}{' · best at its cost' if is_best else ''}"
        entries.append(KeyEntry(point.label, said, style.color, number=str(number), symbol=style.sign))
    if places:
        lowest, highest = min(places) - 0.3, max(places) + 0.3
        ticks = _ticks(lowest, highest, is_count="parameters" in cost_title)
        figure.update_xaxes(range=[lowest, highest], tickvals=list(ticks), ticktext=list(ticks.values()))
    add_key(figure, entries, is_dark=is_dark, left=_PLOT + 0.03)
    return figure


def cost_table(points: Sequence[CostPoint], cost_name: str, *, is_lower_better: bool = False) -> pd.DataFrame:
    """One row a run: run, value, low, high, the cost, and whether none beats it at its cost."""
    front = pareto_front(points, is_lower_better=is_lower_better)
    rows = [
        (point.label, point.value.value, point.value.low, point.value.high, point.cost, number in front)
        for number, point in enumerate(points)
    ]
    return pd.DataFrame(rows, columns=["run", "value", "low", "high", cost_name, "is_on_front"])


def size_figure(series: Sequence[SizeSeries], *, title: str, is_dark: bool) -> go.Figure:
    """Value against the number of training images, on a logarithmic axis, with 95 % intervals."""
    figure, entries = _plot(title, "Training images", is_dark=is_dark), []
    for number, one in enumerate(series[:MAX_RUNS], start=1):
        style, sign = strategy_style(one.strategy, is_dark), str(number) if len(series) > 1 else ""
        words = [f"{interval_text(value, '{:.3f}'.format)} with {size:,} images"
                 for size, value in zip(one.sizes, one.values, strict=True)]  # fmt: skip
        places = [parameter_position(size) for size in one.sizes]
        _mark(figure, places, one.values, label=one.label, words=words, color=style.color, symbol=style.marker,
              dash=style.dash)  # fmt: skip
        if sign and one.sizes:
            figure.add_annotation(
                x=places[-1], y=one.values[-1].value, text=f"<b>{sign}</b>", showarrow=False, xshift=14,
                font={"color": style.color},
            )  # fmt: skip
        told = " → ".join(f"{value.value:.3f}" for value in one.values)
        entries.append(KeyEntry(one.label, told, style.color, style.dash, sign))
    sizes = sorted({size for one in series for size in one.sizes})
    if sizes:
        places = [parameter_position(size) for size in sizes]
        shown = [k for k in range(len(sizes)) if k == 0 or places[k] - places[k - 1] > 0.12]
        figure.update_xaxes(
            range=[places[0] - 0.15, places[-1] + 0.15], tickvals=[places[k] for k in shown],
            ticktext=[f"{sizes[k]:,}" for k in shown],
        )  # fmt: skip
    add_key(figure, entries, is_dark=is_dark, left=_PLOT + 0.03)
    return figure


def size_table(series: Sequence[SizeSeries]) -> pd.DataFrame:
    """One row a size of a series: run, training_images, value, low, high."""
    rows = [
        (one.label, size, value.value, value.low, value.high)
        for one in series
        for size, value in zip(one.sizes, one.values, strict=True)
    ]
    return pd.DataFrame(rows, columns=["run", "training_images", "value", "low", "high"])


def _plot(title: str, x: str, *, is_dark: bool) -> go.Figure:
    figure = new_figure(is_dark=is_dark, height=HEIGHT_PX)
    figure.update_xaxes(title_text=x, domain=[0, _PLOT], showgrid=False)
    figure.update_layout(title={"text": literal(title, 110)}, showlegend=False, margin={"t": 40, "b": 56, "l": 56})
    return figure


def _mark(
    figure: go.Figure, places: Sequence[float], values: Sequence[Valued], *, label: str, words: Sequence[str],
    color: str, symbol: str, dash: str = "solid",
) -> None:  # fmt: skip
    """Values with their intervals as bars, joined by a line."""
    above = [one.high - one.value if math.isfinite(one.high) else 0.0 for one in values]
    below = [one.value - one.low if math.isfinite(one.low) else 0.0 for one in values]
    figure.add_scatter(
        x=list(places), y=[one.value for one in values], mode="lines+markers", hovertext=list(words),
        error_y={"type": "data", "symmetric": False, "array": above, "arrayminus": below, "width": 0, "thickness": 2},
        line={"color": color, "dash": dash, "width": 2}, marker={"color": color, "symbol": symbol, "size": 11},
        hovertemplate=f"{literal(label)}<br>%{{hovertext}}<extra></extra>",
    )  # fmt: skip


def _ticks(lowest: float, highest: float, *, is_count: bool) -> dict[float, str]:
    """Place on the logarithmic axis -> what stands there: tens, or 1, 2 and 5 of each where the axis is short."""
    parts = (1, 2, 5) if highest - lowest < 2.2 else (1,)
    places = {math.log10(part * 10.0**power): part * 10.0**power for power in range(-2, 11) for part in parts}
    found = {place: _short(value) for place, value in places.items() if lowest <= place <= highest}
    if is_count and lowest <= 0 <= highest:
        found = {0.0: "none"} | {place: text for place, text in found.items() if place > 1}
    return found


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _cost_words(cost: float, cost_title: str) -> str:
    if "parameters" in cost_title:
        return f"{cost / 1e6:.2f} M trained" if cost >= 1e6 else f"{cost:,.0f} trained" if cost else "none trained"
    return f"{cost:,.0f} s" if cost >= 10 else f"{cost:.1f} s"
