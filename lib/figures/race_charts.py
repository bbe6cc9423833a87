"""The picture of a race: one metric of every rung against epochs, seconds and trained parameters, on one scale."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from lib.figures.style import literal, new_figure, palette, spread, strategy_style
from lib.figures.training_charts import METRIC_TITLES
from lib.recipes import PublishedLine

RACE_HEIGHT_PX = 380
_LABEL_GAP = 0.07  # of the axis height: one line of 14 px text
_LABEL_CHARACTERS = 26
# The three panels, as shares of the width.
_DOMAINS = ((0.0, 0.30), (0.35, 0.65), (0.70, 1.0))


@dataclass(frozen=True)
class RaceLine:
    """One rung: values (fractions) after each epoch with epochs and seconds since the rung began.

    A rung without epochs has one value, and `epochs` is empty. `num_trained` is the number of trained parameters.
    """

    strategy: str
    label: str
    values: Sequence[float]
    seconds: Sequence[float]
    epochs: Sequence[int]
    num_trained: int | None


def race_figure(
    lines: Sequence[RaceLine],
    metric: str,
    *,
    epochs: int,
    seconds: float,
    is_dark: bool,
    published: Mapping[str, PublishedLine] | None = None,
) -> go.Figure:
    """Three panels that share the axis of values, so that a rung stands at one height in all of them.

    Args:
        lines: the rungs that have a value; the others come as they get one.
        metric: "accuracy" or "quadratic_weighted_kappa", of the validation images.
        epochs: planned epochs: the right end of the first axis, which stays still while lines grow.
        seconds: at least how far the axis of seconds reaches.
        is_dark: theme.
        published: strategy -> a published value, drawn as a dashed grey line across all panels with its source.
    """
    figure, colors = new_figure(is_dark=is_dark, height=RACE_HEIGHT_PX), palette(is_dark=is_dark)
    references = published or {}
    values = [value for line in lines for value in line.values] + [one.value for one in references.values()]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min([0.0, *finite]) - 0.03, max([0.6, *finite]) + 0.06
    for line in lines:
        _draw_line(figure, line, epochs=epochs, is_dark=is_dark)
    for reference in references.values():
        for axis in ("x", "x2", "x3"):
            figure.add_shape(
                type="line", xref=f"{axis} domain", yref="y", x0=0, x1=1, y0=reference.value, y1=reference.value,
                line={"color": colors.muted, "dash": "dash", "width": 1.5},
            )  # fmt: skip
    furthest = max([seconds, *(second for line in lines for second in line.seconds)])
    largest = max([6.5, *(parameter_position(line.num_trained or 0) for line in lines)])
    counts = {"tickvals": [0, 2, 4, 6, 8], "ticktext": ["none", "100", "10,000", "1 M", "100 M"]}
    panels: dict[str, tuple[str, dict[str, Any]]] = {
        "xaxis": ("Epoch", {"range": [0, epochs + 0.3], "tickformat": "d", "dtick": max(1, round(epochs / 6))}),
        "xaxis2": ("Seconds of the rung", {"range": [0, 1.06 * furthest], "nticks": 6, "anchor": "y"}),
        "xaxis3": ("Trained parameters", {"range": [-0.5, largest + 0.5], "anchor": "y", **counts}),
    }
    font = {"size": 14, "color": colors.muted}
    frame = {
        "gridcolor": colors.grid, "zeroline": False, "tickfont": font, "automargin": False, "showgrid": False,
        "ticks": "", "showline": False,
    }  # fmt: skip
    for (key, (title, changes)), domain in zip(panels.items(), _DOMAINS, strict=True):
        named = {"title": {"text": title, "font": font, "standoff": 8}}
        figure.update_layout({key: {**frame, **changes, **named, "domain": list(domain)}})
    figure.update_layout(
        showlegend=False,
        yaxis={"gridcolor": colors.grid, "nticks": 6, "automargin": False, "range": [low, high]},
        margin={"l": 44, "r": 16 + 7 * _LABEL_CHARACTERS, "t": 36, "b": 52},
        title={"text": f"{METRIC_TITLES.get(metric, metric)} on the validation images"},
    )
    ends = [(line.strategy, line.values[-1], line.label, None) for line in lines]
    _label(
        figure, [*ends, *((key, one.value, one.source, colors.muted) for key, one in references.items())],
        span=(low, high), is_dark=is_dark,
    )  # fmt: skip
    return figure


def race_text(lines: Sequence[RaceLine], metric: str) -> str:
    """The picture in words, for those who cannot see it."""
    title = METRIC_TITLES.get(metric, metric)
    if not lines:
        return f"{title} against epochs, seconds and trained parameters; no rung has a value yet."
    told = "; ".join(f"{line.label} {line.values[-1]:.2f} after {line.seconds[-1]:.0f} s" for line in lines)
    return f"{title} on the validation images against epochs, seconds and trained parameters: {told}."


def parameter_position(count: float) -> float:
    """Where a number of trained parameters stands on the axis: its logarithm to base 10, and none at 0."""
    return math.log10(count) if count >= 1 else 0.0


def _draw_line(figure: go.Figure, line: RaceLine, *, epochs: int, is_dark: bool) -> None:
    style = strategy_style(line.strategy, is_dark)
    look: dict[str, Any] = {
        "line": {"color": style.color, "dash": style.dash, "width": 2.5},
        "marker": {"symbol": style.marker, "size": 9, "color": style.color},
        "name": literal(line.label),
    }
    words = f"{literal(line.label)}<br>%{{y:.3f}}"
    values, last = list(line.values), [line.values[-1]]
    by_epoch: dict[str, Any] = {"x": [0.0, epochs + 0.3], "y": 2 * last, "mode": "lines"}
    if line.epochs:
        by_epoch = {"x": list(line.epochs), "y": values, "mode": "lines+markers"}
    when = " after epoch %{x}" if line.epochs else ", no epochs"
    figure.add_scatter(**by_epoch, hovertemplate=f"{words}{when}<extra></extra>", **look)
    figure.add_scatter(
        x=list(line.seconds), y=values, mode="lines+markers", xaxis="x2",
        hovertemplate=f"{words} after %{{x:.0f}} s<extra></extra>", **look,
    )  # fmt: skip
    if line.num_trained is not None:
        figure.add_scatter(
            x=[parameter_position(line.num_trained)], y=last, mode="markers", xaxis="x3",
            hovertemplate=f"{words}, {line.num_trained:,} trained parameters<extra></extra>", **look,
        )  # fmt: skip


def _label(
    figure: go.Figure, ends: list[tuple[str, float, str, str | None]], *, span: tuple[float, float], is_dark: bool
) -> None:
    """Write names right of the last panel, level with a last value and apart from each other.

    `ends` are strategy, value, name, and the colour where it is not the strategy's.
    """
    shown = [end for end in ends if math.isfinite(end[1])]
    gap = _LABEL_GAP * (span[1] - span[0])
    places = spread([value for _, value, _, _ in shown], gap=gap, highest=span[1] - gap / 4)
    for (strategy, _, name, color), place in zip(shown, places, strict=True):
        style = strategy_style(strategy, is_dark)
        figure.add_annotation(
            x=1.01, xref="paper", xanchor="left", y=place, yref="y", showarrow=False,
            text=literal(f"{style.sign} {name}", _LABEL_CHARACTERS), font={"color": color or style.color},
        )  # fmt: skip
