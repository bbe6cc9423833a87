"""Published results and our runs on one axis, board by board: what shares no protocol shares no order."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from lib.figures.style import literal, new_figure, palette, short_labels, strategy_style
from lib.recipes.boards import Board

_ROW_PX, _HEAD_PX = 26, 40
_LEFT_PX, _RIGHT_PX = 300, 250


def boards_figure(boards: Sequence[Board], *, title: str, is_dark: bool) -> go.Figure:
    """A block a board under its name; published lines hollow and grey with dashed intervals, our runs in their colours.

    Args:
        boards: at least one, in the order to draw.
        title: of the axis: the metric.
        is_dark: theme.
    """
    places, heads, y = [], [], 0.0
    for board in boards:
        heads.append((y + _HEAD_PX - 10, board))
        y += _HEAD_PX
        for line in board.lines:
            places.append((y + _ROW_PX / 2, line))
            y += _ROW_PX
    figure = new_figure(is_dark=is_dark, height=round(y) + 56)
    colors = palette(is_dark=is_dark)
    annotations = [
        {"x": 0, "xref": "paper", "xanchor": "left", "xshift": -_LEFT_PX + 8, "y": place, "yanchor": "bottom",
         "text": f"<b>{literal(board.title, 96)}</b>", "showarrow": False, "font": {"color": colors.ink}}
        for place, board in heads
    ]  # fmt: skip
    for place, line in places:
        style = strategy_style(line.strategy, is_dark)
        color = style.color if line.is_ours else colors.muted
        if math.isfinite(line.low) and math.isfinite(line.high):
            look = {"width": 3, "dash": "solid"} if line.is_ours else {"width": 2, "dash": "3px,3px"}
            figure.add_scatter(
                x=[line.low, line.high], y=[place, place], mode="lines", hoverinfo="skip", line={"color": color, **look}
            )
        own = {"symbol": style.marker} if line.is_ours else {"symbol": "circle-open", "line": {"width": 2.5}}
        marker = {"size": 11, "color": color, **own}
        figure.add_scatter(
            x=[line.value], y=[place], mode="markers", cliponaxis=False, marker=marker,
            hovertemplate=f"{literal(line.label)}<br>{literal(_value(line.value, line.low, line.high))}<br>"
            f"{literal(line.source)}<extra></extra>",
        )  # fmt: skip
        text = {"showarrow": False, "y": place, "yanchor": "middle", "xref": "paper"}
        annotations += [
            {**text, "x": 0, "xanchor": "left", "xshift": -_LEFT_PX + 8, "text": short_labels([line.label], 40)[0],
             "font": {"color": color}},
            {**text, "x": 1, "xanchor": "left", "xshift": 12, "font": {"color": colors.ink},
             "text": literal(f"{line.value:.3f}{f' · {line.mark}' if line.mark else ''}", 30)},
        ]  # fmt: skip
    values = [value for _, line in places for value in (line.value, line.low, line.high) if math.isfinite(value)]
    figure.update_layout(annotations=annotations, showlegend=False,
                         margin={"l": _LEFT_PX, "r": _RIGHT_PX, "t": 8, "b": 48})  # fmt: skip
    figure.update_yaxes(range=[y, 0], visible=False, automargin=False)
    figure.update_xaxes(
        range=[min([0.0, *values]), max([1.0, *values]) + 0.01], title_text=title, tickformat=".1f", dtick=0.2,
        automargin=False,
    )  # fmt: skip
    return figure


def _value(value: float, low: float, high: float) -> str:
    return f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if math.isfinite(low) and math.isfinite(high) else "")
