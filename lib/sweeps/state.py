"""How far a sweep is, as JSON beside the runs: readable by every page, without MLflow and torch."""

import dataclasses
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.atomic import read_json, write_json
from lib.errors import UserError
from lib.jobs.processes import is_alive, is_beating, watch_beats
from lib.settings import HEARTBEAT_INTERVAL_S
from lib.tracking.state import host_name, read_state

FORMAT_VERSION = 1


@dataclass(frozen=True)
class SweepFiles:
    """The state file of a sweep, with stop flag, log and lock beside it.

    `kept` is the sentence that tells what became of the work when it ended early, `ended` the one for a process that
    went away.
    """

    state: Path
    kept: str = "What is done is kept; starting it again goes on from there."
    ended: str = "It ended without a word (its process is gone)."

    @property
    def stop(self) -> Path:
        """Exists while somebody wants the sweep to stop."""
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
        """The sentence of a sweep that was asked to stop."""
        return f"Stopped on request. {self.kept}"


@dataclass(frozen=True, kw_only=True)
class SweepState:
    """What is known of a sweep; `state` is "new", "running", "stopping", "stopped", "failed" or "finished".

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

    def ended(self, state: str, message: str, **changes: Any) -> "SweepState":
        """The same sweep once nothing of it is being done any more."""
        return dataclasses.replace(self, state=state, message=message, step="", what="", seconds_left=None, **changes)

    def facts(self) -> dict[str, Any]:
        """What the command line prints of it."""
        content = dataclasses.asdict(self)
        return {key: value for key, value in content.items() if not key.startswith(("pid", "host", "heartbeat"))}


def read_sweep(files: SweepFiles) -> SweepState:
    """The state of a sweep; one whose process is gone reads as "failed", one asked to stop as "stopping".

    Takes three seconds where a heartbeat under another host name has to be watched before it can be told.
    """
    state = _stored(files)
    if not state.is_active:
        return state
    if _lives(files, state):
        return dataclasses.replace(state, state="stopping") if files.stop.exists() else state
    return (
        state.ended("stopped", files.stopped_message)
        if files.stop.exists()
        else state.ended("failed", f"{files.ended} {files.kept}")
    )


def write_sweep(files: SweepFiles, state: SweepState) -> None:
    """Keep the state, atomically."""
    write_json(files.state, dataclasses.asdict(dataclasses.replace(state, heartbeat_s=time.time())))


def _stored(files: SweepFiles) -> SweepState:
    """What the file holds; when it was last changed is the heartbeat."""
    try:
        content = {**read_json(files.state), "heartbeat_s": files.state.stat().st_mtime}
        return SweepState(**{key: content[key] for key in SweepState.__dataclass_fields__ if key in content})
    except (OSError, ValueError, TypeError):
        return SweepState()


def _lives(files: SweepFiles, state: SweepState) -> bool:
    if state.host == host_name():
        return is_alive(state.pid, state.pid_started_s)
    key = str(files.state)
    watch_beats(lambda: {key: _stored(files).heartbeat_s})
    return is_beating(key, _stored(files).heartbeat_s)


@contextmanager
def heartbeats(files: SweepFiles) -> Iterator[None]:
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


def run_state(run_id: str | None) -> str:
    """The state of a run, "" if there is none of that id."""
    try:
        return read_state(run_id).state if run_id else ""
    except UserError:
        return ""
