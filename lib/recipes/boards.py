"""Boards of published results, protocol by protocol, with the runs of the same kind beside them on the same axis."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from lib.data.specs import DatasetSpec
from lib.evaluation.classes import class_intervals
from lib.evaluation.headline import REFERABLE_GRADE
from lib.evaluation.intervals import metric_interval
from lib.evaluation.metric_table import ACCURACY, METRICS
from lib.evaluation.metrics import wilson_interval
from lib.recipes.published import PUBLISHED_METRICS, TASKS, published_protocols, stands_beside
from lib.recipes.spec import Protocol, PublishedResult
from lib.tracking.scores import run_score
from lib.tracking.tested import TestedRun

Figure = tuple[float, float, float]  # value and 95 % interval, NaN where it is not known
_UNKNOWN: Figure = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class BoardLine:
    """One line of a board: a published result, or one of our runs (then `strategy` is not empty).

    `mark` is what must be said beside the value: "other data", a place on a leaderboard, "" for nothing.
    """

    label: str
    value: float
    low: float = math.nan
    high: float = math.nan
    mark: str = ""
    source: str = ""
    strategy: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is a run of this program."""
        return bool(self.strategy)


@dataclass(frozen=True)
class Board:
    """Results that share a protocol, best first where they can be ranked; `protocol` is None of the selected runs."""

    title: str
    lines: tuple[BoardLine, ...]
    protocol: Protocol | None = None


def published_boards(
    metric: str,
    tested: Sequence[TestedRun],
    specs: Mapping[str, DatasetSpec | None],
    *,
    is_of_kind_only: bool = False,
) -> list[Board]:
    """The boards of a metric, task by task: the runs of that kind by themselves, then one board a protocol.

    A run on the very data of a protocol, or one that repeats its study, also stands in its board, below the published
    lines and marked; the two are never put in one order.

    Args:
        metric: a key of `PUBLISHED_METRICS`.
        tested: our runs.
        specs: run_id -> its data set; None where that is gone.
        is_of_kind_only: leave out tasks that none of the runs is of.
    """
    boards: list[Board] = []
    for task, words in TASKS.items():
        protocols = [one for one in published_protocols() if one.task == task and _has(one, metric)]
        beside = {one.name: _beside(one, tested, specs) for one in protocols}
        runs = [run for run in tested if any(run.run.run_id in found for found in beside.values())]
        if not protocols or (is_of_kind_only and not runs):
            continue
        figures = {run.run.run_id: run_figure(run, metric, task) for run in runs}
        runs = [run for run in runs if math.isfinite(figures[run.run.run_id][0])]
        own = []
        for run in runs:
            is_same = any(found.get(run.run.run_id) == "same data" for found in beside.values())
            mark = f"{'' if is_same else 'other data: '}{run.run.config.get('dataset')}"
            own.append(_own_line(run, figures[run.run.run_id], mark))
        if own:
            boards.append(Board(f"The selected runs: {words}", tuple(own)))
        for protocol in protocols:
            lines = [_published_line(line, metric, protocol) for line in protocol.lines if metric in line.values]
            if protocol.is_ranked:
                lines.sort(key=lambda line: line.value, reverse=not PUBLISHED_METRICS[metric][1])
            for run in runs:
                kind = beside[protocol.name].get(run.run.run_id)
                if kind == "same data" or (kind and run.run.config.get("recipe") in _recipes(protocol)):
                    lines.append(_own_line(run, figures[run.run.run_id], kind))
            number = f", n = {protocol.num_images:,}" if protocol.num_images else ""
            boards.append(Board(f"{protocol.title}{number}", tuple(lines), protocol))
    return boards


def run_figure(tested: TestedRun, metric: str, task: str) -> Figure:
    """A run's value of a published metric with its interval; for the task "referable" of grade 2 and above."""
    if metric == "validation_accuracy":
        found = tested.run.summary.get("val_accuracy")
        return (float(found), math.nan, math.nan) if isinstance(found, int | float) else _UNKNOWN
    if task == "referable":
        return _referable(tested, metric)
    entry = METRICS.get(metric)
    if entry is None or not entry.fits(is_ordinal=tested.is_ordinal, num_classes=len(tested.class_names)):
        return _UNKNOWN
    interval = metric_interval(entry, tested.targets, tested.probabilities, groups=tested.groups, folds=tested.folds)
    return interval.value, interval.low, interval.high


