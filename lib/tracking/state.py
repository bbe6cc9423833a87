"""The state of a run as JSON in its folder: the live source for pages and jobs, readable without MLflow."""

import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.atomic import read_json, read_json_or_empty
from lib.errors import UserError
from lib.registry import Registry
from lib.settings import runs_dir

STATES = ("queued", "running", "stopping", "stopped", "finished", "failed", "killed")
ACTIVE_STATES = frozenset({"queued", "running", "stopping"})
RESUMABLE_STATES = frozenset({"stopped", "failed", "killed"})
MLFLOW_STATUS = {"queued": "SCHEDULED", "running": "RUNNING", "stopping": "RUNNING", "stopped": "KILLED",
                 "finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}  # fmt: skip

GROUP_TAG = "group_id"  # of the runs of one series of seeds
STATE_FILE = "state.json"
CONFIG_FILE = "config.json"
SUMMARY_FILE = "summary.json"
COMPUTE_FILE = "compute.json"  # device, number formats and engine that were chosen, with the reason
LOG_FILE = "log.txt"
STOP_FILE = "stop"
PREDICTIONS_FILE = "predictions.parquet"
CONFUSION_FILE = "validation_confusion.jsonl"
BUNDLE_FOLDER = "bundle"
TIMELINE_FILE = "timeline.jsonl"
ARTIFACTS = (
    CONFIG_FILE, SUMMARY_FILE, LOG_FILE, PREDICTIONS_FILE, CONFUSION_FILE,
    BUNDLE_FOLDER,
)  # fmt: skip
# Names that runs of the demo were given before every strategy had one title; such runs are shown by the present one.
_FORMER_NAMES = {
    f"{former} · demo": f"{title} · Bundled VGG · synthetic-fundus · demo"
    for former, title in (
        ("Similar images vote", "Nearest neighbours"),
        ("Frozen network, linear probe", "Linear probe"),
        ("Frozen network, small network on top", "Frozen features + MLP head"),
        ("Last blocks retrained", "Partial fine-tuning"),
        ("Everything retrained", "Full fine-tuning"),
        ("From scratch, no transfer", "From scratch"),
    )
}


@dataclass(frozen=True)
class ExitReason:
    """How a run can end without being finished (the key `ending` of its state and tags).

    `title` stands on the badge, `can_resume` says whether the same again could go better.
    """

    name: str
    title: str
    summary: str
    can_resume: bool = True


EXIT_REASONS: Registry[ExitReason] = Registry("ending")
for _reason in (
    ExitReason("stopped", "Stopped", "Somebody asked it to stop."),
    ExitReason("cancelled", "Cancelled", "Taken out of the queue before it began."),
    ExitReason(
        "diverged", "Loss not a number",
        "The loss or a weight became infinite or undefined; the same steps would lead there again.", can_resume=False,
    ),
    ExitReason("out_of_memory", "Out of memory", "Memory ran out, also with smaller micro-batches."),
    ExitReason(
        "memory_kill", "Killed, probably memory", "SIGKILL from outside: most often the system, short of memory."
    ),
    ExitReason("crashed", "Crashed", "The process broke off with another signal."),
    ExitReason("disk_full", "Disk full", "A checkpoint, a cache or the run store could not be written."),
    ExitReason("silent", "No sign of life", "Its process, under another host name, fell silent for half a minute."),
    ExitReason("restarted", "Machine restarted", "The machine was restarted while it ran."),
    ExitReason("never_started", "Never started", "Its process did not come up."),
    ExitReason("refused", "Not possible", "Something is wrong with the data set or the settings."),
    ExitReason("unexpected", "Unexpected error", "An error that nobody foresaw; the log has it."),
):  # fmt: skip
    EXIT_REASONS.add(_reason)


def default_name(config: Mapping[str, Any]) -> str:
    """A readable name from the raw words of a config, such as "linear probe · mobilenet v2 · cats_dogs"."""
    words = [str(config.get(key, "")).replace("_", " ") for key in ("strategy", "backbone")]
    return " · ".join(word for word in [*words, str(config.get("dataset", ""))] if word)


def present_name(name: str) -> str:
    """The name of a run as it is shown today."""
    return _FORMER_NAMES.get(name, name)


class HasState:
    """What follows from a run's `state`, `ending` and `created_s`, and the machine that it was `recorded_on`."""

    state: str
    ending: str
    created_s: float
    recorded_on: str

    @property
    def is_active(self) -> bool:
        """Whether a process works on it or waits for its turn."""
        return self.state in ACTIVE_STATES

    @property
    def is_resumable(self) -> bool:
        """Whether `jobs.resume` takes it up again; runs older than the table have no exit reason, and may."""
        is_known = self.ending in EXIT_REASONS
        return self.state in RESUMABLE_STATES and (not is_known or EXIT_REASONS.get(self.ending).can_resume)

    @property
    def title(self) -> str:
        """The state as a badge says it, or how it ended where that tells more."""
        tells_more = self.ending in EXIT_REASONS and self.ending not in ("stopped", "cancelled")
        return EXIT_REASONS.get(self.ending).title if tells_more else self.state

    @property
    def recorded_words(self) -> str:
        """Such as "recorded on 26 November 2026, 2 cores of Intel Xeon"; empty for a run that was made here."""
        day = time.strftime("%-d %B %Y", time.gmtime(self.created_s))
        return f"recorded on {day}, {self.recorded_on}" if self.recorded_on else ""


@dataclass(frozen=True)
class RunState(HasState):
    """What is known of a run at this moment; times in seconds since 1970, `progress` as the training reported it.

    Keys of `progress`: phase, done, total, unit, num_images, epoch, epochs, images_per_second, seconds_left (each may
    be missing).
    """

    run_id: str
    state: str = "queued"
    message: str = ""
    ending: str = ""  # why it ended, a name of EXIT_REASONS
    name: str = ""
    pid: int | None = None
    pid_started_s: float | None = None  # see `start_time_s`
    host: str = ""
    is_detached: bool = False
    created_s: float = 0.0
    started_s: float = 0.0  # when it last left the queue, 0 before
    worked_s: float = 0.0  # seconds of work before that, of processes that ended by themselves
    heartbeat_s: float = 0.0
    progress: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # sentences for the person, such as a damaged checkpoint
    recorded_on: str = ""  # the machine of a run that came with the program, empty for one that was made here
    marks: dict[str, str] = field(default_factory=dict)  # what a person said of it (marks.py), by tag

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the process last gave a sign."""
        return max(0.0, time.time() - self.heartbeat_s)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return run_folder(self.run_id)


def run_folder(run_id: str) -> Path:
    """The folder of a run (it may not exist); raises UserError for what cannot be a run id, such as a path."""
    if not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", run_id):
        raise UserError(f"{run_id!r} is not a run id; `python -m lib runs list` shows the ids.")
    return runs_dir() / run_id


def read_state(run_id: str) -> RunState:
    """A run's state; an active run with a stop flag reads as "stopping". Raises UserError if there is no such run."""
    folder = run_folder(run_id)
    try:
        content = read_json(folder / STATE_FILE)
    except FileNotFoundError:
        raise UserError(f"There is no run {run_id!r} here; `python -m lib runs list` shows the runs.") from None
    except ValueError:
        raise UserError(f"The file {folder / STATE_FILE} is damaged; delete the run {run_id} or restore it.") from None
    known = {key: content[key] for key in RunState.__dataclass_fields__ if key in content}
    known |= {"run_id": run_id, "name": present_name(str(known.get("name") or ""))}
    # The flag decides, not the stored word: the worker's own writes may cross the stop request.
    if known.get("state") in ACTIVE_STATES and (folder / STOP_FILE).exists():
        known["state"] = "stopping"
    return RunState(**known)


def update_state(run_id: str, **changes: Any) -> None:
    """Change some keys of state.json, safe against other processes that change other keys."""
    folder = run_folder(run_id)
    with _locked(folder):
        path = folder / STATE_FILE
        content = read_json(path) if path.exists() else {"run_id": run_id}
        content.update(changes)
        temporary = path.with_name(f".{STATE_FILE}.{os.getpid()}")
        try:
            with temporary.open("w", encoding="utf-8") as opened:
                opened.write(json.dumps(content, ensure_ascii=False, default=str))
                # A heartbeat is written each second and worth nothing after a power cut; a state is.
                if "state" in changes:
                    opened.flush()
                    os.fsync(opened.fileno())
            temporary.replace(path)
        except OSError:  # a full disk: what was there before stays
            temporary.unlink(missing_ok=True)
            raise


def read_summary(folder: Path) -> dict[str, Any]:
    """The final figures in a run's folder; empty before there are any, or where they cannot be read."""
    return read_json_or_empty(folder / SUMMARY_FILE)


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Add a line of JSON in one write: a reader sees it whole or, at a crash, cut off."""
    with path.open("a", encoding="utf-8") as opened:
        opened.write(json.dumps(dict(content), default=str) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON objects; those that a killed process left cut off are passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError):
            found.append(json.loads(line))
    return [content for content in found if isinstance(content, dict)]


def timeline_events(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's timeline, those of a killed process that are cut off left out; empty of an older run."""
    return [event for event in read_lines(folder / TIMELINE_FILE) if isinstance(event.get("t"), int | float)]


def stored_states() -> list[RunState]:
    """The states of all run folders here, newest first; damaged ones are passed over."""
    found = []
    folder = runs_dir()
    known, seen = _seen_states.get(str(folder), {}), {}
    for run_id in os.listdir(folder):  # noqa: PTH208  (a Path for each of thousands of runs takes three times as long)
        try:
            file = os.stat(f"{folder}/{run_id}/{STATE_FILE}")  # noqa: PTH116
            moment = (file.st_mtime_ns, file.st_size, file.st_ino)
            before = known.get(run_id)
            # A stop flag changes an active run without a word in its file.
            is_known = before is not None and before[0] == moment and not before[1].is_active
            seen[run_id] = before if before is not None and is_known else (moment, read_state(run_id))
        except (OSError, UserError):
            continue
        found.append(seen[run_id][1])
    _seen_states.clear()
    _seen_states[str(folder)] = seen
    return sorted(found, key=lambda state: -state.created_s)


# Thousands of finished runs are asked for their state every few seconds, and never change it.
_seen_states: dict[str, dict[str, tuple[tuple[int, int, int], RunState]]] = {}


def find_local_run(prefix: str) -> str | None:
    """The id of the one run folder here that begins so ("latest": the newest), None if there is not exactly one."""
    if prefix == "latest":
        return next((state.run_id for state in stored_states()), None)
    found = [path.parent.name for path in runs_dir().glob(f"*/{STATE_FILE}") if path.parent.name.startswith(prefix)]
    return found[0] if prefix and len(found) == 1 else None


def host_name() -> str:
    """The name under which this machine's processes are known."""
    return socket.gethostname()


def start_time_s(pid: int) -> float | None:
    """When a process started; None if there is none.

    Seconds since the machine started where the system tells (Linux), so that a clock that is set meanwhile does not
    turn a process into another one; elsewhere seconds since 1970, which the system keeps as they were.
    """
    import psutil

    with suppress(OSError, ValueError, IndexError):
        # The name in brackets may hold anything; the start is the 20th field behind it.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".state.lock").open("a", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def link_artifacts(folder: Path, target: Path | None = None) -> None:
    """Give MLflow the files of a run's folder where it looks for them in a store of this machine."""
    for name in ARTIFACTS:
        if (folder / name).exists():
            _link_tree(folder / name, (target or folder / "artifacts") / name)


def _link_tree(source: Path, target: Path) -> None:
    """Hard-link files instead of copying: the run folder's files are replaced, never changed in place."""
    if source.is_dir():
        for child in source.iterdir():
            _link_tree(child, target / child.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    os.link(source, target)
