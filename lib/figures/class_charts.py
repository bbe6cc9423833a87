"""How well each class is told apart: precision, recall and F1 with their intervals, and how many images there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lib.evaluation.classes import MEASURES
from lib.figures.style import literal, new_figure, palette, short_labels, strategy_style

MAX_LINES = 60  # classes times runs; with more, the hardest classes are drawn
_LEAST_CLASSES = 5
_DOT_PX, _CLASS_PX = 15, 34
_SUPPORT = 0.1  # of the width


@dataclass(frozen=True, eq=False)
class ClassFigures:
    """The figures of one run: `table` is that of `lib.evaluation.classes.class_intervals`."""

    label: str
    strategy: str
    table: pd.DataFrame


def hardest_classes(runs: Sequence[ClassFigures]) -> list[int]:
    """The classes to draw: all in their order, or, of too many, those with the lowest mean F1, the lowest first."""
    num_classes = len(runs[0].table)
    most = max(_LEAST_CLASSES, MAX_LINES // (2 * len(runs)))
    if num_classes <= max(most, 12) and num_classes * len(runs) <= MAX_LINES:
        return list(range(num_classes))
    values = np.stack([run.table["f1"].to_numpy(np.float64) for run in runs])
    known = np.isfinite(values)
    means = np.where(known, values, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    means = np.where(known.any(0), means, np.inf)  # a class without images comes last
    return [int(index) for index in np.argsort(means, kind="stable")[:most]]


def class_figure(
    runs: Sequence[ClassFigures], class_names: Sequence[str], *, is_dark: bool, classes: Sequence[int] | None = None
) -> go.Figure:
    """One block of lines a class, one line a run in it: a dot and its 95 % interval for each measure.

    Of several runs each line begins with the run's number, in the order of `runs`, which stands above with its name.

    Args:
        runs: at least one, of the same classes.
        class_names: of all classes.
        is_dark: theme.
        classes: the classes to draw, in this order; by default those of `hardest_classes`.
    """
    kept = hardest_classes(runs) if classes is None else list(classes)
    colors, several = palette(is_dark=is_dark), len(runs) > 1
    block_px = max(_CLASS_PX, _DOT_PX * len(runs) + 10)
    head_px = 34 + (22 * len(runs) if several else 0)
    height = head_px + block_px * len(kept) + 34
    figure = new_figure(is_dark=is_dark, height=height)
    labels = short_labels([class_names[index] for index in kept], 18)
    width = (1 - _SUPPORT - 0.06) / len(MEASURES)
    for number, (measure, title) in enumerate(MEASURES.items()):
        left = number * (width + 0.02)
        _add_axes(figure, number, [left, left + width], [0, 1.02], labels, num=len(kept))
        _write(figure, title, x=left, color=colors.ink)
        for order, run in enumerate(runs):
            _add_run(figure, run, measure, kept, number=number, place=_place(order, len(runs)), is_dark=is_dark)
    _add_support(figure, runs[0].table, kept, labels, is_dark=is_dark)
    if several:
        for order, run in enumerate(runs):
            style = strategy_style(run.strategy, is_dark)
            figure.add_annotation(
                x=0, y=1, xref="paper", yref="paper", xanchor="left", yanchor="bottom", showarrow=False, align="left",
                yshift=34 + 22 * (len(runs) - 1 - order), text=f"<b>{order + 1}</b> {literal(run.label, 70)}",
                font={"color": style.color},
            )  # fmt: skip
            for row in range(len(kept)):
                figure.add_annotation(
                    x=0, y=row + _place(order, len(runs)), xref="x domain", yref="y", xanchor="right", xshift=-1,
                    showarrow=False, text=str(order + 1), font={"color": style.color, "size": 14},
                )  # fmt: skip
    longest = max((len(label) for label in labels), default=0)
    margin = {"l": round(8 + 7.5 * longest) + (16 if several else 0), "r": 8, "t": head_px, "b": 34}
    figure.update_layout(showlegend=False, margin=margin, bargap=0.4)
    return figure


def class_table(runs: Sequence[ClassFigures]) -> pd.DataFrame:
    """All figures of all runs, one row a run and class: what the picture is drawn from."""
    return pd.concat([run.table.assign(run=run.label) for run in runs], ignore_index=True)


def _place(order: int, num: int) -> float:
    """Where a run's line lies in the block of a class, from -0.5 to 0.5."""
    return (order + 0.5) / num * 0.8 - 0.4


