"""Training events as lines of text, for logs and terminals, and the end of a log."""

import time
from pathlib import Path
from typing import Any

from lib.progress import duration
from lib.tracking.state import LOG_FILE, run_folder


def describe_event(event: Any) -> str:
    """One line for an event of lib/training/events.py, "" for those that say nothing new (single steps)."""
    kind = type(event).__name__
    if kind == "PhaseStarted":
        return f"{_phase(event)} ..."
    if kind == "Progressed":
        words = [f"{_phase(event)} {event.done}/{event.total}{'' if event.unit == 'images' else f' {event.unit}'}"]
        words += [f"{event.images_per_second:.0f} images/s"] if event.images_per_second else []
        words += [f"{duration(event.seconds_left)} left"] if event.seconds_left is not None else []
        return ", ".join(words)
    if kind == "EpochEnded":
        shown = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
        numbers = "  ".join(f"{key} {event.metrics[key]:.4f}" for key in shown if key in event.metrics)
        return f"epoch {event.epoch}/{event.epochs}  {numbers}"
    return str(event.text) if kind == "Noticed" else ""


def write_event_to_log(event: Any, path: Path) -> None:
    """Append epochs and phases to a run's log."""
    if type(event).__name__ in {"PhaseStarted", "EpochEnded", "Noticed"}:
        with path.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {describe_event(event)}\n")


def tail_log(run_id: str, lines: int = 40) -> str:
    """The last lines of a run's log, "" if there is none yet."""
    path = run_folder(run_id) / LOG_FILE
    if not path.exists():
        return ""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 65_536))
        text = log.read().decode("utf-8", errors="replace")
    # A progress bar rewrites its line with carriage returns: only what stands at the end counts.
    shown = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    return "\n".join([line for line in shown if line.strip()][-lines:])


def _phase(event: Any) -> str:
    return str(event.phase).replace("_", " ")
