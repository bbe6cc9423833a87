"""Figures of scores against the truth: ROC and precision-recall curves, reliability, and an operating point.

Each is a square with numbered lines and, beside it, the key that names them: numbers are told apart where colours are
not, and eight curves that run together leave no room for names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lib.evaluation.operating_point import Reading
from lib.evaluation.reliability import Reliability, reliability_words
from lib.evaluation.roc import RankingCurves, interval_text
from lib.figures.style import literal, new_figure, palette, short_labels, strategy_style
from lib.figures.training_charts import MAX_POINTS_PER_LINE

MAX_RUNS = 8  # more lines than that cannot be told apart in one square
HEIGHT_PX = 420
_LETTERS = ((-11, 7), (-11, -9), (4, 12), (13, -3), (-4, -13), (13, -3))  # px from published points, which lie close
_SQUARE = 0.5  # of the width, the key has the rest
_MAX_BARRED = 3  # runs whose intervals are drawn as bars
_ENTRY_PX = 44  # of the key: two lines of text


@dataclass(frozen=True, eq=False)
class RankedRun:
    """A run's curves for one question, and what to call it."""

    label: str
    strategy: str
    curves: RankingCurves


@dataclass(frozen=True, eq=False)
class ReliableRun:
    """A run's reliability, and what to call it."""

    label: str
    strategy: str
    reliability: Reliability


@dataclass(frozen=True)
class KeyEntry:
    """One entry beside a figure: a swatch, a name and what is said of it."""

    name: str
    words: str
    color: str
    dash: str = "solid"
    number: str = ""
    symbol: str = ""  # a marker in place of the line


def roc_figure(runs: Sequence[RankedRun], *, title: str, is_dark: bool) -> go.Figure:
    """Sensitivity against 1 - specificity of at most `MAX_RUNS` runs; the dashed diagonal is chance."""
    lines = [(run.curves.false_positive_rate, run.curves.true_positive_rate) for run in runs[:MAX_RUNS]]
    words = [f"AUC {interval_text(run.curves.area)}" for run in runs]
    figure = _square(title, "1 − specificity", "Sensitivity", is_dark=is_dark)
    _diagonal(figure, is_dark=is_dark)
    _draw_lines(figure, runs[:MAX_RUNS], lines, words, is_dark=is_dark)
    return figure


def precision_recall_figure(runs: Sequence[RankedRun], *, title: str, is_dark: bool) -> go.Figure:
    """Precision against recall (sensitivity) of at most `MAX_RUNS` runs; dashed: calling everybody positive."""
    lines = [(run.curves.recall[::-1], run.curves.precision[::-1]) for run in runs[:MAX_RUNS]]
    words = [f"average precision {interval_text(run.curves.average_precision)}" for run in runs]
    figure = _square(title, "Recall (sensitivity)", "Precision", is_dark=is_dark)
    if runs:
        share = runs[0].curves.share_positive
        line = {"color": palette(is_dark=is_dark).muted, "dash": "dash", "width": 1}
        figure.add_scatter(
            x=[0, 1], y=[share, share], mode="lines", line=line,
            hovertemplate=f"calling everybody positive: {share:.2f}<extra></extra>",
        )  # fmt: skip
    _draw_lines(figure, runs[:MAX_RUNS], lines, words, is_dark=is_dark)
    return figure


