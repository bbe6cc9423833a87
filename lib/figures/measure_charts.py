"""Distributions of a measure of images, one row a class or split, on one scale."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from lib.data.image_measures import Measure
from lib.figures.data_charts import SPLIT_TITLES
from lib.figures.style import SPLIT_COLORS, new_figure, palette, short_labels

MAX_ROWS = 24
_MOST_BINS, _LEAST_BINS = 48, 16
_FILL = 0.86  # of the height of a row, for its highest bar
_TAIL = 0.002  # of the images at each end that may lie outside the scale, so that one odd image does not press it


@dataclass(frozen=True, eq=False)
class MeasureRow:
    """The values (n,) of one row; `split` colours it, "" for a class."""

    label: str
    values: np.ndarray
    split: str = ""


def distribution_figure(
    rows: Sequence[MeasureRow],
    measure: Measure,
    *,
    is_dark: bool,
    between: tuple[float, float] | None = None,
) -> go.Figure:
    """Histograms one below the other, each as high as its own most frequent bin, with the median as a line.

    Args:
        rows: at least one with a value; at most `MAX_ROWS` are drawn.
        measure: for the axis.
        is_dark: theme.
        between: a range to mark. A bar's `customdata` is its own range.
    """
    shown = [row for row in rows if len(row.values)][:MAX_ROWS]
    colors = palette(is_dark=is_dark)
    edges = bin_edges(np.concatenate([row.values for row in shown]), len(shown))
    middles, width = (edges[:-1] + edges[1:]) / 2, float(edges[1] - edges[0])
    labels = short_labels([row.label for row in shown], 24)
    row_px = 64 if len(shown) <= 4 else 48 if len(shown) <= 8 else 30
    figure = new_figure(is_dark=is_dark, height=72 + row_px * len(shown))
    for place, row in enumerate(shown):
        counts = np.histogram(np.clip(row.values, edges[0], edges[-1]), edges)[0]
        base = float(len(shown) - 1 - place)
        color = SPLIT_COLORS[row.split][is_dark] if row.split in SPLIT_COLORS else colors.accent
        figure.add_bar(
            x=middles, y=_FILL * counts / counts.max(), base=base, width=width, showlegend=False,
            marker={"color": color, "line": {"width": 0}}, name=labels[place],
            customdata=[
                [float(low), float(high), int(count)]
                for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
            ],
            hovertemplate=f"{labels[place]}: " + "%{customdata[2]} images, %{customdata[0]:.4g} to "
            "%{customdata[1]:.4g}<extra></extra>",
        )  # fmt: skip
        median = float(np.median(row.values))
        figure.add_scatter(
            x=[median, median], y=[base, base + _FILL], mode="lines", showlegend=False, hoverinfo="skip",
            line={"color": colors.ink, "width": 2},
        )  # fmt: skip
    ticks = [
        f"{label}  <span style='color:{colors.muted}'>{len(row.values):,}</span>"
        for label, row in zip(labels, shown, strict=True)
    ]
    figure.update_yaxes(
        tickmode="array", tickvals=[len(shown) - 1 - place + _FILL / 2 for place in range(len(shown))], ticktext=ticks,
        showgrid=False, tickfont={"color": colors.ink}, range=[-0.05, len(shown)], fixedrange=True,
    )  # fmt: skip
    figure.update_xaxes(title_text=f"{measure.title} ({measure.unit})", range=[float(edges[0]), float(edges[-1])])
    figure.update_layout(barmode="overlay", dragmode="select", selectdirection="h", margin={"t": 8, "b": 48})
    if between is not None:
        figure.add_vrect(x0=between[0], x1=between[1], fillcolor=colors.muted, opacity=0.18, line_width=0)
    return figure


def bin_edges(values: np.ndarray, num_rows: int = 1) -> np.ndarray:
    """Edges of 16 to 48 equal bins over the values (n,) of so many rows, fewer where a row has few values.

    A thin tail at each end falls into the outermost bin.
    """
    num_bins = int(np.clip(3 * np.sqrt(len(values) / num_rows), _LEAST_BINS, _MOST_BINS))
    low, high = (float(edge) for edge in np.quantile(values, (_TAIL, 1 - _TAIL)))
    margin = 0.02 * (high - low) or max(abs(high) * 0.02, 0.01)
    least, most = float(values.min()), float(values.max())
    # A tail that is near is no reason to cut.
    low = least if least >= low - 0.25 * (high - low) else low - margin
    high = most if most <= high + 0.25 * (high - low) else high + margin
    if high <= low:
        low, high = low - margin, high + margin
    return np.linspace(low, high, num_bins + 1)


def rows_of(
    values: np.ndarray, targets: np.ndarray, split: np.ndarray, class_names: Sequence[str], *, by: str
) -> list[MeasureRow]:
    """Rows of values (N,) by "class", "split", or "both" (each class in each split); none of images of no split."""
    parts = [part for part in SPLIT_TITLES if (split == part).any()]
    is_used = np.isin(split, parts)
    if by == "split":
        return [MeasureRow(SPLIT_TITLES[part], values[split == part], part) for part in parts]
    if by == "class":
        return [MeasureRow(name, values[is_used & (targets == target)]) for target, name in enumerate(class_names)]
    return [
        MeasureRow(f"{name}, {SPLIT_TITLES[part].lower()}", values[(split == part) & (targets == target)], part)
        for target, name in enumerate(class_names)
        for part in parts
    ]


def most_telling(rows: Sequence[MeasureRow]) -> list[MeasureRow]:
    """Of more rows than fit, those whose medians are lowest and highest, in that order; else all as they are."""
    filled = [row for row in rows if len(row.values)]
    if len(filled) <= MAX_ROWS:
        return list(rows)
    ordered = sorted(filled, key=lambda row: float(np.median(row.values)))
    return [*ordered[: MAX_ROWS // 2], *ordered[-MAX_ROWS // 2 :]]
