"""Figures of results: intervals, differences, probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lib.figures.style import literal, new_figure, palette, short_labels, strategy_style

MAX_BARS = 12  # probabilities of more classes are not all drawn
MAX_INTERVALS = 20  # rows of runs that can be read in one picture


def interval_figure(results: pd.DataFrame, *, title: str, is_dark: bool, chance: float | None = None) -> go.Figure:
    """One row a run: the value as a dot, its 95 % interval as a line.

    Args:
        results: columns label, strategy, value, low, high (NaN where there is no interval), in the order to show, of
            which the first `MAX_INTERVALS` are drawn;
            perhaps published (NaN where there is no such figure) with published_source, its words.
        title: what the value is, of what.
        is_dark: theme.
        chance: the value that always the commonest class reaches, drawn as a dashed line.
    """
    results = results.head(MAX_INTERVALS)
    figure = new_figure(is_dark=is_dark, height=112 + (56 if len(results) <= 8 else 40) * len(results))
    colors = palette(is_dark=is_dark)
    lowest = float(np.nanmin([0.0, *results["low"], *results["value"]]))
    highest = float(np.nanmax([1.0, *results["high"], *results["value"]]))  # a loss may be above 1
    names = short_labels([str(label) for label in results["label"]], 44)
    for row, result in enumerate(results.to_dict("records")):
        value, low, high = (float(result[key]) for key in ("value", "low", "high"))
        words = f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if np.isfinite(low) and np.isfinite(high) else "")
        _add_row(figure, row, result, (low, value, high), words=words, is_dark=is_dark)
        # The name stands above its line, so that the axis keeps the whole width.
        _write(figure, names[row], x=lowest, y=row - 0.36, color=colors.ink, behind=colors.background)
        _write(figure, words, x=highest, y=row - 0.36, color=colors.muted, anchor="right")
        _mark_published(figure, result, row, colors.muted)
    figure.update_yaxes(range=[len(results) - 0.5, -0.7], visible=False)
    figure.update_xaxes(range=[lowest - 0.01, highest + 0.01])
    figure.update_layout(title={"text": literal(title, 90)}, showlegend=False, margin={"t": 32})
    if chance is not None:
        line = {"color": colors.muted, "dash": "dash", "width": 1}
        beside = {"annotation_text": "always the commonest class", "annotation_position": "bottom right"}
        figure.add_vline(x=chance, line=line, layer="below", **beside)
    return figure


def difference_figure(differences: pd.DataFrame, *, title: str, is_dark: bool) -> go.Figure:
    """One row a run: how far it lies behind the best one, as a dot, with the 95 % interval of the difference as a line.

    What reaches over the line at zero could be chance; its dot is hollow.

    Args:
        differences: columns label, strategy, difference, low, high (of this run minus the best; NaN where undefined)
            and is_shown (whether it is more than chance), of which the first `MAX_INTERVALS` are drawn.
        title: what is subtracted from what.
        is_dark: theme.
    """
    differences = differences.head(MAX_INTERVALS)
    figure = new_figure(is_dark=is_dark, height=100 + (48 if len(differences) <= 8 else 36) * len(differences))
    colors = palette(is_dark=is_dark)
    ends = differences[["difference", "low", "high"]].to_numpy(np.float64)
    lowest, highest = min(-0.05, float(np.nanmin(ends, initial=0.0))), max(0.05, float(np.nanmax(ends, initial=0.0)))
    names = short_labels([str(label) for label in differences["label"]], 40)
    for row, one in enumerate(differences.to_dict("records")):
        low, value, high = (float(one[key]) for key in ("low", "difference", "high"))
        words = f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
        line = {"color": strategy_style(str(one["strategy"]), is_dark).color, "width": 2.5}
        hollow = {} if one["is_shown"] else {"color": colors.background}
        _add_row(figure, row, one, (low, value, high), words=words, is_dark=is_dark, size=12, line=line, **hollow)
        _write(figure, names[row], x=lowest, y=row - 0.38, color=colors.ink, behind=colors.background)
    figure.add_vline(x=0, line={"color": colors.ink, "width": 1.5}, layer="below")
    figure.update_yaxes(range=[len(differences) - 0.5, -0.75], visible=False)
    figure.update_xaxes(range=[lowest - 0.02, highest + 0.02], tickformat="+.2~f", nticks=6)
    figure.update_layout(title={"text": literal(title, 60)}, showlegend=False, margin={"t": 32})
    return figure


def _add_row(
    figure: go.Figure, row: int, run: Mapping[Any, Any], ends: tuple[float, float, float], *, words: str, is_dark: bool,
    **marker: Any,
) -> None:  # fmt: skip
    """A run's interval (low, value, high) as a line, unless its ends are NaN, and its value as a dot."""
    style, (low, value, high) = strategy_style(str(run["strategy"]), is_dark), ends
    if np.isfinite(low) and np.isfinite(high):
        line = {"color": style.color, "width": 4}
        figure.add_scatter(x=[low, high], y=[row, row], mode="lines", line=line, hoverinfo="skip")
    figure.add_scatter(
        x=[value], y=[row], mode="markers", cliponaxis=False,
        marker={"color": style.color, "size": 13, "symbol": style.marker, **marker},
        hovertemplate=f"{literal(run['label'])}<br>{words}<extra></extra>",
    )  # fmt: skip


