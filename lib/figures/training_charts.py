"""Figures of trainings: curves of several, small pictures of one as it runs, and a learning-rate range test."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lib.figures.style import literal, new_figure, palette, short_labels, spread, strategy_style

if TYPE_CHECKING:
    from lib.training.rate_range import RateRange

MAX_POINTS_PER_LINE = 1000
METRIC_TITLES = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "quadratic_weighted_kappa": "Quadratic weighted kappa",
    "auroc": "AUROC",
    "learning_rate": "Learning rate",
    "images_per_second": "Images per second",
}
SHORTEST_S = 0.1  # where a logarithmic axis of seconds begins
AXES = {"step": "Epochs", "seconds": "Seconds", "images": "Images seen"}
_AXIS_TITLES = {"step": "Epoch", "seconds": "Seconds", "images": "Training images seen"}
_FAR_APART = 20  # where runs have seen so many times as many images, the axis is logarithmic
_FOLD = re.compile(r"fold_(\d+)_(.+)")
MAX_RUNS = 10  # more names than that do not find room beside the lines
_HEIGHT_PX = 360
_LABEL_GAP = 0.065  # of the axis height: one line of 14 px text at 360 px
_RATE_CEILING = 1.6  # of the largest smoothed loss before the fall: what diverges leaves the picture
LIVE_HEIGHT_PX = 190
# title, key or keys, whether the axis is logarithmic, what the horizontal axis counts
_PANELS = (
    ("Gap in accuracy, training − validation", "gap", False, "epoch"),
    ("Gradient norm", "step_gradient_norm", True, "step"),
    ("Learning rate", "step_learning_rate", False, "step"),
)
LIVE_KEYS = ("train_accuracy", "val_accuracy", "step_gradient_norm", "step_learning_rate")


@dataclass(frozen=True)
class RunCurves:
    """The logged values of one run: `history` has the columns key, step, value, timestamp_ms (lib.tracking).

    `started_s` is when it began, since 1970; None: with its first value. `images_per_epoch` is how many training images
    an epoch shows, None where that is not known.
    """

    label: str
    strategy: str
    history: pd.DataFrame
    started_s: float | None = None
    images_per_epoch: int | None = None


def learning_curves_figure(runs: Sequence[RunCurves], metric: str, *, x: str = "step", is_dark: bool) -> go.Figure:
    """Curves of several runs in one picture: validation as the run's line, training as a thin pale one.

    Args:
        runs: at least one run; runs without a curve of that metric are passed over, and those behind `MAX_RUNS`; over
            images also those that do not know how many an epoch has.
        metric: name without prefix, such as "loss": draws val_loss and train_loss; else the key itself.
        x: "step" (epochs), "seconds" since the run began, on a logarithmic axis, or "images" seen in training.
        is_dark: theme.
    """
    figure = new_figure(is_dark=is_dark, height=_HEIGHT_PX)
    ends: list[tuple[float, str, str]] = []  # last value, label, colour
    drawn = [run for run in runs if has_curves(run.history, metric) and (x != "images" or run.images_per_epoch)]
    for run in drawn[:MAX_RUNS]:
        style = strategy_style(run.strategy, is_dark)
        for key, is_main in ((f"val_{metric}", True), (f"train_{metric}", False), (metric, True)):
            line = _line(run, key, x)
            if line.empty:
                continue
            words = f"{literal(run.label)}<br>{key.replace('_', ' ')} %{{y:.4g}} at %{{x:.4g}}<extra></extra>"
            look = {"dash": style.dash if is_main else "solid", "width": 2.5 if is_main else 1.2}
            figure.add_scatter(
                x=line["x"], y=line["value"], name=literal(run.label), opacity=1.0 if is_main else 0.55,
                mode="lines+markers" if is_main and len(line) <= 40 else "lines", line={"color": style.color, **look},
                marker={"symbol": style.marker, "size": 7, "color": style.color},
                hovertemplate=words,
            )  # fmt: skip
            if is_main:
                ends.append((float(line["value"].iloc[-1]), run.label, style.color))
    title = METRIC_TITLES.get(metric, metric.replace("_", " ").capitalize())
    figure.update_layout(title={"text": title}, showlegend=False)
    figure.update_xaxes(title_text=_AXIS_TITLES[x], showgrid=False)
    # A probe takes one second where fine-tuning takes a thousand; of images seen runs differ less as a rule.
    last = [float(max(trace.x)) for trace in figure.data]
    if x == "seconds" or (x == "images" and last and max(last) > _FAR_APART * min(last)):
        figure.update_xaxes(type="log", dtick=1)
    values = [value for trace in figure.data for value in trace.y if np.isfinite(value)]
    if metric in {"accuracy", "balanced_accuracy", "auroc"}:
        figure.update_yaxes(range=[min([0.0, *values]), 1.02])
    if ends:
        _label_ends(figure, ends, height=(max(values) - min(values)) or 1.0)
        figure.add_annotation(
            x=1, xref="paper", xanchor="right", y=1.02, yref="paper", yanchor="bottom", showarrow=False,
            text="thick: validation · thin: training", font={"color": palette(is_dark=is_dark).muted},
        )  # fmt: skip
    return figure


def has_curves(history: pd.DataFrame, metric: str) -> bool:
    """Whether a history holds a curve of this metric: two epochs at least, since one point is no curve."""
    return num_points(history, metric) >= 2


def mean_of_folds(history: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The curves of a run with folds as means over them, and how many folds there are; as it is (0) without folds.

    A mean ends where the first fold does: the mean of the others would be of other folds. Its times are those of the
    first fold, since folds are trained one after the other.
    """
    parts = history["key"].str.extract(_FOLD.pattern)
    is_fold = parts[0].notna()
    if not is_fold.any():
        return history, 0
    own = history[is_fold].assign(fold=parts[0][is_fold].astype(int), key=parts[1][is_fold])
    num_folds, first = int(own["fold"].nunique()), int(own["fold"].min())
    grouped = own.groupby(["key", "step"])
    means = grouped["value"].agg(["mean", "size"]).reset_index()
    times = own[own["fold"] == first].set_index(["key", "step"])["timestamp_ms"]
    means = means[means["size"] == num_folds].join(times, on=["key", "step"])
    table = means.rename(columns={"mean": "value"})[["key", "step", "value", "timestamp_ms"]]
    return pd.concat([history[~is_fold], table], ignore_index=True), num_folds