def boards_table(boards: Sequence[Board], metric: str) -> pd.DataFrame:
    """All lines of the boards with what must be known to read them, one row a line."""
    rows = []
    for board in boards:
        protocol = board.protocol
        for line in board.lines:
            rows.append(
                {
                    "board": board.title, "what": line.label, "is_ours": line.is_ours, "metric": metric,
                    "value": line.value, "low": line.low, "high": line.high, "mark": line.mark,
                    "source": line.source, "data": protocol.data if protocol else "",
                    "split": protocol.split if protocol else "", "definition": protocol.definition if protocol else "",
                    "comparable": protocol.comparable if protocol else "",
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _referable(tested: TestedRun, metric: str) -> Figure:
    """Of five grades: two classes, below moderate and from there on, by the most probable grade."""
    if metric == "auroc":
        score = run_score(tested.run)
        return _UNKNOWN if score is None else (score.referable_auroc, score.referable_low, score.referable_high)
    targets, answers = (np.asarray(one >= REFERABLE_GRADE, np.int64) for one in (tested.targets, tested.answers))
    if metric == "accuracy":
        found = metric_interval(ACCURACY, targets, np.eye(2)[answers], groups=tested.groups, folds=tested.folds)
        return found.value, found.low, found.high
    if metric not in ("sensitivity", "specificity"):
        return _UNKNOWN
    table = class_intervals(targets, answers, ["healthy", "referable"], groups=tested.groups)
    row = table.iloc[1 if metric == "sensitivity" else 0]
    return float(row["recall"]), float(row["recall_low"]), float(row["recall_high"])


def _has(protocol: Protocol, metric: str) -> bool:
    return any(metric in line.values for line in protocol.lines)


def _recipes(protocol: Protocol) -> set[str]:
    return {line.recipe for line in protocol.lines if line.recipe}


def _beside(protocol: Protocol, tested: Sequence[TestedRun], specs: Mapping[str, DatasetSpec | None]) -> dict[str, str]:
    """run_id -> "same data" or "other data", of those runs that stand beside a protocol."""
    found = {
        one.run.run_id: stands_beside(
            protocol, one.run.config, one.class_names, is_ordinal=one.is_ordinal, spec=specs.get(one.run.run_id)
        )
        for one in tested
    }
    return {run_id: kind for run_id, kind in found.items() if kind}


def _own_line(run: TestedRun, figure: Figure, mark: str) -> BoardLine:
    strategy = str(run.run.config.get("strategy") or "unknown")
    return BoardLine(run.label, *figure, mark=mark, source="this program", strategy=strategy)


def _published_line(line: PublishedResult, metric: str, protocol: Protocol) -> BoardLine:
    value = line.values[metric]
    low, high = line.intervals.get(metric, (math.nan, math.nan))
    if math.isnan(low) and line.confusion and metric in METRICS:
        low, high = _ends_of_matrix(line.confusion, metric)
    elif math.isnan(low) and metric == "accuracy" and protocol.num_images:
        low, high = wilson_interval(round(value * protocol.num_images), protocol.num_images)
    marks = []
    if line.places and metric == "quadratic_weighted_kappa":
        marks.append(f"place {line.places.replace('-', ' to ')} in 2016")
    if line.seconds:
        marks.append(_duration(line.seconds))
    return BoardLine(line.title, value, low, high, ", ".join(marks), line.source)


@lru_cache(maxsize=64)
def _ends_of_matrix(confusion: tuple[tuple[int, ...], ...], metric: str) -> tuple[float, float]:
    """The interval of a published figure, from the answers that its matrix counts."""
    matrix = np.array(confusion)
    true, called = np.divmod(np.repeat(np.arange(matrix.size), matrix.ravel()), len(matrix))
    found = metric_interval(METRICS[metric], true, np.eye(len(matrix))[called])
    return found.low, found.high


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
