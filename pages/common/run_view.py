"""What the live panel draws of a run: as it is now, or as it was at a moment of its recording. One panel for both."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lib import jobs, tracking
from lib.data.dataset import Dataset
from lib.errors import UserError
from lib.progress import duration
from lib.tracking import RunState
from lib.tracking.timeline import Timeline
from pages.common import resources
from pages.common.train_live import Fact

HISTORY_AGE_S = 10  # curves are read from the database this often, and after each epoch


@dataclass(frozen=True)
class RunView:
    """A run to draw; `timeline` and `seconds` are of a recording that is played, None of a run as it is."""

    run: RunState
    timeline: Timeline | None = None
    seconds: float = 0.0

    @classmethod
    def of_recording(cls, run: RunState, timeline: Timeline, seconds: float) -> "RunView":
        """The run as it was so many seconds after it began; at the end, as it is."""
        if seconds >= timeline.seconds:
            return cls(run, timeline, timeline.seconds)
        progress = timeline.at(seconds).progress
        then = dataclasses.replace(run, state="running", progress=progress, heartbeat_s=time.time(), notes=[])
        return cls(then, timeline, seconds)

    @property
    def is_recording(self) -> bool:
        """Whether this is a moment of a recording."""
        return self.timeline is not None

    @property
    def epoch(self) -> int | None:
        """The last epoch that had ended at this moment of a recording; None for a run as it is."""
        return self.timeline.at(self.seconds).epoch if self.timeline is not None else None

    @property
    def moment(self) -> tuple[object, ...]:
        """What changes when there is something new to draw."""
        if self.timeline is not None:
            return ("recording", sum(row[0] <= self.seconds for row in self.timeline.metrics))
        # The epoch is written after its numbers, so a new epoch shows at once; the age is for whatever was missed.
        return (self.run.state, self.run.progress.get("epoch"), int(self.run.heartbeat_s / HISTORY_AGE_S))

    def history(self, keys: Sequence[str]) -> pd.DataFrame:
        """The logged values so far: columns key, step, value."""
        if self.timeline is not None:
            return self.timeline.history(self.seconds, keys)
        return tracking.metric_history(self.run.run_id, keys)

    def confusions(self, prefix: str) -> dict[int, np.ndarray]:
        """Epoch -> confusion matrix of the validation images, so far."""
        found, newest = tracking.validation_confusions(self.run.run_id, prefix), self.epoch
        return found if newest is None else {epoch: matrix for epoch, matrix in found.items() if epoch <= newest}

    def log(self, lines: int) -> str:
        """The last lines of the log."""
        if self.timeline is not None:
            return self.timeline.log_until(self.seconds, lines)
        return jobs.tail_log(self.run.run_id, lines)

    @property
    def time_fact(self) -> Fact | None:
        """How far a recording is; stands where a run at work has its sign of life."""
        if self.timeline is None:
            return None
        total = duration(self.timeline.seconds)
        return ("Time of the training", f"{self.seconds:.0f} s", f"of {total}, recorded")


def dataset_of_run(config: Mapping[str, Any]) -> Dataset | None:
    """The data set at the version that a run reads; None if it is gone, or that version is not kept."""
    summary = resources.find_summary(str(config.get("dataset") or ""))
    if summary is None:
        return None
    try:
        return resources.cached_version(summary.name, str(config.get("dataset_version") or summary.version))
    except UserError:
        return None


def version_note(config: Mapping[str, Any]) -> str:
    """What became of the version that a run read, such as "... version 1f2e, now 9c8d"; empty if it is present."""
    version = str(config.get("dataset_version") or "")
    summary = resources.find_summary(str(config.get("dataset") or ""))
    if not version or summary is None or summary.version == version:
        return ""
    return f"Trained on version {version[:12]} of the data set, now {summary.version[:12]}."