def _mark_published(figure: go.Figure, result: Mapping[Any, Any], row: int, color: str) -> None:
    """A dashed grey line across the row at the published value, its source at the line's end."""
    value = float(result.get("published", np.nan))
    if not np.isfinite(value):
        return
    source = str(result["published_source"])
    figure.add_scatter(
        x=[value, value], y=[row - 0.2, row + 0.26], mode="lines", line={"color": color, "width": 2, "dash": "5px,3px"},
        hovertemplate=f"{literal(source)}<extra></extra>",
    )  # fmt: skip
    # A text of some 50 characters stays within a picture that is about 70 of them wide.
    side = "left" if value < 0.36 else "right" if value > 0.64 else "center"
    _write(figure, literal(source, 90), x=value, y=row + 0.36, color=color, anchor=side)


def _write(
    figure: go.Figure, text: str, *, x: float, y: float, color: str, anchor: str = "left", behind: str | None = None
) -> None:
    """A text without an arrow; `behind` is a colour that keeps lines from crossing the letters."""
    figure.add_annotation(
        x=x, y=y, text=text, xanchor=anchor, showarrow=False, font={"color": color}, bgcolor=behind, borderpad=0
    )


def probability_figure(
    probabilities: Sequence[float],
    class_names: Sequence[str],
    is_dark: bool,  # noqa: FBT001
    *,
    given: int | None = None,
) -> go.Figure:
    """One horizontal bar a class, 0 to 1; the one `given` (by default the most probable) in the accent, others grey.

    Of more than `MAX_BARS` classes: the given one, the most probable ones, and one bar for all others together.
    """
    values = np.asarray(probabilities, dtype=float)
    best = int(values.argmax()) if given is None else given
    names = short_labels(class_names, 24)
    if len(values) > MAX_BARS:
        others = [index for index in np.argsort(-values, kind="stable") if index != best]
        order = [best, *others[: MAX_BARS - 2]]
        names = [names[index] for index in order] + [f"{len(values) - len(order)} others"]
        values, best = np.append(values[order], values.sum() - values[order].sum()), 0
    colors = palette(is_dark=is_dark)
    figure = new_figure(is_dark=is_dark, height=48 + 32 * len(values))
    # As the verdict says it (lib/evaluation/verdict.py): "100.0%" would claim a certainty that no network has.
    shares = ["> 99.9%" if value >= 0.9995 else f"{value:.1%}" for value in values]
    figure.add_bar(
        x=values, y=list(range(len(values))), orientation="h", text=shares,
        textposition="outside", cliponaxis=False,
        marker={"color": [colors.accent if row == best else colors.muted for row in range(len(values))]},
        hovertemplate="%{x:.4f}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(names))), ticktext=names, autorange="reversed")
    figure.update_yaxes(showgrid=False, tickfont={"color": colors.ink})
    # "> 99.9%" behind a full bar takes 50 px, a quarter of the narrow column that the figure stands in, or the half of
    # what long names leave of it.
    is_long = max(map(len, names)) > 12
    figure.update_xaxes(range=[0, 1.9 if is_long else 1.35], tickvals=[0, 0.5, 1])
    figure.update_layout(margin={"t": 8}, bargap=0.35)
    return figure
