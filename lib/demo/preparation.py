"""Makes what the demo lacks: the data set, then run after run, all in this process; a second call does nothing."""

import dataclasses
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from lib.demo.progress import StepPace
from lib.demo.state import (
    KEPT_MESSAGE,
    STOPPED_MESSAGE,
    DemoState,
    demo_file,
    read_demo,
    run_state,
    stop_file,
    write_demo,
)
from lib.demo.story import DATASET_COST_S, DEMO_TAG, STORY, DemoRun
from lib.errors import Stopped, UserError
from lib.jobs.processes import start_time_s
from lib.progress import Progress, ignore_progress
from lib.tracking.state import host_name

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.tracking.writer import RunWriter

DATASET_TITLE = "Generated fundus images"
_WRITE_S = 0.5
# Does one prepared run in this process: (run, listener, on_wait) to its summary, None if it was stopped.
Work = Callable[..., dict[str, Any] | None]


def prepare(*, progress: Progress = ignore_progress, work: Work | None = None) -> DemoState:
    """Make the data set and the runs of the story that are missing; returns the state at the end.

    Raises:
        UserError: another process is preparing, or something failed; the sentence says what, the state keeps it.
    """
    lock = FileLock(demo_file().with_suffix(".lock"))
    try:
        with lock.acquire(timeout=0):
            # A worker that the start page began keeps the flag: somebody may have thought better of it meanwhile.
            if read_demo().pid != os.getpid():
                stop_file().unlink(missing_ok=True)
            return _Preparation(progress, work or _work_here).run()
    except Timeout:
        raise UserError("The demo is being prepared already; the start page shows how far it is.") from None


def missing_runs(dataset: "Dataset", runs: dict[str, str]) -> list[DemoRun]:
    """The runs of the story that are not finished, or were made on other data or with other settings."""
    return [entry for entry in STORY if not _is_finished(entry, dataset, runs.get(entry.strategy))]


class _Preparation:
    def __init__(self, progress: Progress, work: Work) -> None:
        self.progress, self.work = progress, work
        self.state = DemoState(
            state="running",
            runs=dict(read_demo().runs),
            pid=os.getpid(),
            pid_started_s=start_time_s(os.getpid()),
            host=host_name(),
        )
        # Until the data set is there nobody knows which runs are missing: assume all of them.
        self.pace = StepPace([DATASET_COST_S, *(entry.cost_s for entry in STORY)])
        self.written_s = 0.0
        self.failures: list[str] = []

    def run(self) -> DemoState:
        """The whole preparation, to a final state whatever happens."""
        try:
            self._run()
        except (Stopped, KeyboardInterrupt):
            return self._end("stopped", STOPPED_MESSAGE)
        except UserError as error:
            self._end("failed", f"{error} {KEPT_MESSAGE}")
            raise
        except Exception:
            self._end("failed", f"Something unexpected happened. {KEPT_MESSAGE}")
            raise
        if self.failures:
            raise UserError(self._end("failed", f"{' '.join(self.failures)} {KEPT_MESSAGE}").message)
        return self._end("finished", "")

    def _run(self) -> None:
        from lib.data.library import ensure_default_dataset

        self._begin(0, DATASET_TITLE)
        dataset = ensure_default_dataset(self._dataset_progress)
        missing = missing_runs(dataset, self.state.runs)
        for index, entry in enumerate(STORY, start=1):
            if entry not in missing:
                self.pace.drop(index)
        for entry in missing:
            self._begin(STORY.index(entry) + 1, entry.title)
            self._do(entry, dataset)

    def _do(self, entry: DemoRun, dataset: "Dataset") -> None:
        self._tell("opening the run store")
        run = _prepared_run(entry, dataset, self.state.runs.get(entry.strategy))
        order = [one.strategy for one in STORY]
        runs = {**self.state.runs, entry.strategy: run.run_id}
        self.state = dataclasses.replace(self.state, runs=dict(sorted(runs.items(), key=lambda r: order.index(r[0]))))
        self._write(is_forced=True)
        try:
            summary = self.work(run, listener=self._listen, on_wait=self._wait)
        except UserError as error:
            self.failures.append(f"{entry.title} failed: {error}")
            return
        if summary is None:
            raise Stopped

    def _begin(self, index: int, title: str) -> None:
        if stop_file().exists():
            raise Stopped
        self.pace.begin(index)
        self.state = dataclasses.replace(self.state, step=title, what="")
        self._write(is_forced=True)

    def _dataset_progress(self, done: int, total: int, what: str) -> None:
        if stop_file().exists():
            raise Stopped
        self._tell(f"{what} {done:,} of {total:,}" if total else what)

    def _listen(self, event: Any) -> None:
        phase = getattr(event, "phase", None)
        if phase is None:
            return
        self.pace.tell(getattr(event, "seconds_left", None), is_last_phase=phase == "Training")
        self._tell(str(phase))

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
            write_demo(self.state)

    def _end(self, state: str, message: str) -> DemoState:
        share = 1.0 if state == "finished" else self.state.share
        self.state = dataclasses.replace(
            self.state, state=state, message=message, step="", what="", share=share, seconds_left=None,
            seconds_total=round(self.pace.seconds, 1), pid=None, pid_started_s=None,
        )  # fmt: skip
        write_demo(self.state)
        stop_file().unlink(missing_ok=True)
        return self.state


def _is_finished(entry: DemoRun, dataset: "Dataset", run_id: str | None) -> bool:
    return run_state(run_id) == "finished" and _fits(entry, dataset, str(run_id))


def _fits(entry: DemoRun, dataset: "Dataset", run_id: str) -> bool:
    """Whether a run is of this data set and these settings."""
    from lib.tracking.writer import RunWriter
    from lib.training.config import TrainConfig
    from lib.training.resolution import resolve_config

    try:
        return TrainConfig.from_dict(RunWriter(run_id).config) == resolve_config(entry.config, dataset)
    except (OSError, ValueError, UserError):
        return False


def _prepared_run(entry: DemoRun, dataset: "Dataset", run_id: str | None) -> "RunWriter":
    """A run in the queue: the one that was broken off, to go on from its checkpoint, or a new one."""
    from lib import jobs

    if run_state(run_id) in ("stopped", "failed", "killed") and _fits(entry, dataset, str(run_id)):
        return jobs.prepare_resume(str(run_id))
    return jobs.prepare(entry.config, name=entry.name, tags={DEMO_TAG: entry.strategy})


def _work_here(run: "RunWriter", **listeners: Any) -> dict[str, Any] | None:
    from lib import jobs

    return jobs.work(run, **listeners)
