"""Figures of results: intervals, confusion matrices, probabilities."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lib.figures.style import MARKERS, accent_ramp, literal, new_figure, palette, strategy_style

_MAX_CELL_TEXTS = 12  # more classes than this, and numbers in cells cannot be read


def interval_figure(results: pd.DataFrame, *, title: str, is_dark: bool, chance: float | None = None) -> go.Figure:
    """One row a run: the value as a dot, its 95 % interval as a line.

    Args:
        results: columns label, strategy, value, low, high (NaN where there is no interval), in the order to show;
            perhaps published (NaN where there is no such figure) with published_source, its words.
        title: what the value is, of what.
        is_dark: theme.
        chance: the value that always the commonest class reaches, drawn as a dashed line.
    """
    figure = new_figure(is_dark=is_dark, height=112 + 56 * len(results))
    colors = palette(is_dark=is_dark)
    lowest = float(np.nanmin([0.0, *results["low"], *results["value"]]))
    for row, result in enumerate(results.to_dict("records")):
        color = strategy_style(str(result["strategy"]), is_dark).color
        value, low, high = (float(result[key]) for key in ("value", "low", "high"))
        has_interval = np.isfinite(low) and np.isfinite(high)
        words = f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if has_interval else "")
        if has_interval:
            figure.add_scatter(
                x=[low, high], y=[row, row], mode="lines", line={"color": color, "width": 4}, hoverinfo="skip"
            )  # fmt: skip
        figure.add_scatter(
            x=[value], y=[row], mode="markers", cliponaxis=False,
            marker={"color": color, "size": 13, "symbol": MARKERS[row % len(MARKERS)]},
            hovertemplate=f"{literal(result['label'])}<br>{words}<extra></extra>",
        )  # fmt: skip
        # The name stands above its line, so that the axis keeps the whole width.
        _write(figure, literal(result["label"], 64), x=lowest, y=row - 0.36, color=colors.ink)
        _write(figure, words, x=1.0, y=row - 0.36, color=colors.muted, anchor="right")
        _mark_published(figure, result, row, colors.muted)
    figure.update_yaxes(range=[len(results) - 0.5, -0.7], visible=False)
    figure.update_xaxes(range=[lowest - 0.01, 1.01])
    figure.update_layout(title={"text": literal(title, 90)}, showlegend=False, margin={"t": 32})
    if chance is not None:
        line = {"color": colors.muted, "dash": "dash", "width": 1.5}
        figure.add_vline(
            x=chance, line=line, annotation_text="always the commonest class", annotation_position="bottom right"
        )
    return figure


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
    _write(figure, literal(source, 90), x=value, y=row + 0.36, color=color, anchor=_side(value))


def _side(value: float) -> str:
    """How a text of some 50 characters is anchored to stay within a picture that is about 70 of them wide."""
    return "left" if value < 0.36 else "right" if value > 0.64 else "center"


def _write(figure: go.Figure, text: str, *, x: float, y: float, color: str, anchor: str = "left") -> None:
    figure.add_annotation(x=x, y=y, text=text, xanchor=anchor, showarrow=False, font={"color": color})


def confusion_figure(matrix: np.ndarray, class_names: Sequence[str], title: str, is_dark: bool) -> go.Figure:  # noqa: FBT001
    """Counts (K, K), row = true class, column = predicted; the colour is the share of the true class, 0 to 1."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    figure = new_figure(is_dark=is_dark, height=max(320, min(640, 140 + 44 * len(class_names))))
    labels = [literal(name, 18) for name in class_names]
    places = list(range(len(labels)))
    figure.add_heatmap(
        z=shares, x=places, y=places, zmin=0, zmax=1, colorscale=accent_ramp(is_dark=is_dark), showscale=False,
        xgap=2, ygap=2, customdata=np.dstack([matrix, np.tile(np.array(labels, dtype=object)[:, None], len(labels))]),
        hovertemplate="true %{customdata[1]}: %{customdata[0]} images (%{z:.0%})<extra></extra>",
    )  # fmt: skip
    if len(labels) <= _MAX_CELL_TEXTS:
        _write_cells(figure, matrix, shares, is_dark=is_dark)
    ticks = {"tickmode": "array", "tickvals": places, "ticktext": labels, "showgrid": False}
    figure.update_xaxes(title_text="Predicted", side="bottom", **ticks)
    figure.update_yaxes(title_text="True", autorange="reversed", **ticks)
    lines = textwrap.wrap(" ".join(str(title).split()), 30)[:2]
    # Room for two lines in any case: matrices side by side stay level.
    title_style = {
        "text": "<br>".join(literal(line) for line in lines),
        "xref": "container",
        "x": 0.02,
        "yref": "container",
        "y": 0.97,
        "yanchor": "top",
    }
    figure.update_layout(title=title_style, margin={"t": 64})
    return figure


def probability_figure(
    probabilities: Sequence[float],
    class_names: Sequence[str],
    is_dark: bool,  # noqa: FBT001
    *,
    given: int | None = None,
) -> go.Figure:
    """One horizontal bar a class, 0 to 1; the one `given` (by default the most probable) in the accent, others grey."""
    values = np.asarray(probabilities, dtype=float)
    colors = palette(is_dark=is_dark)
    figure = new_figure(is_dark=is_dark, height=48 + 32 * len(values))
    best = int(values.argmax()) if given is None else given
    figure.add_bar(
        x=values, y=list(range(len(values))), orientation="h", text=[f"{value:.1%}" for value in values],
        textposition="outside", cliponaxis=False,
        marker={"color": [colors.accent if row == best else colors.muted for row in range(len(values))]},
        hovertemplate="%{x:.4f}<extra></extra>",
    )  # fmt: skip
    labels = [literal(name, 24) for name in class_names]
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(labels))), ticktext=labels, autorange="reversed")
    figure.update_yaxes(showgrid=False, tickfont={"color": colors.ink})
    # "100.0%" behind a full bar takes 50 px, a quarter of the narrow column that the figure stands in.
    figure.update_xaxes(range=[0, 1.35], tickvals=[0, 0.5, 1])
    figure.update_layout(margin={"t": 8}, bargap=0.35)
    return figure


def _write_cells(figure: go.Figure, matrix: np.ndarray, shares: np.ndarray, *, is_dark: bool) -> None:
    colors = palette(is_dark=is_dark)
    for row, column in np.ndindex(matrix.shape):
        # The ramp runs from background to accent: past the middle the background colour reads better than ink.
        color = colors.background if shares[row, column] > 0.55 else colors.ink
        text = f"{matrix[row, column]:g}"
        figure.add_annotation(x=column, y=row, text=text, showarrow=False, font={"color": color, "size": 16})