def num_points(history: pd.DataFrame, metric: str) -> int:
    """How many epochs the longest line of a metric has; step 0 holds what a finished run reached as a whole."""
    drawn = history[history["key"].isin([metric, f"val_{metric}", f"train_{metric}"]) & (history["step"] > 0)]
    return int(drawn.groupby("key")["step"].nunique().max()) if len(drawn) else 0


def thin(table: pd.DataFrame, max_points: int = MAX_POINTS_PER_LINE) -> pd.DataFrame:
    """At most `max_points` rows, evenly chosen, the first and the last always among them."""
    if len(table) <= max_points:
        return table
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, max_points).round().astype(int))]


def _line(run: RunCurves, key: str, x: str) -> pd.DataFrame:
    history = run.history
    line = history[(history["key"] == key) & (history["step"] > 0)].sort_values("step")
    if x == "seconds" and not line.empty:
        started_ms = history["timestamp_ms"].min() if run.started_s is None else 1000 * run.started_s
        seconds = (line["timestamp_ms"] - started_ms) / 1000
        return thin(line.assign(x=seconds.clip(lower=SHORTEST_S)))
    return thin(line.assign(x=line["step"] * (run.images_per_epoch or 1 if x == "images" else 1)))


def _label_ends(figure: go.Figure, ends: list[tuple[float, str, str]], *, height: float) -> None:
    """Write each run's name at the end of its line, moved apart where they would overlap."""
    places = spread([value for value, _, _ in ends], gap=_LABEL_GAP * height)
    for (_, label, color), y in zip(ends, places, strict=True):
        figure.add_annotation(
            x=1.01,
            xref="paper",
            xanchor="left",
            y=y,
            text=short_labels([label], 34)[0],
            showarrow=False,
            font={"color": color},
        )
    figure.update_layout(margin={"r": 16 + 7 * max(len(label[:34]) for _, label, _ in ends)})


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
    figure = new_figure(is_dark=is_dark, height=LIVE_HEIGHT_PX)
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
        write = partial(figure.add_annotation, xref="paper", yref="paper", showarrow=False)
        ink, muted = {"size": 14, "color": colors.ink}, {"size": 14, "color": colors.muted}
        write(text=title.partition(",")[0], x=left, xanchor="left", y=1.03, yanchor="bottom", font=ink)
        if len(line) == 1:
            words = f"{line['value'].iloc[0]:.3g} at {unit} {line['step'].iloc[0]:.0f}"
            write(text=words, x=left + width / 2, y=0.5, font={**ink, "size": 16})
        write(text=unit, x=left + width, xanchor="right", y=0, yanchor="top", yshift=-22, font=muted)
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


