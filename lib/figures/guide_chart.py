"""The guide of four scenarios as a picture: few or many images, similar or different, and a data set's place in it."""

import math

import plotly.graph_objects as go

from lib.advisor.guide import DIFFERENT_DISTANCE, SMALL_PER_CLASS, Advice
from lib.figures.style import literal, new_figure, palette, strategy_style

_HEIGHT_PX = 330
_REACH = 2.0  # octaves of distance, and decades of images, from the middle to an edge
# (right?, top?) -> what the guide says there, and the strategy whose colour it has.
_FIELDS = {
    (False, False): ("Small, similar", "linear classifier<br>on frozen features", "linear_probe"),
    (True, False): ("Small, different", "linear classifier<br>on an earlier stage", "linear_probe"),
    (False, True): ("Large, similar", "fine-tune<br>the whole network", "full_finetuning"),
    (True, True): ("Large, different", "fine-tune all, from<br>pretrained weights", "full_finetuning"),
}


def guide_figure(advice: Advice | None, *, name: str, is_dark: bool, least_per_class: int = 0) -> go.Figure:
    """Four fields, the one that applies tinted, and the data set called `name` as a point.

    Before anything is measured (`advice` None) both fields of its size are tinted and it is a line at its
    `least_per_class`, the training images of its rarest class: how similar it is remains open.
    """
    figure, colors = new_figure(is_dark=is_dark, height=_HEIGHT_PX), palette(is_dark=is_dark)
    x, y = guide_position(advice) if advice is not None else (0.0, _size_position(least_per_class))
    for (is_right, is_top), (title, words, strategy) in _FIELDS.items():
        is_here = (y >= 0) == is_top and (advice is None or (x >= 0) == is_right)
        shown, colored = words, strategy
        if is_here and advice is not None and advice.readings.is_separated:
            shown, colored = "frozen features separate:<br>linear classifier", "linear_probe"
        color = strategy_style(colored, is_dark).color
        left, bottom = (0.0 if is_right else -_REACH), (0.0 if is_top else -_REACH)
        figure.add_shape(
            type="rect", x0=left, x1=left + _REACH, y0=bottom, y1=bottom + _REACH, layer="below",
            fillcolor=color, opacity=0.22 if is_here else 0.05, line={"width": 0},
        )  # fmt: skip
        # Words at the outer edge, so that the point near the middle covers none.
        figure.add_annotation(
            x=left + _REACH / 2, y=_REACH - 0.08 if is_top else -_REACH + 0.08, showarrow=False, align="center",
            yanchor="top" if is_top else "bottom", text=f"<b>{title}</b><br>{shown}",
            font={"color": colors.ink if is_here else colors.muted},
        )  # fmt: skip
    if advice is None:
        figure.add_hline(y=y, line={"color": colors.accent, "width": 2, "dash": "dot"})
    else:
        is_known = advice.readings.distance is not None
        figure.add_scatter(
            x=[x], y=[y], mode="markers",
            marker={"size": 14, "color": colors.accent, "symbol": "circle" if is_known else "circle-open",
                    "line": {"width": 2, "color": colors.accent}},
            hovertext=[guide_text(advice)], hoverinfo="text", cliponaxis=False,
        )  # fmt: skip
    # Beside the point, and so far from the edges that a long name stays inside.
    figure.add_annotation(
        x=_inside(x, _REACH / 3), y=y - 0.3 if y > -1 else y + 0.3, showarrow=False,
        text=literal(name, 28), font={"color": colors.accent},
    )  # fmt: skip
    for axes in (figure.update_xaxes, figure.update_yaxes):
        axes(range=[-_REACH, _REACH], tickvals=[-1, 0, 1], showgrid=False, fixedrange=True)
        axes(zeroline=True, zerolinecolor=colors.muted, zerolinewidth=1)
    distances = [f"{DIFFERENT_DISTANCE * 2.0**step:g}" for step in (-1, 0, 1)]
    figure.update_xaxes(title_text="Distance to the source domain, in its deviations", ticktext=distances)
    sizes = [f"{SMALL_PER_CLASS * 10.0**step:,.0f}" for step in (-1, 0, 1)]
    figure.update_yaxes(title_text="Training images, rarest class", ticktext=sizes)
    figure.update_layout(showlegend=False, margin={"t": 8})
    return figure


def guide_position(advice: Advice) -> tuple[float, float]:
    """Octaves of the threshold's distance, and decades of the threshold's number of images, cut at the edges.

    Without a distance, the middle of the side that the scores decided for.
    """
    readings, x = advice.readings, -_REACH / 2 if advice.readings.is_similar else _REACH / 2
    if readings.distance is not None:
        x = math.log2(max(readings.distance, 1e-9) / DIFFERENT_DISTANCE)
    return _inside(x), _size_position(readings.least_per_class)


def _size_position(least_per_class: int) -> float:
    return _inside(math.log10(max(least_per_class, 1) / SMALL_PER_CLASS))


def _inside(position: float, edge: float = _REACH - 0.1) -> float:
    return max(-edge, min(edge, position))


def guide_text(advice: Advice) -> str:
    """What the picture shows, in words."""
    readings = advice.readings
    far = "unknown distance" if readings.distance is None else f"distance {readings.distance:.2f}"
    apart = "; frozen features already separate the classes" if readings.is_separated else ""
    return f"{readings.least_per_class:,} training images in the rarest class, {far}: {advice.scenario}{apart}."
