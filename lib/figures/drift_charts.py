"""What fine-tuning moved, as panels under each other on one axis of stages."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from lib.evaluation.metric_table import KAPPA
from lib.evaluation.resampling import Estimate
from lib.explain.drift import Drift, ResetTable
from lib.figures.style import literal, new_figure, palette, strategy_style

PANEL_PX = 82
_TITLE, _GAP = 0.27, 0.08  # above and below a panel, as shares of its height
_MAX_LEVEL_NAMES = 13  # more names than these stand upright


def drift_figure(drift: Drift, resets: ResetTable | None = None, *, chosen: str = "", is_dark: bool) -> go.Figure:
    """One column a stage: how far its weights moved, how alike its answers stayed, what a probe reads, what it costs.

    Args:
        drift: the table.
        resets: stages put back alone, for the last panel; left out without any.
        chosen: the stage that is spoken of, marked in all panels.
        is_dark: theme.
    """
    colors, style = palette(is_dark=is_dark), strategy_style(drift.strategy, is_dark)
    names = [row.stage for row in drift.rows]
    has_probes = any(row.probe_before for row in drift.rows)
    single = {row.stages[0]: row for row in resets.rows if len(row.stages) == 1} if resets is not None else {}
    titles = ["Change of weights, %", "Likeness of answers (CKA), 1 = as before"]
    titles += [f"Probe, {drift.headline.word}: grey before, colour after"] if has_probes else []
    titles += [f"Put back alone: cost in {_unit(drift)}"] if single else []
    figure = new_figure(
        is_dark=is_dark, height=36 + PANEL_PX * len(titles) + (40 if len(names) > _MAX_LEVEL_NAMES else 0)
    )
    axes = [f"y{number + 1}" if number else "y" for number in range(len(titles))]
    _add_weights(figure, drift, axes[0], style.color, colors.muted)
    cka = [row.cka for row in drift.rows]
    _add_points(figure, names, cka, axes[1], color=style.color, words="CKA {:.2f}")
    if has_probes:
        text = "{:.2f}" if drift.headline is KAPPA else "{:.1%}"
        for points, color, shift in (
            ([row.probe_before for row in drift.rows], colors.muted, -0.12),
            ([row.probe_after for row in drift.rows], style.color, 0.12),
        ):
            _add_points(figure, names, points, axes[2], color=color, words=f"probe {text}", shift=shift)
    if single:
        costs = [single[name].cost if name in single else None for name in names]
        _add_points(figure, names, costs, axes[-1], color=style.color, words="cost {:+.3f}")
    _lay_out(figure, names, titles, axes, muted=colors.muted, ink=colors.ink, grid=colors.grid)
    if chosen in names:
        place = names.index(chosen)
        figure.add_vrect(
            x0=place - 0.45, x1=place + 0.45, fillcolor=colors.accent, opacity=0.1, line_width=0, layer="below"
        )
    figure.layout[f"yaxis{axes[1][1:]}"].update(
        range=[min(0.0, *(one.low for one in cka if math.isfinite(one.low))), 1.06]
    )
    if single:
        figure.add_shape(
            type="line", xref="paper", x0=0, x1=1, yref=axes[-1], y0=0, y1=0, line={"color": colors.ink, "width": 1}
        )
    return figure


def drift_text(drift: Drift, resets: ResetTable | None = None) -> str:
    """The figure in words."""
    rows = "; ".join(
        f"{row.stage}: weights {'not moved' if row.weights == 0 else _percent(row.weights)}, CKA {row.cka.value:.2f}"
        for row in drift.rows
    )
    return f"{len(drift.rows)} stages before and after. {rows}." + (
        " Costs of stages put back below." if resets else ""
    )


def _unit(drift: Drift) -> str:
    return "kappa" if drift.headline is KAPPA else "accuracy"


def _add_weights(figure: go.Figure, drift: Drift, axis: str, color: str, muted: str) -> None:
    names = list(range(len(drift.rows)))
    values = [0.0 if math.isnan(row.weights) else 100 * row.weights for row in drift.rows]
    words = [
        "–" if math.isnan(row.weights) else "0" if row.weights == 0 else f"{100 * row.weights:.2g}"
        for row in drift.rows
    ]
    hover = [
        f"{literal(row.title)}<br>weights {_percent(row.weights)}<br>scale and shift {_percent(row.normalization)}"
        f"<br>BatchNorm statistics {_percent(row.statistics)}"
        for row in drift.rows
    ]
    figure.add_bar(
        x=names, y=values, yaxis=axis, marker={"color": color}, width=0.55, hovertext=hover, hoverinfo="text",
        text=words, textposition="outside", textfont={"color": muted}, cliponaxis=False,
    )  # fmt: skip


def _add_points(
    figure: go.Figure,
    names: Sequence[str],
    points: Sequence[Estimate | None],
    axis: str,
    *,
    color: str,
    words: str,
    shift: float = 0.0,
) -> None:
    """Values as dots with their intervals as lines."""
    places = [place for place, one in enumerate(points) if one is not None and math.isfinite(one.value)]
    found = [one for one in points if one is not None and math.isfinite(one.value)]
    ends = [((one.low, one.high) if math.isfinite(one.low) else (one.value, one.value)) for one in found]
    hover = [
        f"{literal(names[place])}<br>{words.format(one.value)}, {low:.3f} to {high:.3f}"
        for place, one, (low, high) in zip(places, found, ends, strict=True)
    ]
    figure.add_scatter(
        x=[place + shift for place in places], y=[one.value for one in found], yaxis=axis, mode="markers",
        marker={"color": color, "size": 9}, hovertext=hover, hoverinfo="text", cliponaxis=False,
        error_y={
            "type": "data", "symmetric": False, "color": color, "thickness": 2, "width": 0,
            "array": [high - one.value for one, (_, high) in zip(found, ends, strict=True)],
            "arrayminus": [one.value - low for one, (low, _) in zip(found, ends, strict=True)],
        },
    )  # fmt: skip


def _lay_out(
    figure: go.Figure,
    names: Sequence[str],
    titles: Sequence[str],
    axes: Sequence[str],
    *,
    muted: str,
    ink: str,
    grid: str,
) -> None:
    """Panels from the top down, each with its title above it, and the names of stages under the last."""
    share = 1 / len(titles)
    for number, (title, axis) in enumerate(zip(titles, axes, strict=True)):
        top, bottom = 1 - (number + _TITLE) * share, 1 - (number + 1 - _GAP) * share
        layout = {"domain": [bottom, top], "anchor": "x", "nticks": 4, "gridcolor": grid, "zeroline": False,
                  "tickfont": {"color": muted, "size": 14}, "automargin": True}  # fmt: skip
        figure.layout[f"yaxis{axis[1:]}"] = {**layout, "rangemode": "tozero" if number == 0 else "normal"}
        figure.add_annotation(
            x=0, xref="paper", y=top + 0.01, yref="paper", yanchor="bottom", xanchor="left", showarrow=False,
            text=literal(title, 80), font={"color": ink, "size": 14},
        )  # fmt: skip
    angle = -60 if len(names) > _MAX_LEVEL_NAMES else 0
    figure.update_xaxes(
        tickvals=list(range(len(names))), ticktext=[literal(name, 14) for name in names],
        range=[-0.6, len(names) - 0.4],
        showgrid=False, anchor=axes[-1], tickangle=angle, fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(fixedrange=True)
    figure.update_layout(showlegend=False, margin={"t": 8, "b": 8, "l": 8, "r": 8}, bargap=0.4)


def _percent(change: float) -> str:
    return f"{100 * change:.2g} %" if math.isfinite(change) else "none"
