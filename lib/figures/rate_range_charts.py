"""The picture of a learning-rate range test: for pages by Plotly, for files by matplotlib."""

from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from lib.figures.style import new_figure, palette, strategy_style
from lib.training.rate_range import RateRange, rounded

_HEIGHT_PX = 280
_CEILING = 1.6  # of the largest smoothed loss before the fall: what diverges leaves the picture


def rate_range_figure(found: RateRange, *, strategy: str, is_dark: bool) -> go.Figure:
    """Loss against the learning rate, logarithmic: single steps thin, smoothed thick, the suggestion dashed."""
    figure = new_figure(is_dark=is_dark, height=_HEIGHT_PX)
    colors, style = palette(is_dark=is_dark), strategy_style(strategy, is_dark)
    for values, width, opacity, name in ((found.losses, 1.0, 0.45, "loss"), (found.smoothed, 2.5, 1.0, "smoothed")):
        figure.add_scatter(
            x=found.learning_rates, y=values, mode="lines", opacity=opacity, name=name,
            line={"color": style.color, "width": width},
            hovertemplate=f"{name} %{{y:.4g}} at rate %{{x:.2e}}<extra></extra>",
        )  # fmt: skip
    if found.suggested_rate is not None:
        figure.add_vline(
            x=found.suggested_rate, line={"color": colors.accent, "dash": "dash", "width": 2},
            annotation_text=f"steepest: {rounded(found.suggested_rate):g}", annotation_position="top left",
            annotation_font_color=colors.accent,
        )  # fmt: skip
    figure.update_xaxes(type="log", title_text="Learning rate", exponentformat="power", dtick=1)
    figure.update_yaxes(title_text="Training loss of a step", range=list(loss_range(found)))
    figure.update_layout(showlegend=False, margin={"t": 28})
    return figure


def rate_range_text(found: RateRange) -> str:
    """What the picture shows, in words."""
    ended = "the loss diverged" if found.has_diverged else "the loss did not diverge"
    span = f"Loss of {len(found.losses)} steps"
    if found.losses:
        span += f" at learning rates from {found.learning_rates[0]:g} to {found.learning_rates[-1]:.2g}"
    if found.suggested_rate is None:
        return f"{span}; it fell nowhere clearly, so no rate is suggested; {ended}."
    return f"{span}; it fell fastest at {rounded(found.suggested_rate):g}; {ended}."


def loss_range(found: RateRange) -> tuple[float, float]:
    """Limits of the axis of losses."""
    if not found.smoothed:
        return 0.0, 1.0
    lowest = int(np.argmin(found.smoothed))
    return 0.0, _CEILING * max(found.smoothed[: lowest + 1])


def save_rate_range_png(found: RateRange, path: Path, *, strategy: str, title: str) -> None:
    """Write the same picture as a PNG of 1280 by 720 px, on a light background."""
    from matplotlib.figure import Figure

    color = strategy_style(strategy, is_dark=False).color
    colors = palette(is_dark=False)
    figure = Figure(figsize=(8, 4.5), dpi=160, facecolor=colors.background, layout="constrained")
    axes = figure.add_subplot(facecolor=colors.background)
    axes.plot(found.learning_rates, found.losses, color=color, linewidth=0.8, alpha=0.45)
    axes.plot(found.learning_rates, found.smoothed, color=color, linewidth=2.0)
    if found.suggested_rate is not None:
        axes.axvline(found.suggested_rate, color=colors.accent, linestyle="dashed")
        axes.text(
            found.suggested_rate, 0.98, f"steepest: {rounded(found.suggested_rate):g} ", color=colors.accent,
            transform=axes.get_xaxis_transform(), ha="right", va="top",
        )  # fmt: skip
    axes.set(
        xscale="log", xlabel="Learning rate", ylabel="Training loss of a step", title=title, ylim=loss_range(found)
    )
    axes.grid(color=colors.grid)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, format="png")
