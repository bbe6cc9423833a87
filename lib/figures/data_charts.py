"""Figures of a data set: how many images a class, and how large they are."""

import pandas as pd
import plotly.graph_objects as go

from lib.figures.style import MAX_SCATTER_POINTS, SPLIT_COLORS, TOP_LEFT, new_figure, palette, short_labels

SPLIT_TITLES = {"train": "Training", "val": "Validation", "test": "Test"}
MAX_NAMED_CLASSES = 40
_LIGHT_BARS = {("test", False), ("train", True)}


def class_counts_figure(counts: pd.DataFrame, is_dark: bool) -> go.Figure:  # noqa: FBT001
    """Images per class as one bar each, divided into splits.

    Of more than `MAX_NAMED_CLASSES` classes, the largest and the smallest, largest first: both ends are what matters.

    Args:
        counts: columns class_name, split ("train", "val" or "test"), count, in class order.
        is_dark: theme.
    """
    table = counts.pivot_table(index="class_name", columns="split", values="count", aggfunc="sum", fill_value=0)
    table, part = table.reindex(list(dict.fromkeys(counts["class_name"]))), ""
    if len(table) > MAX_NAMED_CLASSES:
        order = table.sum(axis=1).sort_values(ascending=False, kind="stable").index
        part = f"The 12 largest and the 12 smallest of {len(table)} classes"
        table = table.reindex([*order[:12], *order[-12:]])
    names = list(table.index)
    row_px = 32 if len(names) <= 12 else 20
    figure = new_figure(is_dark=is_dark, height=96 + (24 if part else 0) + row_px * len(names))
    labels = short_labels(names, 28)
    for split, title in SPLIT_TITLES.items():
        if split not in table:
            continue
        values = table[split].to_numpy()
        figure.add_bar(
            y=list(range(len(names))), x=values, name=title, orientation="h", customdata=labels,
            marker={"color": SPLIT_COLORS[split][is_dark], "line": {"width": 0}},
            text=values if row_px >= 32 else None,  # smaller numbers cannot be read; hovering says them
            textposition="inside", insidetextanchor="middle", textangle=0,
            textfont={"color": "#111827" if (split, is_dark) in _LIGHT_BARS else "#FFFFFF", "size": 14},
            hovertemplate="%{customdata}: %{x} images, " + title.lower() + "<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        barmode="stack", bargap=0.3, legend={"traceorder": "normal"}, margin={"t": 48 + (24 if part else 0)}
    )
    if part:
        figure.update_layout(title={"text": part, "pad": {"t": 8}, **TOP_LEFT})
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(names))), ticktext=labels, autorange="reversed")
    figure.update_yaxes(showgrid=False, tickfont={"color": palette(is_dark=is_dark).ink})
    figure.update_xaxes(title_text="Images", rangemode="tozero")
    return figure


def size_figure(sizes: pd.DataFrame, is_dark: bool) -> go.Figure:  # noqa: FBT001
    """Width against height of the original images in pixels; a larger dot stands for more images of that size.

    Args:
        sizes: columns width and height, one row an image.
        is_dark: theme.
    """
    counted = sizes.groupby(["width", "height"]).size().rename("count").reset_index()
    counted = counted.nlargest(MAX_SCATTER_POINTS, "count")
    colors = palette(is_dark=is_dark)
    figure = new_figure(is_dark=is_dark, height=360)
    # Area, not radius, grows with the count; at least 6 px so that a single image can be seen.
    diameter = 6 + 26 * (counted["count"] / max(1, int(counted["count"].max()))).pow(0.5)
    figure.add_scattergl(
        x=counted["width"], y=counted["height"], mode="markers", customdata=counted["count"],
        marker={"color": colors.accent, "size": diameter, "opacity": 0.6, "line": {"width": 0}},
        hovertemplate="%{x} × %{y} px: %{customdata} images<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title_text="Width (px)", rangemode="tozero")
    figure.update_yaxes(title_text="Height (px)", rangemode="tozero")
    return figure