def rate_range_figure(found: "RateRange", *, strategy: str, is_dark: bool) -> go.Figure:
    """Loss against the learning rate, logarithmic: single steps thin, smoothed thick, the suggestion dashed."""
    figure = new_figure(is_dark=is_dark, height=280)
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
            annotation_text=f"steepest: {_suggestion(found)}", annotation_position="top left",
            annotation_font_color=colors.accent,
        )  # fmt: skip
    figure.update_xaxes(type="log", title_text="Learning rate", exponentformat="power", dtick=1)
    figure.update_yaxes(title_text="Training loss of a step", range=list(loss_range(found)))
    figure.update_layout(showlegend=False, margin={"t": 28})
    return figure


def rate_range_text(found: "RateRange") -> str:
    """What the picture shows, in words."""
    ended = "the loss diverged" if found.has_diverged else "the loss did not diverge"
    span = f"Loss of {len(found.losses)} steps"
    if found.losses:
        span += f" at learning rates from {found.learning_rates[0]:g} to {found.learning_rates[-1]:.2g}"
    if found.suggested_rate is None:
        return f"{span}; it fell nowhere clearly, so no rate is suggested; {ended}."
    return f"{span}; it fell fastest at {_suggestion(found)}; {ended}."


def loss_range(found: "RateRange") -> tuple[float, float]:
    """Limits of the axis of losses."""
    if not found.smoothed:
        return 0.0, 1.0
    lowest = int(np.argmin(found.smoothed))
    return 0.0, _RATE_CEILING * max(found.smoothed[: lowest + 1])


def save_rate_range_png(found: "RateRange", path: Path, *, strategy: str, title: str) -> None:
    """Write the same picture as a PNG of 1280 by 720 px, on a light background."""
    from matplotlib.figure import Figure

    color, colors = strategy_style(strategy, is_dark=False).color, palette(is_dark=False)
    figure = Figure(figsize=(8, 4.5), dpi=160, facecolor=colors.background, layout="constrained")
    axes = figure.add_subplot(facecolor=colors.background)
    axes.plot(found.learning_rates, found.losses, color=color, linewidth=0.8, alpha=0.45)
    axes.plot(found.learning_rates, found.smoothed, color=color, linewidth=2.0)
    if found.suggested_rate is not None:
        axes.axvline(found.suggested_rate, color=colors.accent, linestyle="dashed")
        axes.text(
            found.suggested_rate, 0.98, f"steepest: {_suggestion(found)} ", color=colors.accent,
            transform=axes.get_xaxis_transform(), ha="right", va="top",
        )  # fmt: skip
    axes.set(
        xscale="log", xlabel="Learning rate", ylabel="Training loss of a step", title=title, ylim=loss_range(found)
    )
    axes.grid(color=colors.grid)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")


def _suggestion(found: "RateRange") -> str:
    from lib.training.rate_range import rounded

    return f"{rounded(found.suggested_rate or 0.0):g}"
