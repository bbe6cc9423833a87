"""How far a series of runs is, as JSON beside the runs: readable by every page, without MLflow and torch."""

import dataclasses
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.atomic import write_json
from lib.errors import UserError
from lib.jobs.processes import is_alive, is_beating, watch_beats
from lib.settings import HEARTBEAT_INTERVAL_S
from lib.tracking.state import host_name, read_state

FORMAT_VERSION = 1
KEPT_MESSAGE = "What is done is kept; starting it again goes on from there."


@dataclass(frozen=True)
class SeriesFiles:
    """Where a series keeps what is known of it: its state, and beside that stop flag, log and lock.

    `kept` is the sentence that tells what became of the work when it ended early, `ended` the one for a process that
    went away.
    """

    state: Path
    kept: str = KEPT_MESSAGE
    ended: str = "It ended without a word (its process is gone)."

    @property
    def stop(self) -> Path:
        """Exists while somebody wants the series to stop."""
        return self.state.with_suffix(".stop")

    @property
    def log(self) -> Path:
        """What the worker process writes."""
        return self.state.with_suffix(".log")

    @property
    def lock(self) -> Path:
        """Held by the one process that works on it."""
        return self.state.with_suffix(".lock")

    @property
    def stopped_message(self) -> str:
        """The sentence of a series that was asked to stop."""
        return f"Stopped on request. {self.kept}"


@dataclass(frozen=True, kw_only=True)
class SeriesState:
    """What is known of a series; `state` is "new", "running", "stopping", "stopped", "failed" or "finished".

    `runs` maps the key of an entry (its strategy) to its run; `step` is the title of what is being done, `what` its
    detail.
    """

    state: str = "new"
    message: str = ""
    step: str = ""
    what: str = ""
    share: float = 0.0
    seconds_left: float | None = None
    seconds_total: float = 0.0
    runs: dict[str, str] = field(default_factory=dict)
    pid: int | None = None
    pid_started_s: float | None = None
    host: str = ""
    heartbeat_s: float = 0.0
    format_version: int = FORMAT_VERSION

    @property
    def is_active(self) -> bool:
        """Whether a process works on it."""
        return self.state in ("running", "stopping")


def read_series(files: SeriesFiles) -> SeriesState:
    """The state of a series; one whose process is gone reads as "failed", one asked to stop as "stopping".

    Takes three seconds where a heartbeat under another host name has to be watched before it can be told.
    """
    state = _stored(files)
    if not state.is_active:
        return state
    if not _lives(files, state):
        is_asked = files.stop.exists()
        ended, message = ("stopped", files.stopped_message) if is_asked else ("failed", f"{files.ended} {files.kept}")
        return dataclasses.replace(state, state=ended, message=message, step="", what="", seconds_left=None)
    return dataclasses.replace(state, state="stopping") if files.stop.exists() else state


def _stored(files: SeriesFiles) -> SeriesState:
    """What the file holds; when it was last changed is the heartbeat."""
    try:
        with files.state.open(encoding="utf-8") as opened:
            content = json.load(opened) | {"heartbeat_s": os.fstat(opened.fileno()).st_mtime}
        return SeriesState(**{key: content[key] for key in SeriesState.__dataclass_fields__ if key in content})
    except (OSError, ValueError, TypeError):
        return SeriesState()


def _lives(files: SeriesFiles, state: SeriesState) -> bool:
    if state.host == host_name():
        return is_alive(state.pid, state.pid_started_s)
    key = str(files.state)
    watch_beats(lambda: {key: _stored(files).heartbeat_s})
    return is_beating(key, _stored(files).heartbeat_s)


@contextmanager
def heartbeats(files: SeriesFiles) -> Iterator[None]:
    """While entered, give a sign of life each second: for those to whom the pid says nothing."""
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(HEARTBEAT_INTERVAL_S):
            with suppress(OSError):
                os.utime(files.state)

    thread = threading.Thread(target=beat, name=f"heartbeat-{files.state.stem}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def write_series(files: SeriesFiles, state: SeriesState) -> None:
    """Keep the state, atomically."""
    write_json(files.state, dataclasses.asdict(dataclasses.replace(state, heartbeat_s=time.time())))


def run_state(run_id: str | None) -> str:
    """The state of a run, "" if there is none of that id."""
    try:
        return read_state(run_id).state if run_id else ""
    except UserError:
        return ""


def as_dict(state: SeriesState) -> dict[str, Any]:
    """The state as the command line prints it."""
    return {
        key: value
        for key, value in dataclasses.asdict(state).items()
        if not key.startswith(("pid", "host", "heartbeat"))
    }
