"""What a sweep is: its trainings, kept as JSON beside the runs, and the process of its own that works on them."""

import dataclasses
import re
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from lib.atomic import read_json, write_json
from lib.errors import UserError
from lib.jobs import processes
from lib.progress import Progress, ignore_progress
from lib.settings import HEARTBEAT_STALE_S, runs_dir
from lib.sweeps.state import SweepFiles, SweepState, read_sweep, run_state, write_sweep
from lib.tracking.state import host_name
from lib.training.config import TrainConfig

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.sweeps.runner import Work
    from lib.tracking.writer import RunWriter

# A training stops within four seconds by itself; making the run store on the first run must not be cut short.
STOP_TIMEOUT_S = 20.0
_NUM_NAMED = 5  # so many ids stand in the sentence that an id is unknown


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One training of a sweep: a key of its own, a title in plain words, and the name and tags of its run.

    `cost_s` is about how long it takes; it only shapes the progress bar, since the pace so far scales what is left.
    """

    key: str
    title: str
    name: str
    config: TrainConfig
    tags: Mapping[str, str] = field(default_factory=dict)
    cost_s: float = 30.0


class SweepPlan(ABC):
    """A list of trainings; a kind of sweep is a frozen dataclass of this with its settings and its wording.

    Sentences: `kept` tells what became of the work of a sweep that ended early, `ended` that its process went away,
    `busy` that another process is at it. `noun` and `nouns` say in errors what it is ("race", "races").
    """

    folder: ClassVar[str]  # beside the runs
    id_field: ClassVar[str]  # holds hexadecimal digits, also the name of its files
    noun: ClassVar[str]
    nouns: ClassVar[str]
    kept: ClassVar[str] = SweepFiles.kept
    ended: ClassVar[str] = SweepFiles.ended
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

    def open_dataset(self, progress: Progress) -> "Dataset":
        """Open the data set that all its trainings read."""
        from lib.data.library import open_dataset

        return open_dataset(self.entries[0].config.dataset)

    def listener(self, run: "RunWriter") -> Callable[[Any], None]:
        """What else hears the events of one of its runs."""
        return lambda event: None

    @property
    def files(self) -> SweepFiles:
        """Where its state is kept."""
        return SweepFiles(self._path(self.plan_id), kept=self.kept, ended=self.ended)

    @classmethod
    def _path(cls, plan_id: str) -> Path:
        return runs_dir() / cls.folder / f"{plan_id}.json"

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
        write_json(self._path(self.plan_id).with_suffix(".plan.json"), dataclasses.asdict(self))  # type: ignore[call-overload]

    def read(self) -> SweepState:
        """How far it is."""
        return read_sweep(self.files)

    def run(self, *, progress: Progress = ignore_progress, work: "Work | None" = None) -> SweepState:
        """Do in this process what is missing; a second call does nothing.

        Args:
            progress: hears thousandths of the whole and a line of text.
            work: does one prepared run; by default `jobs.work`.

        Raises:
            UserError: another process is at it, or a training failed (the others are done all the same); the state
                keeps the sentence.
        """
        from lib.sweeps.runner import Runner

        return Runner(self, progress, work).run()

    def start(self) -> SweepState:
        """Start it, or go on with it, in a detached process; returns at once. Raises UserError if it cannot."""
        files, state = self.files, self.read()
        if state.is_active:
            return state
        files.stop.unlink(missing_ok=True)
        process = processes.spawn_detached(
            [sys.executable, "-m", "lib", *self.worker.format(self.plan_id).split()], files.log
        )
        # Without a wait the dead worker would stay a zombie as long as this server lives.
        threading.Thread(target=process.wait, name=f"reap-{files.state.stem}", daemon=True).start()
        begun = SweepState(
            state="running", step="Starting", runs=state.runs, host=host_name(),
            pid=process.pid, pid_started_s=processes.start_time_s(process.pid),
        )  # fmt: skip
        write_sweep(files, begun)
        return self.read()

    def stop(self) -> SweepState:
        """Ask it to stop; a process that does not within seconds is ended. What is done is kept."""
        from lib import jobs

        state = self.read()
        if not state.is_active:
            return state
        self.files.stop.touch()
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