def curve_table(runs: Sequence[RankedRun]) -> pd.DataFrame:
    """The points of all curves: run, curve, x, y."""
    parts = [
        pd.DataFrame({"run": run.label, "curve": curve, "x": x, "y": y})
        for run in runs
        for curve, x, y in (
            ("roc", run.curves.false_positive_rate, run.curves.true_positive_rate),
            ("precision_recall", run.curves.recall, run.curves.precision),
        )
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run", "curve", "x", "y"])


def reliability_figure(runs: Sequence[ReliableRun], *, title: str, is_dark: bool) -> go.Figure:
    """How often what was stated came true, in bins of equally many images with 95 % intervals.

    On the dashed diagonal stated probabilities come true; below it a run states too much. The intervals of more than
    three runs would hide the lines: they stand where a point is pointed at.
    """
    figure = _square(title, "Stated probability", "Share that came true", is_dark=is_dark)
    _diagonal(figure, is_dark=is_dark)
    entries = []
    for number, run in enumerate(runs[:MAX_RUNS], start=1):
        style, found = strategy_style(run.strategy, is_dark), run.reliability
        sign = str(number) if len(runs) > 1 else ""
        bars = {"type": "data", "symmetric": False, "array": found.high - found.observed,
                "arrayminus": found.observed - found.low, "width": 0, "thickness": 1.5,
                "visible": len(runs) <= _MAX_BARRED}  # fmt: skip
        figure.add_scatter(
            x=found.stated, y=found.observed, mode="lines+markers", error_y=bars,
            line={"color": style.color, "dash": style.dash, "width": 2},
            marker={"color": style.color, "symbol": style.marker, "size": 8},
            customdata=np.stack([found.counts, found.low, found.high], axis=1),
            hovertemplate=f"{literal(run.label)}<br>stated %{{x:.3f}}, came true %{{y:.3f}} (%{{customdata[1]:.3f}} to "
            "%{customdata[2]:.3f}), %{customdata[0]} images<extra></extra>",
        )  # fmt: skip
        if sign:
            place = (number - 1) % len(found.stated)
            _number(
                figure, float(found.stated[place]), float(found.observed[place]), sign, style.color, is_dark=is_dark
            )
        words = reliability_words(found)
        entries.append(KeyEntry(run.label, words, style.color, style.dash, sign))
    add_key(figure, entries, is_dark=is_dark)
    return figure


def reliability_table(runs: Sequence[ReliableRun]) -> pd.DataFrame:
    """The bins of all runs: run, stated, observed, low, high, images."""
    keys = ("stated", "observed", "low", "high")
    parts = [
        pd.DataFrame({"run": run.label} | {key: getattr(run.reliability, key) for key in keys}).assign(
            images=run.reliability.counts
        )
        for run in runs
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run", *keys, "images"])


@dataclass(frozen=True)
class MarkedPoint:
    """A published operating point: what to call it, and where it lies."""

    name: str
    words: str
    sensitivity: float
    specificity: float


def operating_point_figure(
    run: RankedRun, reading: Reading, published: Sequence[MarkedPoint], *, title: str, is_dark: bool
) -> go.Figure:
    """A run's ROC curve with the chosen point, its intervals a cross; published points, of other data, in grey."""
    colors, style = palette(is_dark=is_dark), strategy_style(run.strategy, is_dark)
    figure = _square(title, "1 − specificity", "Sensitivity", is_dark=is_dark)
    _diagonal(figure, is_dark=is_dark)
    _draw_line(figure, run, run.curves.false_positive_rate, run.curves.true_positive_rate, is_dark=is_dark)
    sensitivity, specificity = reading.sensitivity, reading.specificity
    for x, y in (
        ([1 - specificity.value] * 2, [sensitivity.low, sensitivity.high]),
        ([1 - specificity.high, 1 - specificity.low], [sensitivity.value] * 2),
    ):
        figure.add_scatter(x=x, y=y, mode="lines", line={"color": colors.accent, "width": 3}, hoverinfo="skip")
    figure.add_scatter(
        x=[1 - specificity.value], y=[sensitivity.value], mode="markers",
        marker={"color": colors.accent, "size": 14, "line": {"color": colors.background, "width": 2}},
        hovertemplate="sensitivity %{y:.3f}, 1 − specificity %{x:.3f}<extra></extra>",
    )  # fmt: skip
    entries = [
        KeyEntry(run.label, f"AUC {interval_text(run.curves.area)}", style.color, style.dash),
        KeyEntry("The chosen point", "cross: 95 % intervals", colors.accent, symbol="●"),
    ]
    for letter, point, (right, up) in zip("ABCDEFGHIJ", published, _LETTERS * 2, strict=False):
        figure.add_scatter(
            x=[1 - point.specificity], y=[point.sensitivity], mode="markers", cliponaxis=False,
            marker={"color": colors.muted, "size": 9, "symbol": "diamond-open", "line": {"width": 2}},
            hovertemplate=f"{literal(point.name)}<br>{literal(point.words, 120)}<extra></extra>",
        )  # fmt: skip
        figure.add_annotation(
            x=1 - point.specificity, y=point.sensitivity, text=letter, showarrow=False, xshift=right, yshift=up,
            font={"color": colors.ink},
        )  # fmt: skip
        entries.append(KeyEntry(point.name, point.words, colors.muted, number=letter, symbol="◇"))
    add_key(figure, entries, is_dark=is_dark, most=28)  # its figures stand beside it
    return figure


def add_key(
    figure: go.Figure, entries: Sequence[KeyEntry], *, is_dark: bool, left: float = _SQUARE + 0.05, most: int = 44
) -> None:
    """Name numbered lines beside the plot, the first at the top: swatch, number, name; below it what is said of it.

    Names have at most `most` characters.
    """
    colors, height = palette(is_dark=is_dark), float(figure.layout.height or HEIGHT_PX) - 96
    step = min(_ENTRY_PX, height / max(1, len(entries)))
    is_tight = step < _ENTRY_PX - 8  # one line each
    for place, entry in enumerate(entries):
        y = 1 - place * step / height
        if entry.symbol:
            figure.add_annotation(
                x=left + 0.015, y=y, xref="paper", yref="paper", xanchor="center", yanchor="top", showarrow=False,
                text=entry.symbol, font={"color": entry.color, "size": 16},
            )  # fmt: skip
        else:
            middle = y - 10 / height
            figure.add_shape(
                type="line", xref="paper", yref="paper", x0=left, x1=left + 0.03, y0=middle, y1=middle,
                line={"color": entry.color, "dash": entry.dash, "width": 3},
            )  # fmt: skip
        mark, cut = (f"{entry.number}  " if entry.number else ""), 26 if is_tight else most
        name = f"<b>{mark}</b>{short_labels([entry.name], cut)[0]}"
        said = f"<span style='color:{colors.muted}'>{literal(entry.words, 62)}</span>"
        figure.add_annotation(
            x=left + 0.04, y=y, xref="paper", yref="paper", xanchor="left", yanchor="top", align="left",
            text=f"{name}  {said}" if is_tight else f"{name}<br>{said}", showarrow=False, font={"color": colors.ink},
        )  # fmt: skip


def _square(title: str, x: str, y: str, *, is_dark: bool) -> go.Figure:
    figure = new_figure(is_dark=is_dark, height=HEIGHT_PX)
    figure.update_xaxes(title_text=x, range=[-0.02, 1.02], domain=[0, _SQUARE], tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1])
    figure.update_yaxes(title_text=y, range=[-0.02, 1.02], tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1])
    figure.update_layout(title={"text": literal(title, 110)}, showlegend=False, margin={"t": 40, "b": 56, "l": 56})
    return figure


