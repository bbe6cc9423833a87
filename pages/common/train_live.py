"""How the training page draws one run: words, facts and curves, all from what the run has written."""

import html
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lib.atomic import read_json_or_empty
from lib.errors import UserError
from lib.evaluation.headline import Score
from lib.evaluation.metric_table import ACCURACY, KAPPA
from lib.figures.style import new_figure, palette, strategy_style
from lib.progress import duration
from lib.settings import HEARTBEAT_STALE_S
from lib.tracking import RunState, get_run, read_state
from lib.tracking.state import CONFIG_FILE, SUMMARY_FILE
from pages.common.text import count, percent

CURVE_KEYS = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")
CURVES_HEIGHT_PX = 230
STATE_COLORS = {
    "queued": "gray",
    "running": "primary",
    "stopping": "orange",
    "stopped": "orange",
    "finished": "green",
    "failed": "red",
    "killed": "red",
}

Fact = tuple[str, str, str]  # label, value, note


def full_run_id(id_or_prefix: str) -> str:
    """The whole id of a run that a link names; raises UserError. Looks through all runs only for a shortened id."""
    try:
        return read_state(id_or_prefix).run_id
    except UserError:
        return get_run(id_or_prefix).run_id


def run_config(state: RunState) -> dict[str, Any]:
    """The run's stored config; empty while it is not written yet."""
    return _read(state, CONFIG_FILE)


def curve_prefix(state: RunState) -> str:
    """What stands before the names of the curves: the fold at work, such as "fold_2_", nothing without folds."""
    found = re.match(r"Fold (\d+):", str(state.progress.get("phase") or ""))
    return f"fold_{found.group(1)}_" if found else ""


def run_summary(state: RunState) -> dict[str, Any]:
    """The run's final figures; empty before it has finished."""
    return _read(state, SUMMARY_FILE)


def progress_fraction(state: RunState) -> float:
    """How much of the present phase is done, 0 to 1."""
    if state.state == "finished":
        return 1.0
    done, total = state.progress.get("done") or 0, state.progress.get("total") or 0
    return min(max(done / total, 0.0), 1.0) if total > 0 else 0.0


def progress_words(state: RunState, num_ahead: int) -> str:
    """One line on what happens now or how it ended."""
    if state.state == "queued":
        return f"Waiting: {count(num_ahead, 'training')} ahead" if num_ahead else "Starting the worker process …"
    if state.state == "stopping":
        return "Stopping: keeping what was learned so far …"
    if state.state != "running":
        return "Finished" if state.state == "finished" else "Ended before it was finished; Resume takes it up again"
    phase = str(state.progress.get("phase") or "Loading PyTorch").replace("_", " ")
    seconds = state.progress.get("seconds_left")
    return f"{phase[:1].upper()}{phase[1:]}" + (" …" if seconds is None else f" · {time_left(seconds)}")


def time_left(seconds: float) -> str:
    """The remaining time as one says it; rounded coarsely, so that it does not flicker."""
    if seconds < 5:
        return "a few seconds left"
    if seconds < 90:
        return f"about {5 * max(1, round(seconds / 5))} seconds left"
    if seconds < 5400:
        return f"about {count(round(seconds / 60), 'minute')} left"
    return f"about {seconds / 3600:.1f} hours left"


def sign_of_life(state: RunState) -> str:
    """How long ago the worker process said something, and a warning when that is too long."""
    age = round(state.heartbeat_age_s)
    words = "just now" if age < 2 else f"{duration(age) if age >= 10 else f'{age} s'} ago"
    return f"{words}, the process may hang" if state.heartbeat_age_s > HEARTBEAT_STALE_S else words


def live_facts(state: RunState, *, is_iterative: bool) -> list[Fact]:
    """Three facts on a run that is at work, or ended before it was finished."""
    progress = state.progress
    done, total, what = progress.get("epoch"), progress.get("epochs"), "Epochs done"
    speed = progress.get("images_per_second")
    second = ("Images per second", f"{speed:,.{0 if speed >= 10 else 1}f}" if speed else "–", "in this phase")
    if not is_iterative:
        done, total, what = progress.get("done"), progress.get("total"), "Images seen"
        if progress.get("unit") == "fits":
            what = "Fits done"
            second = ("Images of a fit", f"{progress.get('num_images') or 0:,}", "all of the training part, each time")
    process = f"process {state.pid}" if state.pid else "no process yet"
    last = ("Last sign of life", sign_of_life(state), process)
    if not state.is_active:
        last = ("Ended at", time.strftime("%H:%M:%S", time.localtime(state.heartbeat_s)), "the server's clock")
    return [
        (what, f"{done:,}" if done else "–", f"of {total:,}" if total else "none yet"),
        second,
        last,
    ]


