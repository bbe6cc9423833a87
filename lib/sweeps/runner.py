"""The work on a sweep: training after training in this process, with a progress that knows what each should cost."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from lib import jobs
from lib.errors import Stopped, UserError
from lib.jobs.processes import start_time_s
from lib.progress import Progress, ignore_progress
from lib.sweeps.plan import Entry, SweepPlan, SweepState, run_state
from lib.tracking.state import host_name
from lib.tracking.writer import RunWriter
from lib.training.config import TrainConfig
from lib.training.resolution import resolve_config

if TYPE_CHECKING:
    from lib.data.dataset import Dataset

Summary = dict[str, Any]
# Does one prepared run in this process: (run, listener, on_wait) to its summary, None if it was stopped.
Work = Callable[..., Summary | None]
_WRITE_S = 0.5
_AT_HAND_SHARE = 0.05


def is_training_of(config: Mapping[str, Any], wanted: TrainConfig) -> bool:
    """Whether a stored config is this resolved training; settings younger than the run have their defaults."""
    try:
        # What computes the frozen stages is no difference between two trainings, as the device is none.
        return dataclasses.replace(TrainConfig.from_dict(dict(config)), engine=wanted.engine) == wanted
    except (TypeError, ValueError, UserError):  # of a newer program, or of settings that are not allowed any more
        return False


def missing_entries(
    entries: Sequence[Entry], datasets: Mapping[str, "Dataset"], runs: Mapping[str, str]
) -> list[Entry]:
    """The entries that are not finished, or were made on other data or with other settings."""

    def is_done(entry: Entry) -> bool:
        is_finished = run_state(runs.get(entry.key)) == "finished"
        return is_finished and _fits(entry.begun(runs), datasets[entry.config.dataset], runs[entry.key])

    return [entry for entry in entries if not is_done(entry)]


class StepPace:
    """Counts steps of known cost; the time left follows from the steps done, and within a step from its own estimate.

    `costs_s` is about how long each step takes on the machine that the costs were measured on.
    """

    def __init__(self, costs_s: Sequence[float], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._costs_s, self._clock = list(costs_s), clock
        self._started_s = self._step_started_s = clock()
        self._index, self._done_cost_s, self._done_s, self._share = -1, 0.0, 0.0, 0.0
        self._own_left_s: float | None = None
        self._is_last_phase = False

    def begin(self, index: int) -> None:
        """Enter a step; the one before is done."""
        now = self._clock()
        took_s = now - self._step_started_s
        # What took next to nothing was at hand already and says nothing of the pace.
        if self._index >= 0 and took_s > _AT_HAND_SHARE * self._costs_s[self._index]:
            self._done_cost_s += self._costs_s[self._index]
            self._done_s += took_s
        self._index, self._step_started_s, self._own_left_s = index, now, None

    def drop(self, index: int) -> None:
        """A step that need not be done costs nothing."""
        self._costs_s[index] = 0.0

    def tell(self, seconds_left: float | None, *, is_last_phase: bool) -> None:
        """What the step itself says of its time left: of all of it in its last phase, else of the current phase."""
        self._own_left_s, self._is_last_phase = seconds_left, is_last_phase

    @property
    def seconds_left(self) -> float:
        """An estimate of the time for everything that is left."""
        if self._index < 0:
            return sum(self._costs_s)
        speed = self._done_s / self._done_cost_s if self._done_cost_s else 1.0
        planned_s = self._costs_s[self._index] * speed - (self._clock() - self._step_started_s)
        own_s = self._own_left_s
        step_left_s = planned_s if own_s is None else own_s if self._is_last_phase else max(own_s, planned_s)
        return max(step_left_s, 1.0) + speed * sum(self._costs_s[self._index + 1 :])

    @property
    def share(self) -> float:
        """The part that is done, 0 to 1; it never goes back."""
        self._share = max(self._share, self.seconds / (self.seconds + self.seconds_left))
        return self._share

    @property
    def seconds(self) -> float:
        """Time since the first step began."""
        return self._clock() - self._started_s


def run_sweep(plan: SweepPlan, *, progress: Progress = ignore_progress, work: Work | None = None) -> SweepState:
    """Do in this process what is missing of a sweep; a second call does nothing.

    Args:
        plan: of the sweep.
        progress: hears thousandths of the whole and a line of text.
        work: does one prepared run; by default `jobs.work`.

    Raises:
        UserError: another process is at it, or a training failed (the others are done all the same); the state
            keeps the sentence.
    """
    return _Runner(plan, progress, work).run()


class _Runner:
    """The work of one process on a sweep, from the data set to the last run; arguments as `run_sweep`."""

    def __init__(self, plan: SweepPlan, progress: Progress, work: Work | None) -> None:
        self.plan, self.entries, self.stop_file = plan, plan.entries, plan.path(".stop")
        self.progress, self.work = progress, work or jobs.work
        self.pace = StepPace([plan.dataset_cost_s, *(entry.cost_s for entry in self.entries)])
        self.written_s = 0.0

    def run(self) -> SweepState:
        """Do everything that is missing, to a final state whatever happens."""
        try:
            with FileLock(self.plan.path(".lock")).acquire(timeout=0), self.plan.heartbeats():
                before = self.plan.read()
                # A worker that a page began keeps the flag: somebody may have thought better of it meanwhile.
                if before.pid != os.getpid():
                    self.stop_file.unlink(missing_ok=True)
                pid = os.getpid()
                self.state = SweepState(
                    state="running", runs=self.plan.runs_at_hand(before),
                    pid=pid, pid_started_s=start_time_s(pid), host=host_name(),
                )  # fmt: skip
                return self._run_to_the_end()
        except Timeout:
            raise UserError(self.plan.busy.format(self.plan.plan_id)) from None

    def _run_to_the_end(self) -> SweepState:
        try:
            self._run()
        except (Stopped, KeyboardInterrupt):
            return self._end("stopped", f"Stopped on request. {self.plan.kept}")
        except UserError as error:
            self._end("failed", f"{error} {self.plan.kept}")
            raise
        except Exception:
            self._end("failed", f"Something unexpected happened. {self.plan.kept}")
            raise
        if problems := self.state.problems:
            titles = {entry.key: entry.title for entry in self.entries}
            # Each reason told once.
            told = (
                f"{', '.join(titles[key] for key in problems if problems[key] == reason)} failed: {reason}"
                for reason in dict.fromkeys(problems.values())
            )
            raise UserError(self._end("failed", f"{' '.join(told)} {self.plan.kept}").message)
        return self._end("finished", "")

    def _run(self) -> None:
        self._begin(0, self.plan.dataset_title)
        datasets = self.plan.open_datasets(self._dataset_progress)
        missing = missing_entries(self.entries, datasets, self.state.runs)
        for index, entry in enumerate(self.entries, start=1):
            if entry not in missing:
                self.pace.drop(index)
        for entry in missing:
            try:
                summary = self._do(entry, datasets[entry.config.dataset])
            except UserError as error:  # one that fails does not keep the others back
                problems = {**self.state.problems, entry.key: str(error)}
                self.state = dataclasses.replace(self.state, problems=problems)
                continue
            if summary is None:
                raise Stopped

    def _do(self, entry: Entry, dataset: "Dataset") -> Summary | None:
        self._begin(self.entries.index(entry) + 1, entry.title)
        if entry.follows in self.state.problems:
            raise UserError(self.state.problems[entry.follows])
        self._tell("opening the run store")
        run = _prepared_run(entry.begun(self.state.runs), dataset, self.state.runs.get(entry.key))
        runs = {**self.state.runs, entry.key: run.run_id}
        order = dict.fromkeys([*(one.key for one in self.entries), *runs])
        self.state = dataclasses.replace(self.state, runs={key: runs[key] for key in order if key in runs})
        self._write(is_forced=True)
        also = self.plan.listener(run)

        def listen(event: Any) -> None:
            also(event)
            if (phase := getattr(event, "phase", None)) is not None:
                self.pace.tell(getattr(event, "seconds_left", None), is_last_phase=phase == "Training")
                self._tell(str(phase))

        return self.work(run, listener=listen, on_wait=self._wait)

    def _begin(self, index: int, title: str) -> None:
        if self.stop_file.exists():
            raise Stopped
        self.pace.begin(index)
        self.state = dataclasses.replace(self.state, step=title, what="")
        self._write(is_forced=True)

    def _dataset_progress(self, done: int, total: int, what: str) -> None:
        if self.stop_file.exists():
            raise Stopped
        self._tell(f"{what} {done:,} of {total:,}" if total else what)

    def _wait(self, num_ahead: int) -> None:
        self._tell(f"waiting for {num_ahead} {'training' if num_ahead == 1 else 'trainings'} in front")

    def _tell(self, what: str) -> None:
        self.state = dataclasses.replace(self.state, what=what)
        self.progress(round(1000 * self.pace.share), 1000, f"{self.state.step}: {what}")
        self._write()

    def _write(self, *, is_forced: bool = False) -> None:
        if is_forced or time.monotonic() - self.written_s > _WRITE_S:
            self.written_s = time.monotonic()
            share, left = self.pace.share, self.pace.seconds_left
            self.state = dataclasses.replace(self.state, share=round(share, 4), seconds_left=round(left, 1))
            self.plan.keep(self.state)

    def _end(self, state: str, message: str) -> SweepState:
        share = 1.0 if state == "finished" else self.state.share
        seconds = round(self.pace.seconds, 1)
        self.state = self.state.ended(state, message, share=share, seconds_total=seconds, pid=None, pid_started_s=None)
        self.plan.keep(self.state)
        self.stop_file.unlink(missing_ok=True)
        return self.state


def _fits(entry: Entry, dataset: "Dataset", run_id: str) -> bool:
    """Whether a run is of this data set and these settings."""
    try:
        return is_training_of(RunWriter(run_id).config, resolve_config(entry.config, dataset))
    except (OSError, ValueError, UserError):
        return False


def _prepared_run(entry: Entry, dataset: "Dataset", run_id: str | None) -> RunWriter:
    """A run in the queue: the one that was broken off, to go on from its checkpoint, or a new one."""
    if run_id:
        jobs.reconcile()  # one whose process was killed still reads "running"
        if run_state(run_id) in ("stopped", "failed", "killed") and _fits(entry, dataset, run_id):
            return jobs.prepare_resume(run_id)
    # All runs of a sweep read one version, whatever is said of the classes while it is at work.
    config = dataclasses.replace(entry.config, dataset_version=dataset.version)
    return jobs.prepare(config, name=entry.name, tags=entry.tags)
