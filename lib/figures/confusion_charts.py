"""Confusion matrices of any number of runs and classes: counts or shares, on one scale, every cell to be clicked on."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from lib.figures.style import (
    MAX_SCATTER_POINTS,
    TOP_LEFT,
    accent_ramp,
    literal,
    new_figure,
    palette,
    short_labels,
)

MAX_LABELLED = 40  # with more classes, the whole is a map without names, and the most confused ones come before it
MAX_WRITTEN = 12  # with more classes, numbers in cells cannot be read
MAX_BESIDE = 4  # matrices in a row
SHARES = {"row": "Share of the true class", "column": "Share of what was called so", "count": "Counts"}
_MAX_LEVEL_NAMES = 5
_TITLE_PX, _CHARACTER_PX = 64, 7.5
_MAP_PX = 560  # the plot's height where cells have no least size
_WIDTH_PX = 820  # of a whole page at 1280 px; a figure takes what there is
_SPACES = re.compile("[\t\n\r ]+")  # not the one that does not break
_LEAST_WRITTEN_PX = 26  # a cell must be so wide for "100" at 14 px


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
    shown = _Shown.of(matrix, chosen, "row")
    _add_cells(figure, shown, names, layout, is_dark=is_dark, has_texts=has_texts)
    places = list(range(len(chosen)))
    ticks = {"tickmode": "array", "tickvals": places if labels else [], "ticktext": labels, "showgrid": False}
    span = {"range": [-0.5, len(chosen) - 0.5]}
    figure.update_xaxes(title_text="Predicted", side="bottom", **ticks, **span)
    if is_upright:
        figure.update_xaxes(tickangle=-90)
    figure.update_yaxes(title_text="True", **ticks, range=[len(chosen) - 0.5, -0.5])
    is_narrow = has_texts and classes is None  # a matrix among others, side by side
    # Room for two lines in any case: matrices side by side stay level.
    text = {"text": _wrapped(title, 30 if is_narrow else 90), "pad": {"t": 14}}
    figure.update_layout(title={**text, **TOP_LEFT}, margin={"t": _TITLE_PX}, showlegend=False)
    texts = _texts(shown, is_dark=is_dark, size=16) if has_texts else []
    figure.update_layout(annotations=texts)  # at once: each one added takes longer than the one before
    return figure


@dataclass(frozen=True, eq=False)
class Panel:
    """A matrix among others: counts (K, K), what it is of, and whether it was published and has no images here."""

    matrix: np.ndarray
    title: str
    is_published: bool = False


def confusion_grid_figure(
    panels: Sequence[Panel],
    class_names: Sequence[str],
    *,
    is_dark: bool,
    share: str = "row",
    classes: Sequence[int] | None = None,
    chosen: tuple[int, int, int] | None = None,
) -> go.Figure:
    """Matrices of the same classes side by side, at most `MAX_BESIDE` in a row, all on one scale.

    Every cell that is not empty is a point to click on, with (panel, true class, predicted class) as `customdata`.

    Args:
        panels: at least one.
        class_names: of all classes.
        is_dark: theme.
        share: what colour and number say, a key of `SHARES`.
        classes: the classes to show, in this order; all by default. Shares stay those of all images of a class.
        chosen: (panel, true class, predicted class) of the cell to outline.
    """
    num_columns = min(len(panels), MAX_BESIDE)
    num_rows = -(-len(panels) // num_columns)
    kept = np.arange(len(class_names)) if classes is None else np.asarray(classes, dtype=int)
    names = [class_names[index] for index in kept]
    shown = [_Shown.of(panel.matrix, kept, share) for panel in panels]
    layout = cell_layout(len(kept))
    characters = min(layout.label_characters, 18 if num_columns <= 2 else 14)
    labels = short_labels(names, characters) if characters else []
    longest_px = _CHARACTER_PX * max((len(label) for label in labels), default=0)
    width_px = (_WIDTH_PX - longest_px) / num_columns - 28
    widest = 1.0
    if num_columns == 1:  # a single matrix would be drawn out of all proportion on a whole page
        level_px = longest_px + 10 if len(kept) <= _MAX_LEVEL_NAMES else 0.0
        widest = min(1.0, max(1.6 * layout.cell_px, level_px) * len(kept) / width_px)
        width_px *= widest
    side_px = width_px / max(len(kept), 1)
    cell_px = min(layout.cell_px, side_px)
    if labels and num_columns > 1 and len(kept) > MAX_WRITTEN and side_px < 16:
        labels, longest_px = [], 0.0  # too narrow for names
        cell_px = min(width_px, 300.0) / len(kept)
    is_upright = bool(labels) and longest_px > side_px
    below_px = 16 + (longest_px if is_upright else 20 if labels else 0)
    plot_px = max(150.0, cell_px * len(kept))
    title_characters = max(12, int(width_px / widest / _CHARACTER_PX))
    titles = [_wrapped(panel.title, title_characters, 3) for panel in panels]
    title_px = 24 + 20 * max(title.count("<br>") + 1 for title in titles)
    height = num_rows * (title_px + plot_px + below_px)
    figure = new_figure(is_dark=is_dark, height=round(height))
    highest = max(float(one.values.max(initial=0.0)) for one in shown) if share == "count" else 1.0
    has_texts = len(kept) <= MAX_WRITTEN and side_px >= _LEAST_WRITTEN_PX
    fitted = CellLayout(min(side_px, plot_px / max(len(kept), 1)), layout.gap_px if cell_px >= 10 else 0, characters)
    colors, annotations = palette(is_dark=is_dark), []
    gap = 0.03 if num_columns > 1 else 0.0
    span = (1 - gap * (num_columns - 1)) / num_columns
    for index, (panel, one) in enumerate(zip(panels, shown, strict=True)):
        row, column = divmod(index, num_columns)
        number = "" if index == 0 else str(index + 1)
        left, top = column * (span + gap), 1 - (row * (title_px + plot_px + below_px) + title_px) / height
        places = list(range(len(kept))) if labels else []
        ticks = {"tickmode": "array", "tickvals": places, "showgrid": False, "ticks": "",
                 "tickfont": {"size": 14, "color": colors.muted}, "zeroline": False}  # fmt: skip
        across, down = [left, left + span * widest], [top - plot_px / height, top]
        figure.update_layout({
            f"xaxis{number}": {**ticks, "ticktext": labels, "domain": across, "anchor": f"y{number}",
                               "range": [-0.5, len(kept) - 0.5], "tickangle": -90 if is_upright else 0,
                               "automargin": False},
            f"yaxis{number}": {**ticks, "ticktext": labels, "showticklabels": column == 0, "domain": down,
                               "anchor": f"x{number}", "range": [len(kept) - 0.5, -0.5], "automargin": False},
        })  # fmt: skip
        _add_cells(figure, one, names, fitted, is_dark=is_dark, has_texts=has_texts, number=number, panel=index,
                   highest=highest)  # fmt: skip
        annotations += _texts(one, is_dark=is_dark, size=14, number=number, highest=highest) if has_texts else []
        title = {"text": titles[index], "x": left, "xanchor": "left", "xref": "paper",
                 "y": top, "yref": "paper", "yanchor": "bottom", "yshift": 4, "showarrow": False, "align": "left",
                 "font": {"size": 14, "color": colors.muted if panel.is_published else colors.ink}}  # fmt: skip
        annotations.append(title)
        if chosen is not None and chosen[0] == index:
            _outline(figure, chosen[1:], kept, number, colors.ink)
    figure.update_layout(annotations=annotations, showlegend=False,
                         margin={"l": round(longest_px) + 12, "r": 8, "t": 0, "b": 0})  # fmt: skip
    return figure


@dataclass(frozen=True, eq=False)
class _Shown:
    """What is drawn of a matrix: the classes `kept`, their counts, and the values of the colours."""

    kept: np.ndarray
    counts: np.ndarray
    row_shares: np.ndarray
    column_shares: np.ndarray
    share: str

    @classmethod
    def of(cls, matrix: np.ndarray, kept: np.ndarray, share: str) -> "_Shown":
        """Shares are those of all images, whichever classes are shown."""
        matrix, cells = np.asarray(matrix), np.ix_(kept, kept)
        shares = []
        for axis in (1, 0):
            totals = matrix.sum(axis=axis, keepdims=True)
            shares.append(np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)[cells])
        return cls(kept, matrix[cells], shares[0], shares[1], share)

    @property
    def values(self) -> np.ndarray:
        """What the colour says."""
        return {"row": self.row_shares, "column": self.column_shares}.get(self.share, self.counts)


def _add_cells(
    figure: go.Figure, shown: _Shown, names: Sequence[str], layout: CellLayout, *, is_dark: bool, has_texts: bool,
    number: str = "", panel: int | None = None, highest: float = 1.0,
) -> None:  # fmt: skip
    """Colours, and an unseen point a filled cell: a heat map itself cannot be clicked on."""
    axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
    places = list(range(len(shown.kept)))
    figure.add_heatmap(
        z=shown.values, x=places, y=places, zmin=0, zmax=highest or 1.0, showscale=False, hoverinfo="skip",
        colorscale=accent_ramp(is_dark=is_dark, lowest=0.0 if has_texts else 0.25),
        xgap=layout.gap_px, ygap=layout.gap_px, **axes,
    )  # fmt: skip
    rows, columns = np.nonzero(shown.counts)
    if len(rows) > MAX_SCATTER_POINTS:
        kept = np.argsort(-shown.counts[rows, columns], kind="stable")[:MAX_SCATTER_POINTS]
        rows, columns = rows[kept], columns[kept]
    whole = [literal(name) for name in names]
    words = [
        f"true: {whole[row]}<br>predicted: {whole[column]}<br>{shown.counts[row, column]:g} images, "
        f"{shown.row_shares[row, column]:.0%} of the class<br>"
        f"{shown.column_shares[row, column]:.0%} of what was called so"
        for row, column in zip(rows, columns, strict=True)
    ]
    data = [shown.kept[rows], shown.kept[columns]]
    if panel is not None:
        data.insert(0, np.full(len(rows), panel))
    figure.add_scatter(
        x=columns, y=rows, mode="markers", hovertext=words, hoverinfo="text", customdata=np.stack(data, axis=1),
        marker={"symbol": "square-open", "size": max(6.0, layout.cell_px - 6), "opacity": 0,
                "line": {"width": 2, "color": palette(is_dark=is_dark).ink}},
        selected={"marker": {"opacity": 1 if panel is None else 0}}, unselected={"marker": {"opacity": 0}},
        cliponaxis=False, **axes,
    )  # fmt: skip


def _texts(shown: _Shown, *, is_dark: bool, size: int, number: str = "", highest: float = 1.0) -> list[dict[str, Any]]:
    """The number in each cell: counts, or per cent where a share was asked for by name."""
    colors, texts = palette(is_dark=is_dark), []
    for row, column in np.ndindex(shown.counts.shape):
        value = shown.values[row, column]
        # The ramp runs from background to accent; from here on the background colour has more contrast than the ink.
        turn = 0.55 if is_dark else 0.85
        font = {"color": colors.background if value > turn * highest else colors.ink, "size": size}
        words = f"{shown.counts[row, column]:g}" if size == 16 or shown.share == "count" else f"{100 * value:.0f}"
        texts.append({"x": column, "y": row, "xref": f"x{number}", "yref": f"y{number}", "text": words,
                      "showarrow": False, "font": font})  # fmt: skip
    return texts


def _outline(figure: go.Figure, chosen: tuple[int, int], kept: np.ndarray, number: str, color: str) -> None:
    if not {*chosen} <= set(kept.tolist()):
        return
    row, column = (int(np.flatnonzero(kept == one)[0]) for one in chosen)
    half = 0.5 if len(kept) <= MAX_LABELLED else 1.5
    figure.add_shape(
        type="rect", x0=column - half, x1=column + half, y0=row - half, y1=row + half, xref=f"x{number}",
        yref=f"y{number}", line={"color": color, "width": 3},
    )  # fmt: skip


def _wrapped(title: str, characters: int, lines: int = 2) -> str:
    """A title in so many lines at most."""
    width = max(60, characters)
    return "<br>".join(literal(line, width) for line in textwrap.wrap(_SPACES.sub(" ", str(title)), characters)[:lines])
