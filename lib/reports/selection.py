"""The selected runs as they are taken away: their answers, their comparison, and a table with every interval."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from lib.data.library import open_dataset
from lib.data.specs import DatasetSpec
from lib.errors import UserError
from lib.evaluation.intervals import Interval
from lib.evaluation.metric_table import METRICS, Metric
from lib.evaluation.roc import Question, find_question
from lib.grading.operating_point import DEFAULT_PREVALENCE, DEFAULT_SENSITIVITY
from lib.models.backbones import BACKBONES
from lib.tracking.comparison import Comparison, compare, stored_interval
from lib.tracking.records import RunRecord
from lib.tracking.tested import TestedRun
from lib.training.strategies import STRATEGIES


@dataclass(frozen=True, eq=False)
class Selection:
    """Runs, run_id -> label, their comparison by one metric, how answers are read, and the address of the view.

    `cutoff` is the key of the question that ROC and operating point are of ("" for the first one that can be asked);
    the operating point has at least that sensitivity, and predictive values at that prevalence.
    """

    runs: tuple[RunRecord, ...]
    labels: Mapping[str, str]
    comparison: Comparison
    read: Callable[[RunRecord], TestedRun]
    link: str = ""
    cutoff: str = ""
    sensitivity: float = DEFAULT_SENSITIVITY
    prevalence: float = DEFAULT_PREVALENCE

    @property
    def metric(self) -> Metric:
        """What they are compared by."""
        return self.comparison.metric

    @cached_property
    def tested(self) -> tuple[TestedRun, ...]:
        """The answers of the runs that have kept them."""
        found = []
        for run in self.runs:
            try:
                found.append(self.read(run))
            except UserError:
                continue
        return tuple(found)

    def question(self, tested: TestedRun, *, only_grades: bool = False) -> Question:
        """What is asked of a run's classes: by `cutoff` where it is one of their questions, else the first one."""
        return find_question(tested.class_names, self.cutoff, is_ordinal=tested.is_ordinal, only_grades=only_grades)

    def interval(self, run: RunRecord, metric: Metric) -> Interval:
        """A metric of a run with its interval: from its answers, else as it is stored."""
        tested = next((one for one in self.tested if one.run.run_id == run.run_id), None)
        if tested is None:
            return stored_interval(run, metric)
        if not metric.fits(is_ordinal=tested.is_ordinal, num_classes=len(tested.class_names)):
            return Interval(math.nan, reason="needs ordered classes")
        return tested.interval(metric)

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that there are of any of the runs, that on screen first."""
        ordered = sorted(METRICS.values(), key=lambda metric: metric is not self.metric)
        return tuple(one for one in ordered if any(math.isfinite(self.interval(run, one).value) for run in self.runs))

    def facts(self, run: RunRecord) -> dict[str, Any]:
        """What a run is, in words and numbers: heading -> cell."""
        config, summary = run.config, run.summary
        backbone, strategy = str(config.get("backbone", "")), str(config.get("strategy", ""))
        return {
            "run": self.labels[run.run_id],
            "run id": run.run_id,
            "state": run.state,
            "recipe": config.get("recipe") or "",
            "data set": config.get("dataset") or "",
            "data version": config.get("dataset_version") or "",
            "classes merged": config.get("target_map") or "",
            "backbone": BACKBONES.get(backbone).title if backbone in BACKBONES else backbone,
            "strategy": STRATEGIES.get(strategy).title if strategy in STRATEGIES else strategy,
            "epochs": config.get("epochs"),
            "learning rate": config.get("learning_rate"),
            "seed": config.get("seed"),
            "split seed": config.get("split_seed"),
            "folds": config.get("num_folds"),
            "training images": summary.get("num_train"),
            "test images": summary.get("num_test"),
            "seconds": summary.get("seconds_total"),
        }

    def numbers(self) -> pd.DataFrame:
        """One row a run: what it is, and each metric in columns of its own: value, ends of the interval, method."""
        rows = []
        for run in self.runs:
            row = self.facts(run)
            for metric in self.metrics:
                found = self.interval(run, metric)
                row |= {
                    metric.key: found.value, f"{metric.key}_low": found.low, f"{metric.key}_high": found.high,
                    f"{metric.key}_interval": found.method or found.reason,
                }  # fmt: skip
            rows.append(row)
        return pd.DataFrame(rows)

    def texts(self) -> pd.DataFrame:
        """The same as a person reads it: columns in which all runs are alike and empty are left out."""
        facts = pd.DataFrame([self.facts(run) for run in self.runs])
        named = [
            "run",
            "recipe",
            "data set",
            "classes merged",
            "backbone",
            "strategy",
            "epochs",
            "folds",
            "test images",
        ]
        kept = [name for name in named if not facts[name].isna().all() and (facts[name].astype(str) != "").any()]
        shown = facts[kept].astype(object).where(facts[kept].notna(), "")
        shown = shown.map(lambda cell: f"{cell:g}" if isinstance(cell, float) else str(cell))
        for metric in self.metrics:
            shown[f"{metric.title} (95 % interval)"] = [
                interval_words(self.interval(run, metric), metric) for run in self.runs
            ]
        shown["seconds"] = ["" if pd.isna(value) else f"{value:.0f}" for value in facts["seconds"]]
        return shown


def spec_of(run: RunRecord) -> DatasetSpec | None:
    """What a run's data set is, at the version that it read where that is kept; None where it is gone."""
    name, version = str(run.config.get("dataset") or ""), run.config.get("dataset_version")
    for kept in dict.fromkeys((version, None)):
        try:
            return open_dataset(name, version=kept).spec
        except UserError:
            continue
    return None


def select(
    runs: Sequence[RunRecord],
    metric: Metric,
    labels: Mapping[str, str],
    read: Callable[[RunRecord], TestedRun],
    *,
    num_looks: Mapping[str, int] | None = None,
) -> Selection:
    """Runs, the best first, with their comparison by a metric; arguments as `lib.tracking.comparison.compare`."""
    kept: dict[str, TestedRun] = {}

    def read_once(run: RunRecord) -> TestedRun:
        if run.run_id not in kept:
            kept[run.run_id] = read(run)
        return kept[run.run_id]

    found = compare(runs, metric, labels, read_once, num_looks=num_looks)
    return Selection(tuple(run for row in found.rows for run in row.runs), labels, found, read_once)


def interval_words(found: Interval, metric: Metric) -> str:
    """Such as "0.71 (0.66 to 0.76)", or the value with the reason why there is no interval."""
    value = metric.text(found.value)
    if found.is_known:
        return f"{value} ({metric.text(found.low)} to {metric.text(found.high)})"
    return f"{value} ({found.reason})" if found.reason and math.isfinite(found.value) else found.reason or value
