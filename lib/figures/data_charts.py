"""Figures of a data set: how many images a class, and how large they are."""

import pandas as pd
import plotly.graph_objects as go

from lib.figures.style import MAX_SCATTER_POINTS, SPLIT_COLORS, new_figure, palette, short_labels

SPLIT_TITLES = {"train": "Training", "val": "Validation", "test": "Test"}
MAX_NAMED_CLASSES = 40


def class_counts_figure(counts: pd.DataFrame, is_dark: bool) -> go.Figure:  # noqa: FBT001
    """Images per class as one bar each, divided into splits.

    Of more than `MAX_NAMED_CLASSES` classes, the largest and the smallest, largest first: both ends are what matters.

    Args:
        counts: columns class_name, split ("train", "val" or "test"), count, in class order.
        is_dark: theme.
    """
    names = list(dict.fromkeys(counts["class_name"]))
    table = counts.pivot_table(index="class_name", columns="split", values="count", aggfunc="sum", fill_value=0)
    table = table.reindex(names)
    part = ""
    if len(names) > MAX_NAMED_CLASSES:
        half = 12
        order = table.sum(axis=1).sort_values(ascending=False, kind="stable").index
        part = f"The {half} largest and the {half} smallest of {len(names)} classes"
        table = table.reindex([*order[:half], *order[-half:]])
        names = list(table.index)
    row_px = 32 if len(names) <= 12 else 20
    figure = new_figure(is_dark=is_dark, height=96 + (24 if part else 0) + row_px * len(names))
    labels = short_labels(names, 28)
    for split, title in SPLIT_TITLES.items():
        if split not in table:
            continue
        values = table[split].to_numpy()
        figure.add_bar(
            y=list(range(len(names))),
            x=values,
            name=title,
            orientation="h",
            marker={"color": SPLIT_COLORS[split][is_dark], "line": {"width": 0}},
            text=values if row_px >= 32 else None,  # smaller numbers cannot be read; hovering says them
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": _text_on(split, is_dark=is_dark), "size": 14},
            customdata=labels,
            hovertemplate="%{customdata}: %{x} images, " + title.lower() + "<extra></extra>",
        )
    figure.update_layout(
        barmode="stack", bargap=0.3, legend={"traceorder": "normal"}, margin={"t": 48 + (24 if part else 0)}
    )
    if part:
        place = {"xref": "container", "x": 0.02, "yref": "container", "y": 1.0, "yanchor": "top", "pad": {"t": 8}}
        figure.update_layout(title={"text": part, **place})
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
    figure.add_trace(
        go.Scattergl(
            x=counted["width"],
            y=counted["height"],
            mode="markers",
            marker={"color": colors.accent, "size": diameter, "opacity": 0.6, "line": {"width": 0}},
            customdata=counted["count"],
            hovertemplate="%{x} × %{y} px: %{customdata} images<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="Width (px)", rangemode="tozero")
    figure.update_yaxes(title_text="Height (px)", rangemode="tozero")
    return figure


def _text_on(split: str, *, is_dark: bool) -> str:
    is_light_bar = (split == "test" and not is_dark) or (split == "train" and is_dark)
    return "#111827" if is_light_bar else "#FFFFFF"
