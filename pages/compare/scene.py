"""What the views of "Compare runs" look at: the selected runs, what to call them, and their answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from lib.errors import UserError
from lib.tracking import RunRecord
from lib.tracking.tested import TestedRun, read_tested
from pages.common import resources
from pages.common.results import short_labels


@dataclass(frozen=True, eq=False)
class Scene:
    """The selected runs in the order of the board, and run_id -> what differs between them."""

    runs: tuple[RunRecord, ...]
    labels: dict[str, str]

    @classmethod
    def of(cls, runs: Sequence[RunRecord]) -> "Scene":
        """The scene of the runs that were selected."""
        return cls(tuple(runs), short_labels(runs))

    def tested(self) -> list[TestedRun]:
        """Those of the runs that have kept their answers, with them."""
        found = [tested_run(run, self.labels[run.run_id]) for run in self.runs]
        return [one for one in found if one is not None]


def tested_run(run: RunRecord, label: str) -> TestedRun | None:
    """A run's answers through the bounded cache; None where it has kept none."""
    try:
        return _cached_tested((run.run_id, run.ended_s, run.config.get("dataset")), label, _run=run)
    except UserError:
        return None


@st.cache_resource(max_entries=64, show_spinner=False)
def _cached_tested(key: tuple[Any, ...], label: str, *, _run: RunRecord) -> TestedRun:
    return read_tested(_run, label, read=lambda run: resources.cached_predictions(run.run_id, run.ended_s))
