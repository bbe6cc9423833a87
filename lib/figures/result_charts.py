"""Figures of results: intervals, probabilities, and confusion matrices of any number of classes."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lib.figures.style import (
    MAX_SCATTER_POINTS,
    TOP_LEFT,
    accent_ramp,
    literal,
    new_figure,
    palette,
    short_labels,
    strategy_style,
)  # fmt: skip

MAX_BARS = 12  # probabilities of more classes are not all drawn
MAX_INTERVALS = 20  # rows of runs that can be read in one picture
MAX_LABELLED = 40  # with more classes, the whole is a map without names, and the most confused ones come before it
MAX_WRITTEN = 12  # with more classes, numbers in cells cannot be read
_MAX_LEVEL_NAMES = 5
_TITLE_PX, _CHARACTER_PX = 64, 7.5
_MAP_PX = 560  # the plot's height where cells have no least size


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
    for row, result in enumerate(results.to_dict("records")):
        value, low, high = (float(result[key]) for key in ("value", "low", "high"))
        words = f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if np.isfinite(low) and np.isfinite(high) else "")
        _add_row(figure, row, result, (low, value, high), words=words, is_dark=is_dark)
        # The name stands above its line, so that the axis keeps the whole width.
        _write(figure, literal(result["label"], 44), x=lowest, y=row - 0.36, color=colors.ink)
        _write(figure, words, x=1.0, y=row - 0.36, color=colors.muted, anchor="right")
        _mark_published(figure, result, row, colors.muted)
    figure.update_yaxes(range=[len(results) - 0.5, -0.7], visible=False)
    figure.update_xaxes(range=[lowest - 0.01, 1.01])
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
    for row, one in enumerate(differences.to_dict("records")):
        low, value, high = (float(one[key]) for key in ("low", "difference", "high"))
        words = f"{value:+.3f} ({low:+.3f} to {high:+.3f})"
        line = {"color": strategy_style(str(one["strategy"]), is_dark).color, "width": 2.5}
        hollow = {} if one["is_shown"] else {"color": colors.background}
        _add_row(figure, row, one, (low, value, high), words=words, is_dark=is_dark, size=12, line=line, **hollow)
        _write(figure, literal(one["label"], 40), x=lowest, y=row - 0.38, color=colors.ink)
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


def _write(figure: go.Figure, text: str, *, x: float, y: float, color: str, anchor: str = "left") -> None:
    figure.add_annotation(x=x, y=y, text=text, xanchor=anchor, showarrow=False, font={"color": color})


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
    figure.add_bar(
        x=values, y=list(range(len(values))), orientation="h", text=[f"{value:.1%}" for value in values],
        textposition="outside", cliponaxis=False,
        marker={"color": [colors.accent if row == best else colors.muted for row in range(len(values))]},
        hovertemplate="%{x:.4f}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(names))), ticktext=names, autorange="reversed")
    figure.update_yaxes(showgrid=False, tickfont={"color": colors.ink})
    # "100.0%" behind a full bar takes 50 px, a quarter of the narrow column that the figure stands in, or the half of
    # what long names leave of it.
    is_long = max(map(len, names)) > 12
    figure.update_xaxes(range=[0, 1.9 if is_long else 1.35], tickvals=[0, 0.5, 1])
    figure.update_layout(margin={"t": 8}, bargap=0.35)
    return figure


class CellLayout(NamedTuple):
    """How the cells of K classes are drawn, in pixels, and the longest label; 0: rows and columns have no names."""

    cell_px: float
    gap_px: int
    label_characters: int


def cell_layout(num_classes: int) -> CellLayout:
    """Large cells for few classes; a gap never takes more than a tenth of its cell."""
    if num_classes > MAX_LABELLED:
        return CellLayout(_MAP_PX / num_classes, 0, 0)
    # A line of 14 px text needs 16 px.
    cell_px = max(16.0, min(44.0, _MAP_PX / max(num_classes, 1)))
    return CellLayout(cell_px, 2 if cell_px >= 20 else 1, 18 if num_classes <= MAX_WRITTEN else 16)


def most_confused(matrix: np.ndarray, number: int = MAX_WRITTEN) -> np.ndarray:
    """The classes (at most `number`) with the most images put wrongly into or out of them, most first.

    Args:
        matrix: counts (K, K), row = true class, column = predicted.
        number: how many at most; classes without any error are never among them.
    """
    wrong = matrix - np.diag(np.diag(matrix))
    errors = wrong.sum(axis=0) + wrong.sum(axis=1)
    order = np.argsort(-errors, kind="stable")[:number]
    return order[errors[order] > 0]


def confusion_figure(
    matrix: np.ndarray,
    class_names: Sequence[str],
    title: str,
    is_dark: bool,  # noqa: FBT001
    *,
    classes: Sequence[int] | None = None,
) -> go.Figure:
    """Counts (K, K), row = true class, column = predicted; the colour is the share of the true class, 0 to 1.

    Every cell that is not empty is a point to click on, with (true class, predicted class) as its `customdata`.

    Args:
        matrix: counts of all classes.
        class_names: of all classes.
        title: what the matrix is of.
        is_dark: theme.
        classes: the classes to show, in this order; all by default. Shares stay those of all images of a class.
    """
    chosen = np.arange(len(matrix)) if classes is None else np.asarray(classes, dtype=int)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)[np.ix_(chosen, chosen)]
    counts = matrix[np.ix_(chosen, chosen)]
    layout = cell_layout(len(chosen))
    names = [class_names[index] for index in chosen]
    labels = short_labels(names, layout.label_characters) if layout.label_characters else []
    has_texts = len(chosen) <= MAX_WRITTEN
    longest = max((len(label) for label in labels), default=0)
    # Names under more columns than a few stand upright.
    is_upright = len(labels) > _MAX_LEVEL_NAMES
    below = 48 + (_CHARACTER_PX * longest if is_upright else 0)
    height = round(_TITLE_PX + below + layout.cell_px * len(chosen))
    figure = new_figure(is_dark=is_dark, height=max(320, height))
    places = list(range(len(chosen)))
    figure.add_heatmap(
        z=shares, x=places, y=places, zmin=0, zmax=1, showscale=False, hoverinfo="skip",
        colorscale=accent_ramp(is_dark=is_dark, lowest=0.0 if has_texts else 0.25),
        xgap=layout.gap_px, ygap=layout.gap_px,
    )  # fmt: skip
    _add_points(figure, counts, shares, names=names, chosen=chosen, layout=layout, is_dark=is_dark)
    colors = palette(is_dark=is_dark)
    texts = []
    for row, column in np.ndindex(counts.shape) if has_texts else ():
        # The ramp runs from background to accent: past the middle the background colour reads better than ink.
        font = {"color": colors.background if shares[row, column] > 0.55 else colors.ink, "size": 16}
        texts.append({"x": column, "y": row, "text": f"{counts[row, column]:g}", "showarrow": False, "font": font})
    ticks = {"tickmode": "array", "tickvals": places if labels else [], "ticktext": labels, "showgrid": False}
    span = {"range": [-0.5, len(chosen) - 0.5]}
    figure.update_xaxes(title_text="Predicted", side="bottom", **ticks, **span)
    if is_upright:
        figure.update_xaxes(tickangle=-90)
    figure.update_yaxes(title_text="True", **ticks, range=[len(chosen) - 0.5, -0.5])
    is_narrow = has_texts and classes is None  # a matrix among others, side by side
    # Room for two lines in any case: matrices side by side stay level.
    lines = textwrap.wrap(" ".join(str(title).split()), 30 if is_narrow else 90)[:2]
    text = {"text": "<br>".join(literal(line) for line in lines), "pad": {"t": 14}}
    figure.update_layout(title={**text, **TOP_LEFT}, margin={"t": _TITLE_PX}, showlegend=False)
    figure.update_layout(annotations=texts)  # at once: each one added takes longer than the one before
    return figure


def _add_points(
    figure: go.Figure, counts: np.ndarray, shares: np.ndarray, *, names: Sequence[str], chosen: np.ndarray,
    layout: CellLayout, is_dark: bool,
) -> None:  # fmt: skip
    """An unseen point a filled cell: a heat map itself cannot be clicked on. The chosen one is outlined."""
    rows, columns = np.nonzero(counts)
    if len(rows) > MAX_SCATTER_POINTS:
        kept = np.argsort(-counts[rows, columns], kind="stable")[:MAX_SCATTER_POINTS]
        rows, columns = rows[kept], columns[kept]
    whole = [literal(name) for name in names]
    words = [
        f"true: {whole[row]}<br>predicted: {whole[column]}<br>{counts[row, column]:g} images, "
        f"{shares[row, column]:.0%} of the class"
        for row, column in zip(rows, columns, strict=True)
    ]
    figure.add_scatter(
        x=columns, y=rows, mode="markers", hovertext=words, hoverinfo="text",
        customdata=np.stack([chosen[rows], chosen[columns]], axis=1),
        marker={"symbol": "square-open", "size": max(6.0, layout.cell_px - 6), "opacity": 0,
                "line": {"width": 2, "color": palette(is_dark=is_dark).ink}},
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 0}}, cliponaxis=False,
    )  # fmt: skip
