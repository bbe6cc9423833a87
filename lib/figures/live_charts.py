"""Small pictures of a training as it runs: the gap between training and validation, gradient norm, learning rate."""

import pandas as pd
import plotly.graph_objects as go

from lib.figures.style import new_figure, palette, strategy_style
from lib.figures.training_charts import thin

HEIGHT_PX = 190
# title, key or keys, whether the axis is logarithmic, what the horizontal axis counts
_PANELS = (
    ("Gap in accuracy, training − validation", "gap", False, "epoch"),
    ("Gradient norm", "step_gradient_norm", True, "step"),
    ("Learning rate", "step_learning_rate", False, "step"),
)
KEYS = ("train_accuracy", "val_accuracy", "step_gradient_norm", "step_learning_rate")


def gap_curve(history: pd.DataFrame) -> pd.DataFrame:
    """Training minus validation accuracy, columns step and value, for the epochs that have both."""
    wide = history[history["key"].isin(["train_accuracy", "val_accuracy"])].pivot_table(
        index="step", columns="key", values="value", aggfunc="last"
    )
    if not {"train_accuracy", "val_accuracy"} <= set(wide.columns):
        return pd.DataFrame({"step": [], "value": []})
    gap = (wide["train_accuracy"] - wide["val_accuracy"]).dropna()
    return pd.DataFrame({"step": gap.index, "value": gap.to_numpy()})


def progress_figure(history: pd.DataFrame, *, strategy: str, is_dark: bool) -> go.Figure:
    """Three panels side by side; each keeps its place while there is nothing to draw.

    Args:
        history: columns key, step, value (lib.tracking.metric_history), without the prefix of a fold.
        strategy: decides the colour.
        is_dark: theme.
    """
    figure = new_figure(is_dark=is_dark, height=HEIGHT_PX)
    colors, style = palette(is_dark=is_dark), strategy_style(strategy, is_dark)
    width = 0.27
    for position, (title, key, is_log, unit) in enumerate(_PANELS):
        number = "" if position == 0 else str(position + 1)
        line = thin(gap_curve(history) if key == "gap" else history[history["key"] == key].sort_values("step"))
        is_curve = len(line) > 1  # a single value is said, not drawn: there is no course to see
        figure.add_scatter(
            x=line["step"] if is_curve else [], y=line["value"] if is_curve else [], mode="lines",
            line={"color": style.color, "width": 2}, xaxis=f"x{number}", yaxis=f"y{number}",
            hovertemplate=f"{title} %{{y:.3g}}, {unit} %{{x}}<extra></extra>",
        )  # fmt: skip
        left = position * (1 - width) / 2
        frame = {"gridcolor": colors.grid, "zeroline": key == "gap", "zerolinecolor": colors.muted}
        ticks = {"tickfont": {"size": 14, "color": colors.muted}, "nticks": 4, "tickangle": 0}
        vertical = {"dtick": 1, "exponentformat": "power"} if is_log else {"exponentformat": "e", "nticks": 3}
        if key == "step_learning_rate":  # a rate that keeps still would otherwise stand between -1 and 1
            vertical["rangemode"] = "tozero"
        figure.update_layout({
            f"xaxis{number}": {**frame, **ticks, "domain": [left, left + width], "anchor": f"y{number}",
                               "showgrid": False, "zeroline": False, "tickformat": "~s", "nticks": 3},
            f"yaxis{number}": {**frame, **ticks, "anchor": f"x{number}", "automargin": False, **vertical,
                               "type": "log" if is_log else "linear"},
        })  # fmt: skip
        figure.add_annotation(
            text=title.partition(",")[0], x=left, xref="paper", xanchor="left", y=1.03, yref="paper", yanchor="bottom",
            showarrow=False, font={"size": 14, "color": colors.ink},
        )  # fmt: skip
        if len(line) == 1:
            figure.add_annotation(
                text=f"{line['value'].iloc[0]:.3g} at {unit} {line['step'].iloc[0]:.0f}", x=left + width / 2, y=0.5,
                xref="paper", yref="paper", showarrow=False, font={"size": 16, "color": colors.ink},
            )  # fmt: skip
        figure.add_annotation(
            text=unit, x=left + width, xref="paper", xanchor="right", y=0, yref="paper", yanchor="top", yshift=-22,
            showarrow=False, font={"size": 14, "color": colors.muted},
        )  # fmt: skip
    figure.update_layout(showlegend=False, margin={"l": 48, "r": 8, "t": 28, "b": 44})
    return figure


def progress_text(history: pd.DataFrame) -> str:
    """The three panels in words."""
    gap = gap_curve(history)
    words = [f"gap in accuracy {gap['value'].iloc[-1]:+.3f}"] if len(gap) else []
    for title, key, _, _ in _PANELS[1:]:
        line = history[history["key"] == key].sort_values("step")
        if len(line):
            words.append(f"{title.lower()} {line['value'].iloc[-1]:.3g}")
    return f"Now: {', '.join(words)}." if words else "Gap, gradient norm and learning rate; nothing measured yet."