def _add_axes(
    figure: go.Figure, number: int, domain: list[float], span: list[float], labels: Sequence[str], *, num: int
) -> None:
    suffix = "" if number == 0 else str(number + 1)
    axis = figure.layout.xaxis
    frame: dict[str, Any] = {"gridcolor": axis.gridcolor, "linecolor": axis.linecolor,
                             "tickfont": axis.tickfont.to_plotly_json()}  # fmt: skip
    figure.update_layout({
        f"xaxis{suffix}": {**frame, "domain": domain, "range": span, "anchor": f"y{suffix}", "zeroline": False,
                           "tickvals": [0, 0.5, 1], "automargin": False},
        f"yaxis{suffix}": {**frame, "range": [num - 0.5, -0.5], "anchor": f"x{suffix}", "zeroline": False,
                           "tickmode": "array", "tickvals": list(range(num)), "ticktext": list(labels), "ticks": "",
                           "showticklabels": number == 0, "showgrid": False, "automargin": False,
                           "ticklabelstandoff": 14 if number == 0 else 0},
    })  # fmt: skip


def _add_run(
    figure: go.Figure, run: ClassFigures, measure: str, kept: Sequence[int], *, number: int, place: float, is_dark: bool
) -> None:
    suffix = "" if number == 0 else str(number + 1)
    axes, style = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}, strategy_style(run.strategy, is_dark)
    table = run.table.iloc[list(kept)]
    values, low, high = (table[f"{measure}{end}"].to_numpy(np.float64) for end in ("", "_low", "_high"))
    rows = np.arange(len(kept)) + place
    # One trace for all intervals: NaN breaks the line between them.
    ends = np.stack([low, high, np.full(len(low), np.nan)], axis=1).ravel()
    line = {"color": style.color, "width": 3}
    figure.add_scatter(x=ends, y=np.repeat(rows, 3), mode="lines", line=line, hoverinfo="skip", **axes)
    words = [
        f"{literal(run.label)}<br>{literal(name)}: {MEASURES[measure].lower()} "
        + (f"{value:.3f} ({a:.3f} to {b:.3f})" if np.isfinite(value) else "not defined")
        for name, value, a, b in zip(table["class_name"], values, low, high, strict=True)
    ]
    figure.add_scatter(
        x=values, y=rows, mode="markers", hovertext=words, hoverinfo="text", cliponaxis=False,
        marker={"color": style.color, "size": 9, "symbol": style.marker}, **axes,
    )  # fmt: skip


def _add_support(
    figure: go.Figure, table: pd.DataFrame, kept: Sequence[int], labels: Sequence[str], *, is_dark: bool
) -> None:
    colors, number = palette(is_dark=is_dark), len(MEASURES)
    counts = table["count"].to_numpy()[list(kept)]
    largest = max(1, int(counts.max(initial=0)))
    _add_axes(figure, number, [1 - _SUPPORT, 1], [0, 1.9 * largest], labels, num=len(kept))
    figure.update_layout({f"xaxis{number + 1}": {"showticklabels": False, "showgrid": False}})
    _write(figure, "Images", x=1 - _SUPPORT, color=colors.ink)
    figure.add_bar(
        x=counts, y=list(range(len(kept))), orientation="h", marker={"color": colors.muted}, textposition="outside",
        text=[f"{count}" for count in counts], hoverinfo="skip", cliponaxis=False, width=0.35,
        textfont={"color": colors.muted, "size": 14}, xaxis=f"x{number + 1}", yaxis=f"y{number + 1}",
    )  # fmt: skip


def _write(figure: go.Figure, text: str, *, x: float, color: str) -> None:
    figure.add_annotation(x=x, y=1, xref="paper", yref="paper", xanchor="left", yanchor="bottom", yshift=6, text=text,
                          showarrow=False, font={"color": color})  # fmt: skip