def final_facts(score: Score, summary: Mapping[str, Any]) -> list[Fact]:
    """Three facts on a finished run: what it is judged by, what stands beside it, and its time."""
    interval = f"{score.metric.text(score.low)} to {score.metric.text(score.high)}" if np.isfinite(score.low) else ""
    first = (f"Test {score.metric.word}", score.metric.text(score.value), interval)
    second = ("Balanced accuracy", _percent(summary.get("test_balanced_accuracy")), "mean over classes")
    if score.metric is KAPPA:
        second = ("Test accuracy", ACCURACY.text(score.accuracy), _interval(summary))
    time_taken = duration(float(summary.get("seconds_total") or 0.0))
    return [first, second, ("Time", time_taken, f"tested on {count(score.num, 'image')}")]


def beside_words(score: Score) -> str:
    """What always the commonest class would reach on the same images, and the referable AUC; empty if not known."""
    words = ". ".join(part[:1].upper() + part[1:] for part in (score.baseline_words, score.referable_words) if part)
    return f"{words}." if words else ""


def expected_grade_words(summary: Mapping[str, Any]) -> str:
    """What a finished run gains or loses if the expected grade decides; empty where there are no limits for it."""
    kappa, plain_kappa = (summary.get(f"test_quadratic_weighted_kappa{suffix}") for suffix in ("_by_thresholds", ""))
    if kappa is None or not np.isfinite(kappa):
        return ""
    change = "" if plain_kappa is None or not np.isfinite(plain_kappa) else f" ({kappa - plain_kappa:+.2f})"
    return (
        f"**Kappa {kappa:.2f}{change} by the expected grade**, cut at limits that were fitted in validation alone, "
        "instead of the most probable class."
    )


def facts_html(facts: Sequence[Fact]) -> str:
    """Facts side by side, always of the same height."""
    cells = "".join(
        f'<div><div class="tl-label">{html.escape(label)}</div><div class="tl-value">{html.escape(value)}</div>'
        f'<div class="tl-label">{html.escape(note)}</div></div>'
        for label, value, note in facts
    )
    return f'<div class="tl-facts">{cells}</div>'


def extremes_html(history: pd.DataFrame) -> str:
    """Lowest, highest and present value of each curve of validation, always of the same height."""
    cells = []
    for metric in ("loss", "accuracy"):
        line = history[(history["key"] == f"val_{metric}") & (history["step"] > 0)].sort_values("step")["value"]
        values = line[np.isfinite(line.astype(float))]
        shown = (
            [f"{value:.3f}" for value in (values.iloc[-1], values.min(), values.max())] if len(values) else ["–"] * 3
        )
        pairs = zip(("now", "lowest", "highest"), shown, strict=True)
        words = " · ".join(f"{name} <b>{value}</b>" for name, value in pairs)
        cells.append(f'<div class="tl-label">{metric.capitalize()}, validation<br>{words}</div>')
    return f'<div class="tl-extremes">{"".join(cells)}</div>'


STYLE = """<style>
.tl-extremes { display: grid; grid-template-columns: 44fr 12fr 44fr; height: 40px; overflow: hidden; }
.tl-extremes > :last-child { grid-column: 3; }
.tl-facts { display: grid; grid-template-columns: repeat(3, 1fr); gap: 16px; height: 76px; overflow: hidden; }
.tl-label { font-size: 14px; line-height: 20px; opacity: .75; white-space: nowrap; }
.tl-value { font-size: 22px; line-height: 32px; font-weight: 600; white-space: nowrap; }
</style>"""