def _diagonal(figure: go.Figure, *, is_dark: bool) -> None:
    line = {"color": palette(is_dark=is_dark).muted, "dash": "dash", "width": 1}
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip")


def _draw_lines(
    figure: go.Figure, runs: Sequence[RankedRun], lines: Sequence[tuple[np.ndarray, np.ndarray]], words: Sequence[str],
    *, is_dark: bool,
) -> None:  # fmt: skip
    """The curves, their numbers spread along them, and the key."""
    entries = []
    for (x, y), run in zip(lines, runs, strict=True):
        _draw_line(figure, run, x, y, is_dark=is_dark)
    for number, ((x, y), run) in enumerate(zip(lines, runs, strict=True), start=1):
        style, sign = strategy_style(run.strategy, is_dark), str(number) if len(runs) > 1 else ""
        if sign:
            place = _along(x, y, 0.15 + 0.55 * (number - 0.5) / len(runs))  # the ends run together
            _number(figure, *place, sign, style.color, is_dark=is_dark)
        entries.append(KeyEntry(run.label, words[number - 1], style.color, style.dash, sign))
    add_key(figure, entries, is_dark=is_dark)


def _draw_line(figure: go.Figure, run: RankedRun, x: np.ndarray, y: np.ndarray, *, is_dark: bool) -> None:
    style = strategy_style(run.strategy, is_dark)
    if len(x) > MAX_POINTS_PER_LINE:
        kept = np.unique(np.linspace(0, len(x) - 1, MAX_POINTS_PER_LINE).round().astype(int))
        x, y = x[kept], y[kept]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": style.color, "dash": style.dash, "width": 2.5},
        hovertemplate=f"{literal(run.label)}<br>%{{x:.3f}}, %{{y:.3f}}<extra></extra>",
    )  # fmt: skip


def _along(x: np.ndarray, y: np.ndarray, share: float) -> tuple[float, float]:
    """The place that lies that share of a curve's length from its beginning."""
    lengths = np.append(0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
    return float(np.interp(share * lengths[-1], lengths, x)), float(np.interp(share * lengths[-1], lengths, y))


def _number(figure: go.Figure, x: float, y: float, number: str, color: str, *, is_dark: bool) -> None:
    background = palette(is_dark=is_dark).background
    figure.add_annotation(
        x=x, y=y, text=f"<b>{number}</b>", showarrow=False, font={"color": color}, bgcolor=background, borderpad=1
    )
