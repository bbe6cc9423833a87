"""What the views of "Compare runs" look at: the selected runs, what to call them, and their answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import streamlit as st

from lib.errors import UserError
from lib.evaluation.metric_table import KAPPA, METRICS, Metric
from lib.tracking import RunRecord
from lib.tracking.scores import judged_by
from lib.tracking.tested import TestedRun, read_tested
from pages.common import resources, state
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

    @cached_property
    def metric(self) -> Metric:
        """The metric on screen (key `metric` of the link): by default the one that these runs are judged by."""
        asked = METRICS.get(state.current("metric") or "")
        if asked is not None and asked in self.metrics:
            return asked
        return judged_by(self.runs)

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that there are of any of the runs, in the order of their table."""

        has_kappa = any(run.summary.get(f"test_{KAPPA.key}") is not None for run in self.runs)
        return tuple(metric for metric in METRICS.values() if has_kappa or not metric.needs_order)

    def choose_metric(self) -> Metric:
        """Draw the choice of the metric on screen, which every view shares, and return it."""
        st.session_state["compare_metric"] = self.metric.key
        st.segmented_control(
            "Metric", [metric.key for metric in self.metrics], key="compare_metric", required=True,
            format_func=lambda key: METRICS[key].title, label_visibility="collapsed",
            on_change=lambda: state.remember("metric", st.session_state["compare_metric"]),
        )  # fmt: skip
        return self.metric

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
