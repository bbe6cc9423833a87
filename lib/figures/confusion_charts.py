"""Confusion matrices of any number of classes: cells, gaps, labels and height follow from it."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from lib.figures.style import MAX_SCATTER_POINTS, accent_ramp, literal, new_figure, palette, short_labels

MAX_LABELLED = 40  # with more classes, the whole is a map without names, and the most confused ones come before it
MAX_WRITTEN = 12  # with more classes, numbers in cells cannot be read
_MAX_LEVEL_NAMES = 5
_TITLE_PX, _CHARACTER_PX = 64, 7.5
_MAP_PX = 560  # the plot's height where cells have no least size


@dataclass(frozen=True)
class CellLayout:
    """How the cells of K classes are drawn, in pixels: their height, the gap between two, and the longest label."""

    cell_px: float
    gap_px: int
    label_characters: int

    @property
    def has_labels(self) -> bool:
        """Whether rows and columns have their names."""
        return self.label_characters > 0


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
    labels = short_labels(names, layout.label_characters) if layout.has_labels else []
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
    if has_texts:
        _write_cells(figure, counts, shares, is_dark=is_dark)
    ticks = {"tickmode": "array", "tickvals": places if labels else [], "ticktext": labels, "showgrid": False}
    span = {"range": [-0.5, len(chosen) - 0.5]}
    figure.update_xaxes(title_text="Predicted", side="bottom", **ticks, **span)
    if is_upright:
        figure.update_xaxes(tickangle=-90)
    figure.update_yaxes(title_text="True", **ticks, range=[len(chosen) - 0.5, -0.5])
    is_narrow = has_texts and classes is None  # a matrix among others, side by side
    figure.update_layout(title=_title(title, width=30 if is_narrow else 90), margin={"t": _TITLE_PX}, showlegend=False)
    return figure


def _add_points(
    figure: go.Figure,
    counts: np.ndarray,
    shares: np.ndarray,
    *,
    names: Sequence[str],
    chosen: np.ndarray,
    layout: CellLayout,
    is_dark: bool,
) -> None:
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


def _title(title: str, *, width: int) -> dict[str, object]:
    lines = textwrap.wrap(" ".join(str(title).split()), width)[:2]
    # Room for two lines in any case: matrices side by side stay level.
    return {
        "text": "<br>".join(literal(line) for line in lines),
        "xref": "container",
        "x": 0.02,
        "yref": "container",
        "y": 1.0,
        "yanchor": "top",
        "pad": {"t": 14},
    }


def _write_cells(figure: go.Figure, matrix: np.ndarray, shares: np.ndarray, *, is_dark: bool) -> None:
    colors = palette(is_dark=is_dark)
    for row, column in np.ndindex(matrix.shape):
        # The ramp runs from background to accent: past the middle the background colour reads better than ink.
        color = colors.background if shares[row, column] > 0.55 else colors.ink
        text = f"{matrix[row, column]:g}"
        figure.add_annotation(x=column, y=row, text=text, showarrow=False, font={"color": color, "size": 16})
