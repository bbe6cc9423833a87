"""Makes what a series lacks, run after run, all in this process; a second call does nothing."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock, Timeout

from lib.errors import Stopped, UserError
from lib.jobs.processes import start_time_s
from lib.progress import Progress
from lib.series.progress import StepPace
from lib.series.state import SeriesFiles, SeriesState, heartbeats, read_series, run_state, write_series
from lib.tracking.state import host_name

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.tracking.writer import RunWriter
    from lib.training.config import TrainConfig

_WRITE_S = 0.5
# Does one prepared run in this process: (run, listener, on_wait) to its summary, None if it was stopped.
Work = Callable[..., dict[str, Any] | None]


class SeriesEntry(Protocol):
    """One run of a series: a key of its own, a title in plain words, the run's name, tags and training.

    `cost_s` is about how long it takes; it only shapes the progress bar, since the pace so far scales what is left.
    """

    @property
    def key(self) -> str: ...  # noqa: D102
    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def cost_s(self) -> float: ...  # noqa: D102
    @property
    def tags(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def config(self) -> "TrainConfig": ...  # noqa: D102


def named_dataset(name: str) -> "Callable[[Progress], Dataset]":
    """Opens a data set that is in the library already, as the first step of a series."""

    def opened(_: Progress) -> "Dataset":
        from lib.data.library import open_dataset

        return open_dataset(name)

    return opened


class Series:
    """The work of one process on a series, from the data set to the last run.

    Args:
        files: where its state is kept.
        entries: its runs, in order.
        dataset_title: the title of the first step.
        dataset_cost_s: about how long the first step takes where the data set must be made.
        open_dataset: opens or makes the data set, given a progress function.
        progress: hears thousandths of the whole and a line of text.
        work: does one prepared run; by default `jobs.work`.
        busy_message: the sentence for a second process that wants to do the same.
    """

    def __init__(
        self,
        files: SeriesFiles,
        entries: Sequence[SeriesEntry],
        *,
        open_dataset: Callable[[Progress], "Dataset"],
        progress: Progress,
        work: Work | None,
        busy_message: str,
        dataset_title: str = "Opening the data set",
        dataset_cost_s: float = 1.0,
    ) -> None:
        self.files, self.entries = files, entries
        self.dataset_title, self.open_dataset = dataset_title, open_dataset
        self.progress, self.work, self.busy_message = progress, work or work_here, busy_message
        self.pace = StepPace([dataset_cost_s, *(entry.cost_s for entry in entries)])
        self.written_s = 0.0
        self.failures: dict[str, list[str]] = {}  # reason -> titles

    def run(self) -> SeriesState:
        """Do everything that is missing, to a final state whatever happens.

        Raises:
            UserError: another process is at it, or something failed; the sentence says what, the state keeps it.
        """
        lock = FileLock(self.files.lock)
        try:
            with lock.acquire(timeout=0), heartbeats(self.files):
                # A worker that a page began keeps the flag: somebody may have thought better of it meanwhile.
                if read_series(self.files).pid != os.getpid():
                    self.files.stop.unlink(missing_ok=True)
                return self._run_to_the_end()
        except Timeout:
            raise UserError(self.busy_message) from None

    def _run_to_the_end(self) -> SeriesState:
        self.state = SeriesState(
            state="running",
            runs=dict(read_series(self.files).runs),
            pid=os.getpid(),
            pid_started_s=start_time_s(os.getpid()),
            host=host_name(),
        )
        try:
            self._run()
        except (Stopped, KeyboardInterrupt):
            return self._end("stopped", self.files.stopped_message)
        except UserError as error:
            self._end("failed", f"{error} {self.files.kept}")
            raise
        except Exception:
            self._end("failed", f"Something unexpected happened. {self.files.kept}")
            raise
        if self.failures:
            raise UserError(self._end("failed", f"{self._failed()} {self.files.kept}").message)
        return self._end("finished", "")

    def _run(self) -> None:
        self._begin(0, self.dataset_title)
        dataset = self.open_dataset(self._dataset_progress)
        missing = missing_entries(self.entries, dataset, self.state.runs)
        for index, entry in enumerate(self.entries, start=1):
            if entry not in missing:
                self.pace.drop(index)
        for entry in missing:
            self._begin(self.entries.index(entry) + 1, entry.title)
            self._do(entry, dataset)

    def _do(self, entry: SeriesEntry, dataset: "Dataset") -> None:
        self._tell("opening the run store")
        try:
            run = _prepared_run(entry, dataset, self.state.runs.get(entry.key))
        except UserError as error:
            self.failures.setdefault(str(error), []).append(entry.title)
            return
        order = [one.key for one in self.entries]
        runs = {**self.state.runs, entry.key: run.run_id}
        runs = {key: runs[key] for key in [*order, *(key for key in runs if key not in order)] if key in runs}
        self.state = dataclasses.replace(self.state, runs=runs)
        self._write(is_forced=True)
        try:
            summary = self.work(run, listener=self.listener(run), on_wait=self._wait)
        except UserError as error:
            self.failures.setdefault(str(error), []).append(entry.title)
            return
        if summary is None:
            raise Stopped

    def listener(self, run: "RunWriter") -> Callable[[Any], None]:
        """What hears the events of a run."""
        return self._listen

    def _begin(self, index: int, title: str) -> None:
        if self.files.stop.exists():
            raise Stopped
        self.pace.begin(index)
        self.state = dataclasses.replace(self.state, step=title, what="")
        self._write(is_forced=True)

    def _dataset_progress(self, done: int, total: int, what: str) -> None:
        if self.files.stop.exists():
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
            write_series(self.files, self.state)

    def _failed(self) -> str:
        """What went wrong, each reason told once."""
        return " ".join(f"{', '.join(titles)} failed: {reason}" for reason, titles in self.failures.items())

    def _end(self, state: str, message: str) -> SeriesState:
        share = 1.0 if state == "finished" else self.state.share
        self.state = dataclasses.replace(
            self.state, state=state, message=message, step="", what="", share=share, seconds_left=None,
            seconds_total=round(self.pace.seconds, 1), pid=None, pid_started_s=None,
        )  # fmt: skip
        write_series(self.files, self.state)
        self.files.stop.unlink(missing_ok=True)
        return self.state


def missing_entries(entries: Sequence[SeriesEntry], dataset: "Dataset", runs: Mapping[str, str]) -> list[SeriesEntry]:
    """The entries that are not finished, or were made on other data or with other settings."""
    return [
        entry
        for entry in entries
        if run_state(runs.get(entry.key)) != "finished" or not _fits(entry, dataset, runs[entry.key])
    ]


def work_here(run: "RunWriter", **listeners: Any) -> dict[str, Any] | None:
    """Do one prepared run in this process."""
    from lib import jobs

    return jobs.work(run, **listeners)


def _fits(entry: SeriesEntry, dataset: "Dataset", run_id: str) -> bool:
    """Whether a run is of this data set and these settings."""
    from lib.tracking.writer import RunWriter
    from lib.training.config import TrainConfig
    from lib.training.resolution import resolve_config

    try:
        wanted = resolve_config(entry.config, dataset)
        # What computes the frozen stages is no difference between two trainings, as the device is none.
        return dataclasses.replace(TrainConfig.from_dict(RunWriter(run_id).config), engine=wanted.engine) == wanted
    except (OSError, ValueError, UserError):
        return False


def _prepared_run(entry: SeriesEntry, dataset: "Dataset", run_id: str | None) -> "RunWriter":
    """A run in the queue: the one that was broken off, to go on from its checkpoint, or a new one."""
    from lib import jobs

    if run_id:
        jobs.reconcile()  # one whose process was killed still reads "running"
    if run_state(run_id) in ("stopped", "failed", "killed") and _fits(entry, dataset, str(run_id)):
        return jobs.prepare_resume(str(run_id))
    # All runs of a series read one version, whatever is said of the classes while it is at work.
    config = dataclasses.replace(entry.config, dataset_version=dataset.version)
    return jobs.prepare(config, name=entry.name, tags=entry.tags)
