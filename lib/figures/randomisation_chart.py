"""How like a map stays while more and more stages have weights drawn anew."""

from collections.abc import Sequence

import plotly.graph_objects as go

from lib.figures.style import literal, new_figure, palette

_HEIGHT_PX = 210


def randomisation_figure(steps: Sequence[tuple[str, float, float]], *, is_dark: bool) -> go.Figure:
    """Rank correlation (solid) and SSIM (dotted) of the map with that of each twin.

    `steps` are the earliest stage that was drawn anew and the two likenesses, from the last stage down; NaN leaves a
    gap: nothing was left of the map.
    """
    figure, colors = new_figure(is_dark=is_dark, height=_HEIGHT_PX), palette(is_dark=is_dark)
    names = ["as it is", *(literal(name, 14) for name, _, _ in steps)]
    for title, index, dash in (("Rank correlation", 1, "solid"), ("SSIM", 2, "dot")):
        values = [1.0, *(step[index] for step in steps)]
        figure.add_scatter(
            x=names, y=values, mode="lines+markers", name=title, connectgaps=False,
            line={"color": colors.accent, "dash": dash, "width": 2}, marker={"size": 7},
            hovertemplate=f"{title} %{{y:.2f}}, down to %{{x}}<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": colors.muted, "width": 1})
    figure.update_yaxes(range=[-1, 1.05], tickvals=[-1, 0, 1])
    figure.update_layout(
        title={"text": "Likeness to the map with weights drawn anew, from the last stage down"}, margin={"t": 56},
        legend={"x": 1, "xanchor": "right", "y": 1.0},
    )  # fmt: skip
    return figure
