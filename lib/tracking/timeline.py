"""What happened in a run and when: a line of JSON an event in its folder, from which a finished run is played again.

Lines: `state`, `progress` (as `RunState.progress`), or `metrics` of a `step`; each with `t`, seconds since 1970.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.tracking.records import metric_history
from lib.tracking.state import LOG_FILE, TIMELINE_FILE, append_line, read_state, run_folder, timeline_events

if TYPE_CHECKING:
    import pandas as pd

_PROGRESS_INTERVAL_S = 1.0
# Of a long training progress is kept more and more seldom: 4,600 lines of ten hours instead of 36,000.
_PROGRESS_SHARE = 1e-3


class TimelineWriter:
    """Appends to the timeline in a run's folder; a full disk costs the line, never the training."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / TIMELINE_FILE
        self._began_s = self._progress_s = 0.0
        self._phase: Any = None

    def state(self, state: str) -> None:
        """The run entered a state."""
        self._append({"state": state})

    def metrics(self, metrics: Mapping[str, float], step: int | None) -> None:
        """Numbers were logged."""
        self._append({"step": step or 0, "metrics": dict(metrics)})

    def progress(self, progress: Mapping[str, Any]) -> None:
        """The run said how far it is; kept once a second, and whenever the phase changes."""
        now = time.monotonic()
        self._began_s = self._began_s or now
        interval = max(_PROGRESS_INTERVAL_S, _PROGRESS_SHARE * (now - self._began_s))
        if progress.get("phase") == self._phase and now - self._progress_s < interval:
            return
        self._phase, self._progress_s = progress.get("phase"), now
        self._append({"progress": dict(progress)})

    def _append(self, event: Mapping[str, Any]) -> None:
        with suppress(OSError):
            append_line(self._path, {"t": round(time.time(), 3), **event})


@dataclass(frozen=True)
class Moment:
    """A run at a moment of its timeline: progress as it said then, and the last epoch that had ended (0: none)."""

    seconds: float
    progress: dict[str, Any]
    epoch: int


@dataclass(frozen=True, eq=False)
class Timeline:
    """The events of a run in order, each with its seconds since the run began; interruptions are left out.

    `metrics` holds (second, step, key, value), `progress` (second, content), `log` (second, line).
    """

    seconds: float
    metrics: tuple[tuple[float, int, str, float], ...] = ()
    progress: tuple[tuple[float, dict[str, Any]], ...] = ()
    log: tuple[tuple[float, str], ...] = ()
    epochs: tuple[tuple[float, int], ...] = field(default=())  # (second, epoch) when each epoch ended

    def at(self, seconds: float) -> Moment:
        """The run so many seconds after it began."""
        told = [content for second, content in self.progress if second <= seconds]
        epoch = next((epoch for second, epoch in reversed(self.epochs) if second <= seconds), 0)
        progress = dict(told[-1]) if told else {}
        if epoch:
            progress["epoch"] = epoch
        return Moment(seconds, progress, epoch)

    @property
    def stops(self) -> tuple[float, ...]:
        """The seconds at which something new is to be seen: each phase's first and each epoch's last."""
        seconds = [second for second, _ in self.epochs]
        phase: Any = None
        for second, content in self.progress:
            if content.get("phase") != phase:
                phase = content.get("phase")
                seconds.append(second)
        return tuple(sorted({*seconds, self.seconds}))

    def history(self, seconds: float, keys: Iterable[str]) -> "pd.DataFrame":
        """What had been logged until then: columns key, step, value, the last value of a step."""
        import pandas as pd

        wanted = set(keys)
        rows = [row[1:] for row in self.metrics if row[0] <= seconds and row[2] in wanted]
        table = pd.DataFrame(rows, columns=["step", "key", "value"])[["key", "step", "value"]]
        return table.drop_duplicates(["key", "step"], keep="last").sort_values(["key", "step"]).reset_index(drop=True)

    def log_until(self, seconds: float, lines: int) -> str:
        """The last lines of the log at that moment."""
        return "\n".join([line for second, line in self.log if second <= seconds][-lines:])


def read_timeline(run_id: str) -> Timeline | None:
    """The timeline of a run that has ended: as it was written, or, of an older run, from log and run store.

    None where none of them says more than how it ended.
    """
    path = run_folder(run_id) / TIMELINE_FILE
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError:
        changed_ns = 0
    return _read(run_id, path.parent, changed_ns)


@lru_cache(maxsize=64)
def _read(run_id: str, folder: Path, changed_ns: int) -> Timeline | None:
    told = timeline_events(folder) if changed_ns else []
    if not any("progress" in event or "metrics" in event for event in told):
        told = _events_of_older_run(run_id)
    return _timeline(told, folder / LOG_FILE) if told else None


def _timeline(told: list[dict[str, Any]], log: Path) -> Timeline:
    """Events with their times as seconds since the run began."""
    began = next((place for place, event in enumerate(told) if event.get("state") == "running"), 0)
    second, last_t = 0.0, told[began]["t"]
    metrics: list[tuple[float, int, str, float]] = []
    progress: list[tuple[float, dict[str, Any]]] = []
    epochs: list[tuple[float, int]] = []
    for event in told[began:]:
        # A run that was taken up again waited in between, and a clock may be set back: neither is time of the run.
        second += 0.0 if event.get("state") == "running" else max(0.0, event["t"] - last_t)
        last_t = event["t"]
        if "metrics" in event:
            step = int(event.get("step") or 0)
            metrics += [(second, step, str(key), float(value)) for key, value in event["metrics"].items()]
            if step and any(key.endswith(("train_loss", "val_loss")) for key in event["metrics"]):
                epochs.append((second, step))
        elif "progress" in event:
            progress.append((second, dict(event["progress"])))
    return Timeline(second, tuple(metrics), tuple(progress), _log_lines(log, second), tuple(epochs))


def _log_lines(path: Path, last_s: float) -> tuple[tuple[float, str], ...]:
    """The lines of a log with their seconds since its first one; a line without a time belongs to the one before."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    found: list[tuple[float, str]] = []
    second, last_clock = 0.0, None
    for line in filter(str.strip, lines):
        with suppress(ValueError):  # it begins as "11:13:54 Starting ..."
            hours, minutes, seconds = map(int, line[:8].split(":"))
            clock = 3600 * hours + 60 * minutes + seconds
            second += (clock - last_clock) % 86_400 if last_clock is not None else 0
            last_clock = clock
        found.append((min(second, last_s), line))
    return tuple(found)


def _events_of_older_run(run_id: str) -> list[dict[str, Any]]:
    """What a run without a timeline tells: phases by the times in its log, metrics by those of the run store."""
    state = read_state(run_id)
    began, ended = state.started_s or state.created_s, state.heartbeat_s
    lines = [(began + second, line) for second, line in _log_lines(state.folder / LOG_FILE, ended - began)]
    told: list[dict[str, Any]] = [
        {"t": t, "progress": {"phase": line[9:].removesuffix(" ...")}} for t, line in lines if line.endswith(" ...")
    ]
    history = metric_history(run_id)
    for key, rows in history[history["step"] > 0].groupby(["timestamp_ms", "step"], sort=True):
        moment: Any = key
        timestamp_ms, step = int(moment[0]), int(moment[1])
        metrics = dict(zip(rows["key"], rows["value"], strict=True))
        told.append({"t": timestamp_ms / 1000, "step": step, "metrics": metrics})
    if not told:
        return []
    told.sort(key=lambda event: event["t"])
    return [{"t": began, "state": "running"}, *told, {"t": max(ended, told[-1]["t"]), "state": state.state}]
