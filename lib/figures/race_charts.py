"""The picture of a race: one metric of every rung against epochs, seconds and trained parameters, on one scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from lib.figures.style import literal, new_figure, palette, spread, strategy_style
from lib.figures.training_charts import METRIC_TITLES

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


@dataclass(frozen=True)
class PublishedLine:
    """A published value to compare a rung's strategy with, and where it stands."""

    strategy: str
    value: float
    source: str


def race_figure(
    lines: Sequence[RaceLine],
    metric: str,
    *,
    epochs: int,
    seconds: float,
    is_dark: bool,
    published: Sequence[PublishedLine] = (),
) -> go.Figure:
    """Three panels that share the axis of values, so that a rung stands at one height in all of them.

    Args:
        lines: the rungs that have a value; the others come as they get one.
        metric: "accuracy" or "quadratic_weighted_kappa", of the validation images.
        epochs: planned epochs: the right end of the first axis, which stays still while lines grow.
        seconds: at least how far the axis of seconds reaches.
        is_dark: theme.
        published: dashed grey lines across all panels, with their source.
    """
    figure = new_figure(is_dark=is_dark, height=RACE_HEIGHT_PX)
    for line in lines:
        _draw_line(figure, line, epochs=epochs, is_dark=is_dark)
    for reference in published:
        for panel in range(len(_DOMAINS)):
            _draw_published(figure, reference, panel, color=palette(is_dark=is_dark).muted)
    _lay_out(figure, lines, metric, epochs=epochs, seconds=seconds, is_dark=is_dark)
    low, high = _span(lines, published)
    figure.update_layout(yaxis={"range": [low, high]})
    _label(figure, lines, published, span=(low, high), is_dark=is_dark)
    return figure


def race_text(lines: Sequence[RaceLine], metric: str) -> str:
    """The picture in words, for those who cannot see it."""
    title = METRIC_TITLES.get(metric, metric)
    if not lines:
        return f"{title} against epochs, seconds and trained parameters; no rung has a value yet."
    told = "; ".join(f"{line.label} {line.values[-1]:.2f} after {line.seconds[-1]:.0f} s" for line in lines)
    return f"{title} on the validation images against epochs, seconds and trained parameters: {told}."


def rung_sign(strategy: str) -> str:
    """The sign of a strategy in the picture, as a character for texts beside it."""
    return strategy_style(strategy, is_dark=False).sign


def parameter_position(count: int) -> float:
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
    if line.epochs:
        figure.add_scatter(
            x=list(line.epochs), y=list(line.values), mode="lines+markers",
            hovertemplate=f"{words} after epoch %{{x}}<extra></extra>", **look,
        )  # fmt: skip
    else:
        figure.add_scatter(
            x=[0.0, epochs + 0.3], y=[line.values[-1]] * 2, mode="lines",
            hovertemplate=f"{words}, no epochs<extra></extra>", **look,
        )  # fmt: skip
    figure.add_scatter(
        x=list(line.seconds), y=list(line.values), mode="lines+markers", xaxis="x2",
        hovertemplate=f"{words} after %{{x:.0f}} s<extra></extra>", **look,
    )  # fmt: skip
    if line.num_trained is not None:
        figure.add_scatter(
            x=[parameter_position(line.num_trained)], y=[line.values[-1]], mode="markers", xaxis="x3",
            hovertemplate=f"{words}, {line.num_trained:,} trained parameters<extra></extra>", **look,
        )  # fmt: skip


def _draw_published(figure: go.Figure, reference: PublishedLine, panel: int, *, color: str) -> None:
    axis = f"x{panel + 1 if panel else ''} domain"
    line = {"color": color, "dash": "dash", "width": 1.5}
    figure.add_shape(type="line", xref=axis, yref="y", x0=0, x1=1, y0=reference.value, y1=reference.value, line=line)


def _lay_out(
    figure: go.Figure, lines: Sequence[RaceLine], metric: str, *, epochs: int, seconds: float, is_dark: bool
) -> None:
    colors = palette(is_dark=is_dark)
    frame = {"gridcolor": colors.grid, "zeroline": False, "tickfont": {"size": 14, "color": colors.muted}}
    frame |= {"automargin": False, "showgrid": False, "ticks": "", "showline": False}
    furthest = max([seconds, *(second for line in lines for second in line.seconds)])
    ticks = [0, 2, 4, 6, 8]
    largest = max([6.5, *(parameter_position(line.num_trained or 0) for line in lines)])
    axes = (
        ("Epoch", {"range": [0, epochs + 0.3], "tickformat": "d", "dtick": max(1, round(epochs / 6))}),
        ("Seconds of the rung", {"range": [0, 1.06 * furthest], "nticks": 6}),
        ("Trained parameters", {"range": [-0.5, largest + 0.5], "tickvals": ticks}),
    )
    axes[2][1]["ticktext"] = ["none", "100", "10,000", "1 M", "100 M"]
    for index, ((title, changes), domain) in enumerate(zip(axes, _DOMAINS, strict=True)):
        key = f"xaxis{index + 1 if index else ''}"
        anchor = {"anchor": "y"} if index else {}
        axis = {**frame, **changes, **anchor, "domain": list(domain)}
        axis["title"] = {"text": title, "font": {"size": 14, "color": colors.muted}, "standoff": 8}
        figure.update_layout({key: axis})
    figure.update_layout(
        showlegend=False,
        yaxis={"gridcolor": colors.grid, "nticks": 6, "automargin": False},
        margin={"l": 44, "r": 16 + 7 * _LABEL_CHARACTERS, "t": 36, "b": 52},
        title={"text": f"{METRIC_TITLES.get(metric, metric)} on the validation images"},
    )


def _span(lines: Sequence[RaceLine], published: Sequence[PublishedLine]) -> tuple[float, float]:
    values = [value for line in lines for value in line.values] + [reference.value for reference in published]
    finite = [value for value in values if math.isfinite(value)]
    return min([0.0, *finite]) - 0.03, max([0.6, *finite]) + 0.06


def _label(
    figure: go.Figure,
    lines: Sequence[RaceLine],
    published: Sequence[PublishedLine],
    *,
    span: tuple[float, float],
    is_dark: bool,
) -> None:
    """Write each rung's name right of the last panel, level with its last value and apart from the others."""
    muted = palette(is_dark=is_dark).muted
    texts = [
        (line.values[-1], f"{rung_sign(line.strategy)} {line.label}", strategy_style(line.strategy, is_dark).color)
        for line in lines
    ]
    texts += [(one.value, f"{rung_sign(one.strategy)} {one.source}", muted) for one in published]
    texts = [entry for entry in texts if math.isfinite(entry[0])]
    gap = _LABEL_GAP * (span[1] - span[0])
    places = spread([value for value, _, _ in texts], gap=gap, highest=span[1] - gap / 4)
    for (_, label, color), place in zip(texts, places, strict=True):
        figure.add_annotation(
            x=1.01, xref="paper", xanchor="left", y=place, yref="y", text=literal(label, _LABEL_CHARACTERS),
            showarrow=False, font={"color": color},
        )  # fmt: skip
