"""How far the preparation of the demo is, as JSON beside the runs: readable by every page, without MLflow and torch."""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.atomic import read_json, write_json
from lib.errors import UserError
from lib.jobs.processes import is_alive
from lib.settings import runs_dir
from lib.tracking.state import host_name, read_state

FORMAT_VERSION = 1
KEPT_MESSAGE = "What is done is kept; preparing again goes on from there."
STOPPED_MESSAGE = f"Stopped on request. {KEPT_MESSAGE}"
_ENDED_MESSAGE = f"The preparation ended without a word (its process is gone). {KEPT_MESSAGE}"


@dataclass(frozen=True, kw_only=True)
class DemoState:
    """What is known of the preparation; `state` is "new", "running", "stopping", "stopped", "failed" or "finished".

    `runs` maps a strategy to its run; `step` is the title of what is being done, `what` its detail.
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


def read_demo() -> DemoState:
    """The state of the preparation; one whose process is gone reads as "failed", one asked to stop as "stopping"."""
    try:
        content = read_json(demo_file())
        known = {key: content[key] for key in DemoState.__dataclass_fields__ if key in content}
        state = DemoState(**known)
    except (OSError, ValueError, TypeError):
        return DemoState()
    if not state.is_active:
        return state
    if state.host == host_name() and not is_alive(state.pid, state.pid_started_s):
        ended, message = ("stopped", STOPPED_MESSAGE) if stop_file().exists() else ("failed", _ENDED_MESSAGE)
        return dataclasses.replace(state, state=ended, message=message, step="", what="", seconds_left=None)
    return dataclasses.replace(state, state="stopping") if stop_file().exists() else state


def write_demo(state: DemoState) -> None:
    """Keep the state, atomically."""
    write_json(demo_file(), dataclasses.asdict(dataclasses.replace(state, heartbeat_s=time.time())))


def demo_run_ids() -> list[str]:
    """The finished runs of the demo that are still here, in the order of the story."""
    return [run_id for run_id in read_demo().runs.values() if run_state(run_id) == "finished"]


def run_state(run_id: str | None) -> str:
    """The state of a run, "" if there is none of that id."""
    try:
        return read_state(run_id).state if run_id else ""
    except UserError:
        return ""


def demo_file() -> Path:
    """Where the state is kept."""
    return runs_dir() / "demo.json"


def stop_file() -> Path:
    """Exists while somebody wants the preparation to stop."""
    return runs_dir() / "demo.stop"


def log_file() -> Path:
    """What the worker process writes."""
    return runs_dir() / "demo.log"


def as_dict(state: DemoState) -> dict[str, Any]:
    """The state as the command line prints it."""
    return {
        key: value
        for key, value in dataclasses.asdict(state).items()
        if not key.startswith(("pid", "host", "heartbeat"))
    }