def curves_figure(history: pd.DataFrame, *, strategy: str, epochs: int, is_dark: bool) -> go.Figure:
    """Loss and accuracy side by side over all planned epochs, so that the axis stays still while the lines grow.

    Args:
        history: columns key, step, value (lib.tracking.metric_history).
        strategy: decides the colour.
        epochs: right end of both axes.
        is_dark: theme.
    """
    figure = new_figure(is_dark=is_dark, height=CURVES_HEIGHT_PX)
    colors = palette(is_dark=is_dark)
    style = strategy_style(strategy, is_dark)
    for position, metric in enumerate(("loss", "accuracy")):
        axes = {"xaxis": "x2", "yaxis": "y2"} if position else {}
        for split, width, opacity in (("train", 1.2, 0.6), ("val", 2.5, 1.0)):
            line = history[history["key"] == f"{split}_{metric}"]
            figure.add_scatter(
                x=line["step"],
                y=line["value"],
                mode="lines+markers" if len(line) < 2 else "lines",
                line={"color": style.color, "width": width, "dash": style.dash if split == "val" else "solid"},
                opacity=opacity,
                hovertemplate=f"{split} {metric} %{{y:.4g}}, epoch %{{x}}<extra></extra>",
                **axes,
            )
    frame = {
        "gridcolor": colors.grid,
        "zeroline": False,
        "automargin": False,
        "tickfont": {"size": 14, "color": colors.muted},
    }
    span = {**frame, "range": [0.5, max(epochs, 2) + 0.5], "showgrid": False, "tickformat": "d", "nticks": 6}
    figure.update_layout(
        showlegend=False,
        font={"family": '"Source Sans", sans-serif'},
        margin={"l": 40, "r": 8, "t": 26, "b": 48},
        xaxis={**span, "domain": [0.0, 0.44]},
        xaxis2={**span, "domain": [0.56, 1.0], "anchor": "y2"},
        yaxis={**frame, "range": [0, _loss_ceiling(history)], "nticks": 5},
        yaxis2={**frame, "range": [0, 1.03], "anchor": "x2", "nticks": 6},
        annotations=[
            _words("Loss", colors.ink, x=0, y=1.02, yanchor="bottom"),
            _words("Accuracy", colors.ink, x=0.56, y=1.02, yanchor="bottom"),
            _words("Epoch", colors.muted, x=0, y=0, yanchor="top", yshift=-26),
            _words("thick: validation, thin: training", colors.muted, x=1, y=0, yanchor="top", yshift=-26),
        ],
    )
    return figure


def num_epochs(history: pd.DataFrame) -> int:
    """How many epochs have values: epochs count from 1, step 0 has what the finished run reached as a whole."""
    return int(history.loc[history["step"] > 0, "step"].nunique())


def curves_text(history: pd.DataFrame) -> str:
    """The curves in words, for those who cannot see them, and where one epoch makes no curve."""
    history = history[history["step"] > 0]
    if history.empty:
        return "Loss and accuracy over the epochs; no epoch has ended yet."
    last = history.sort_values("step").groupby("key")["value"].last()
    names = {"train": "training", "val": "validation"}
    words = [
        f"{names[key.partition('_')[0]]} {key.partition('_')[2]} {last[key]:.3f}" for key in CURVE_KEYS if key in last
    ]
    epoch = int(history["step"].max())
    if num_epochs(history) < 2:
        return f"After epoch {epoch}: {', '.join(words)}. Curves are drawn from the second epoch on."
    return f"Loss and accuracy over the epochs; after epoch {epoch}: {', '.join(words)}."


def _words(text: str, color: str, *, x: float, y: float, yanchor: str, yshift: float = 0) -> dict[str, Any]:
    place = {"x": x, "xref": "paper", "xanchor": "right" if x == 1 else "left"}
    place |= {"y": y, "yref": "paper", "yanchor": yanchor, "yshift": yshift}
    return {**place, "text": text, "showarrow": False, "font": {"color": color, "size": 14}}


def _loss_ceiling(history: pd.DataFrame) -> float:
    losses = history.loc[history["key"].isin(["train_loss", "val_loss"]), "value"].astype(float)
    losses = losses[np.isfinite(losses)]
    return 1.05 * float(losses.max()) if len(losses) else 1.0


def _interval(summary: Mapping[str, Any]) -> str:
    low, high = summary.get("test_accuracy_low"), summary.get("test_accuracy_high")
    return "" if low is None or high is None else f"{100 * low:.1f} to {percent(high)}"


def _percent(value: float | None) -> str:
    return "not defined" if value is None else percent(float(value))


def _read(state: RunState, name: str) -> dict[str, Any]:
    return read_json_or_empty(state.folder / name)
