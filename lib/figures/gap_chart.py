"""How far a data set is from what a network learned from, stage by stage, between photographs and noise."""

import plotly.graph_objects as go

from lib.advisor.gap import DomainGap
from lib.figures.style import literal, new_figure, palette, short_labels, spread

_HEIGHT_PX = 360
_LABEL_PX = 150
# Anchor -> what it is called, and its dash.
_ANCHORS = {"noise": ("noise", "dot"), "eyes": ("generated eyes", "dashdot"), "photographs": ("photographs", "dash")}


def gap_figure(gap: DomainGap, *, is_dark: bool) -> go.Figure:
    """Distance by stage as a line with markers; the anchors grey beside it, each named at its end."""
    figure, colors = new_figure(is_dark=is_dark, height=_HEIGHT_PX), palette(is_dark=is_dark)
    numbers = [number for number, stage in enumerate(gap.stages, start=1) if stage.distance is not None]
    stages = [stage for stage in gap.stages if stage.distance is not None]
    titles = short_labels([stage.title for stage in stages], 40)
    ends: list[tuple[float, str, str]] = []
    for name, (title, dash) in _ANCHORS.items():
        values = [getattr(stage, name) for stage in stages]
        if not any(value is not None for value in values):
            continue
        figure.add_scatter(
            x=numbers, y=values, mode="lines", line={"color": colors.muted, "width": 1.5, "dash": dash}, name=title,
            hovertext=titles, hovertemplate=title + ", %{hovertext}: %{y:.2f}<extra></extra>",
        )  # fmt: skip
        ends.append((next(value for value in reversed(values) if value is not None), title, colors.muted))
    own = literal(gap.dataset_title, 20)
    figure.add_scatter(
        x=numbers, y=[stage.distance for stage in stages], mode="lines+markers", name=own,
        line={"color": colors.accent, "width": 3}, marker={"size": 9, "color": colors.accent}, hovertext=titles,
        customdata=[[stage.shift, stage.log_variance] for stage in stages],
        hovertemplate="%{hovertext}: %{y:.2f} (mean shift %{customdata[0]:.2f}, log variance ratio "
        "%{customdata[1]:.2f})<extra></extra>",
    )  # fmt: skip
    if stages:
        ends.append((stages[-1].distance or 0.0, own, colors.accent))
    highest = max((value for trace in figure.data for value in trace.y if value is not None), default=1.0)
    places = spread([value for value, _, _ in ends], highest * 0.08)
    for place, (_, title, color) in zip(places, ends, strict=True):
        figure.add_annotation(
            x=1, xref="paper", xanchor="left", xshift=6, y=place, text=title, showarrow=False, font={"color": color},
        )  # fmt: skip
    figure.update_xaxes(title_text="Stage, from the image to the answer", dtick=1, range=[0.7, len(gap.stages) + 0.3])
    figure.update_yaxes(title_text="Distance, in the source's deviations", range=[0, 1.08 * highest])
    figure.update_layout(showlegend=False, margin={"t": 12, "r": _LABEL_PX})
    return figure
