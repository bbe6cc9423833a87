"""What a sweep is: its trainings and how far they are, kept as JSON beside the runs, and the process at work on them.

Readable by every page, without MLflow and torch.
"""

import dataclasses
import os
import re
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from lib import jobs
from lib.atomic import read_json, write_json
from lib.errors import UserError
from lib.jobs import processes
from lib.progress import Progress
from lib.settings import HEARTBEAT_INTERVAL_S, HEARTBEAT_STALE_S, runs_dir
from lib.tracking.state import host_name, read_state
from lib.training.config import TrainConfig

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.tracking.writer import RunWriter

FORMAT_VERSION = 1
# A training stops within four seconds by itself; making the run store on the first run must not be cut short.
STOP_TIMEOUT_S = 20.0
_NUM_NAMED = 5  # so many ids stand in the sentence that an id is unknown


def run_state(run_id: str | None) -> str:
    """The state of a run, "" if there is none of that id."""
    try:
        return read_state(run_id).state if run_id else ""
    except UserError:
        return ""


@dataclass(frozen=True, kw_only=True)
class SweepState:
    """What is known of a sweep; `state` is "new", "running", "stopping", "stopped", "failed" or "finished".

    `runs` maps the key of an entry (its strategy) to its run, `problems` to the sentence that says why it failed this
    time; `step` is the title of what is being done, `what` its detail.
    """

    state: str = "new"
    message: str = ""
    step: str = ""
    what: str = ""
    share: float = 0.0
    seconds_left: float | None = None
    seconds_total: float = 0.0
    runs: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One training of a sweep: a key of its own, a title in plain words, and the name and tags of its run.

    `cost_s` is about how long it takes; it only shapes the progress bar, since the pace so far scales what is left.
    `follows` is the key of an earlier one, whose head it starts from.
    """

    key: str
    title: str
    name: str
    config: TrainConfig
    tags: Mapping[str, str] = field(default_factory=dict)
    cost_s: float = 30.0
    follows: str = ""

    def begun(self, runs: Mapping[str, str]) -> "Entry":
        """The same with the head of the run that it follows, once there is one."""
        if not self.follows:
            return self
        return dataclasses.replace(self, config=dataclasses.replace(self.config, head_from=runs.get(self.follows)))


class SweepPlan(ABC):
    """A list of trainings; a kind of sweep is a frozen dataclass of this with its settings and its wording.

    Sentences: `kept` tells what became of the work of a sweep that ended early, `ended` that its process went away,
    `busy` that another process is at it. `noun` and `nouns` say in errors what it is ("race", "races").
    """

    folder: ClassVar[str]  # beside the runs
    id_field: ClassVar[str]  # holds hexadecimal digits, also the name of its files
    noun: ClassVar[str]
    nouns: ClassVar[str]
    kept: ClassVar[str] = "What is done is kept; starting it again goes on from there."
    ended: ClassVar[str] = "It ended without a word (its process is gone)."
    busy: ClassVar[str]  # {} stands for the id, here and in `worker`
    worker: ClassVar[str]  # what follows `python -m lib` on the command line of its process
    dataset_title: ClassVar[str] = "Opening the data set"
    dataset_cost_s: ClassVar[float] = 1.0  # about how long that takes where the data set must be made

    created_s: float

    @property
    @abstractmethod
    def entries(self) -> tuple[Entry, ...]:
        """The trainings, in order."""

    @property
    def plan_id(self) -> str:
        """Its id."""
        return str(getattr(self, self.id_field))

    def open_datasets(self, progress: Progress) -> dict[str, "Dataset"]:
        """Open the data sets that its trainings read, by name."""
        from lib.data.library import open_dataset

        return {name: open_dataset(name) for name in dict.fromkeys(entry.config.dataset for entry in self.entries)}

    def runs_at_hand(self, before: SweepState) -> dict[str, str]:
        """Key -> run that counts as made or is gone on with; by default those that it had before."""
        return dict(before.runs)

    def listener(self, run: "RunWriter") -> Callable[[Any], None]:
        """What else hears the events of one of its runs."""
        return lambda event: None

    def path(self, suffix: str = ".json") -> Path:
        """Its state file, or what stands beside that: ".plan.json", ".log" of the worker, ".lock" of the one at work.

        ".stop" exists while somebody wants it to stop.
        """
        return runs_dir() / self.folder / f"{self.plan_id}{suffix}"

    @classmethod
    def parse(cls, content: dict[str, Any]) -> Self:
        """A plan of what its file holds; raises TypeError or UserError where this version cannot read it."""
        return cls(**content)

    @classmethod
    def newest_first(cls) -> list[Self]:
        """All plans of this kind that this version can read."""
        plans = []
        for path in (runs_dir() / cls.folder).glob("*.plan.json"):
            with suppress(OSError, ValueError, TypeError, KeyError, UserError):
                plans.append(cls.parse(read_json(path)))
        return sorted(plans, key=lambda plan: -plan.created_s)

    @classmethod
    def find(cls, plan_id: str) -> Self:
        """The plan of that id or the beginning of it, or "latest"; raises UserError if there is none, or several."""
        plans = cls.newest_first()
        if plan_id == "latest" and plans:
            return plans[0]
        found = [plan for plan in plans if re.fullmatch("[0-9a-f]+", plan_id) and plan.plan_id.startswith(plan_id)]
        if len(found) != 1:
            known = ", ".join(plan.plan_id for plan in plans[:_NUM_NAMED]) or "none so far"
            raise UserError(f"There is no {cls.noun} {plan_id!r}; the {cls.nouns} here: {known}.")
        return found[0]

    def write(self) -> None:
        """Keep the plan, whose fields JSON must know."""
        write_json(self.path(".plan.json"), dataclasses.asdict(self))  # type: ignore[call-overload]

    def keep(self, state: SweepState) -> None:
        """Keep how far it is, atomically."""
        write_json(self.path(), dataclasses.asdict(dataclasses.replace(state, heartbeat_s=time.time())))

    def read(self) -> SweepState:
        """How far it is; one whose process is gone reads as "failed", one asked to stop as "stopping".

        Takes three seconds where a heartbeat under another host name has to be watched before it can be told.
        """
        state, is_asked = self._stored(), self.path(".stop").exists()
        if not state.is_active:
            return state
        if self._lives(state):
            return dataclasses.replace(state, state="stopping") if is_asked else state
        ended = ("stopped", f"Stopped on request. {self.kept}") if is_asked else ("failed", f"{self.ended} {self.kept}")
        return state.ended(*ended)

    def _stored(self) -> SweepState:
        """What the file holds; when it was last changed is the heartbeat."""
        try:
            content = {**read_json(self.path()), "heartbeat_s": self.path().stat().st_mtime}
            return SweepState(**{key: content[key] for key in SweepState.__dataclass_fields__ if key in content})
        except (OSError, ValueError, TypeError):
            return SweepState()

    def _lives(self, state: SweepState) -> bool:
        if state.host == host_name():
            return processes.is_alive(state.pid, state.pid_started_s)
        key = str(self.path())
        processes.watch_beats(lambda: {key: self._stored().heartbeat_s})
        return processes.is_beating(key, self._stored().heartbeat_s)

    @contextmanager
    def heartbeats(self) -> Iterator[None]:
        """While entered, give a sign of life each second: for those to whom the pid says nothing."""
        is_over = threading.Event()

        def beat() -> None:
            while not is_over.wait(HEARTBEAT_INTERVAL_S):
                with suppress(OSError):
                    os.utime(self.path())

        thread = threading.Thread(target=beat, name=f"heartbeat-{self.plan_id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def start(self) -> SweepState:
        """Start it, or go on with it, in a detached process; returns at once. Raises UserError if it cannot."""
        state = self.read()
        if state.is_active:
            return state
        self.path(".stop").unlink(missing_ok=True)
        arguments = self.worker.format(self.plan_id).split()
        process = processes.spawn_detached([sys.executable, "-m", "lib", *arguments], self.path(".log"))
        # Without a wait the dead worker would stay a zombie as long as this server lives.
        threading.Thread(target=process.wait, name=f"reap-{self.plan_id}", daemon=True).start()
        begun = SweepState(
            state="running", step="Starting", runs=state.runs, host=host_name(),
            pid=process.pid, pid_started_s=processes.start_time_s(process.pid),
        )  # fmt: skip
        self.keep(begun)
        return self.read()

    def stop(self) -> SweepState:
        """Ask it to stop; a process that does not within seconds is ended. What is done is kept."""
        state = self.read()
        if not state.is_active:
            return state
        self.path(".stop").touch()
        for run_id in state.runs.values():
            if run_state(run_id) in ("queued", "running"):
                with suppress(UserError):
                    jobs.request_stop(run_id)
        threading.Thread(target=_enforce_stop, args=(state,), name=f"stop-{self.plan_id}", daemon=True).start()
        return self.read()

    def stop_and_wait(self) -> SweepState:
        """As `stop`, and wait until the process is gone."""
        state = self.stop()
        if state.is_active:
            _enforce_stop(state)
        deadline = time.monotonic() + STOP_TIMEOUT_S + HEARTBEAT_STALE_S
        while state.host != host_name() and self.read().is_active and time.monotonic() < deadline:
            time.sleep(0.2)
        return self.read()


def _enforce_stop(state: SweepState) -> None:
    if state.host != host_name():
        return  # it can only be asked; without heartbeats it reads as ended
    if state.pid and not processes.wait_until_gone(state.pid, state.pid_started_s, STOP_TIMEOUT_S):
        processes.kill(state.pid, state.pid_started_s, is_group=False)
        processes.wait_until_gone(state.pid, state.pid_started_s, 1.0)
