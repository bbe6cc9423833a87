"""One run as a row: what its settings say, and what its answers to the test images are worth, with intervals.

A row is worked out once and kept (lib/tracking/summary_table.py); what a person says of a run, its name and its state
stand in the run store and are not part of it.
"""

import hashlib
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.evaluation import headline, intervals, metric_table, metrics, resampling, weighted
from lib.evaluation.intervals import metric_interval
from lib.evaluation.metric_table import METRICS
from lib.grading import external
from lib.models.freezing import stage_plan
from lib.tracking import RunRecord, scores, tested
from lib.tracking.scores import beside_metrics, trained_classes
from lib.tracking.state import PREDICTIONS_FILE, SUMMARY_FILE
from lib.tracking.tested import read_tested
from lib.training.strategies import STRATEGIES

FORMAT_VERSION = 1
_BESIDE = ("headline", "baseline_class", "test_baseline_accuracy", "test_referable_auroc", "test_set")
_FROM_SUMMARY = ("num_train", "num_test", "seconds_total", "seconds_features", "seconds_training")
_FROM_CONFIG = ("dataset", "dataset_version", "backbone", "strategy", "recipe", "target_map", "learning_rate", "seed",
                "split_seed", "num_folds", "batch_size", "weights", "head")  # fmt: skip
_FIGURES_FROM = (external, headline, intervals, metric_table, metrics, resampling, weighted, scores, tested)


def made_of(folder: str) -> str:
    """What a row of a run is made of, as a key that changes with it: files of its folder, and the code."""
    parts = [code_of_figures()]
    for name in (SUMMARY_FILE, PREDICTIONS_FILE, external.FOLDER):
        try:
            found = os.stat(f"{folder}/{name}")  # noqa: PTH116  (thousands of them: a Path takes three times as long)
            parts.append(f"{found.st_mtime_ns:x}-{found.st_size:x}")
        except OSError:
            parts.append("")
    if parts[-1]:  # a result that was made again takes the place of a former one
        with suppress(OSError), os.scandir(f"{folder}/{external.FOLDER}") as entries:
            parts += sorted(f"{entry.stat().st_mtime_ns:x}" for entry in entries)
    return "|".join(parts)


@lru_cache(maxsize=1)
def code_of_figures() -> str:
    """A hash of the code that works figures out: another version of it works them out anew."""
    files = sorted({Path(str(module.__file__)) for module in _FIGURES_FROM} | {Path(__file__)})
    return hashlib.sha256(b"".join(file.read_bytes() for file in files) + bytes([FORMAT_VERSION])).hexdigest()[:12]


def describe_run(run: RunRecord) -> dict[str, Any]:
    """The row of a run without the figures that take time: those that it has kept itself, by their names.

    Metrics are `test_KEY` with `test_KEY_low` and `test_KEY_high`; None where there is none.
    """
    figures = {**run.metrics, **run.summary}
    row: dict[str, Any] = {key: run.config.get(key) for key in _FROM_CONFIG}
    row |= {key: figures.get(key) for key in _FROM_SUMMARY}
    row["epochs_asked"] = run.config.get("epochs")
    beside = {**figures, "headline": figures.get("headline")}
    row |= {key: beside.get(key) for key in _BESIDE}
    for key in METRICS:
        row |= {f"test_{key}{end}": figures.get(f"test_{key}{end}") for end in ("", "_low", "_high")}
    row["num_trained"], row["num_parameters"] = count_parameters(run)
    return {key: _plain(value) for key, value in row.items()}


def summarise_run(run: RunRecord) -> dict[str, Any]:
    """The whole row of a run: as `describe_run`, with every metric and its interval from the run's own answers.

    `test_KEY_reason` says why a metric has no interval; `lacks_dataset` that the data set was not there to tell which
    images are of one patient.
    """
    from lib.data.library import open_dataset

    row = describe_run(run)
    if run.state != "finished":
        return row
    row |= _elsewhere(run)
    figures = {**run.metrics, **run.summary}
    beside = beside_metrics(run.folder, figures)
    row |= {key: _plain({**beside, **figures}.get(key)) for key in _BESIDE}
    try:
        found = read_tested(run, run.short_id)
    except (UserError, OSError, ValueError, KeyError):
        return row  # without answers its own figures are all that there is
    try:
        open_dataset(str(run.config.get("dataset")))
    except UserError:
        row["lacks_dataset"] = True
    row["num_classes"] = len(found.class_names)
    row["has_groups"] = found.groups is not None
    for key, metric in METRICS.items():
        if not metric.fits(is_ordinal=found.is_ordinal, num_classes=len(found.class_names)):
            continue
        one = metric_interval(metric, found.targets, found.probabilities, groups=found.groups, folds=found.folds)
        row |= {
            f"test_{key}": _plain(one.value),
            f"test_{key}_low": _plain(one.low),
            f"test_{key}_high": _plain(one.high),
        }
        row[f"test_{key}_reason"] = one.reason
    return row


def _elsewhere(run: RunRecord) -> dict[str, Any]:
    """The run on other data sets, newest first: in words, and the newest result in numbers."""
    found = [result for result in external.external_results(run.run_id) if not result.is_own]
    words = []
    for result in found:
        metric, score = result.headline, result.scores[result.headline.key]
        ends = f" ({metric.text(score.external.low)} to {metric.text(score.external.high)})"
        interval = ends if score.external.is_known else ""
        words.append(f"{result.title or result.dataset}: {metric.word} {metric.text(score.external.value)}{interval}")
    if not found:
        return {}
    newest = found[0].scores[found[0].headline.key]
    return {"external": words, "external_value": _plain(newest.external.value),
            "external_delta": _plain(newest.delta.value)}  # fmt: skip


def is_outdated(row: Mapping[str, Any], datasets: Mapping[str, Any]) -> bool:
    """Whether a row was made without its data set, which is there now."""
    return bool(row.get("lacks_dataset")) and row.get("dataset") in datasets


def count_parameters(run: RunRecord) -> tuple[int | None, int | None]:
    """How many parameters a run trained, and of how many; None where its network is not in the tables any more."""
    config = run.config
    strategy = STRATEGIES.get(str(config.get("strategy"))) if config.get("strategy") in STRATEGIES else None
    if strategy is None or not config.get("backbone"):
        return None, None
    classes = trained_classes(run.folder)
    head = config.get("head") or strategy.default_head
    asked = (config.get("unfreeze_from"), config.get("feature_stage"), head, config.get("output") or "softmax")
    return _count_parameters(str(config["backbone"]), strategy.name, asked, len(classes[0]) if classes else 2)


@lru_cache(maxsize=4096)
def _count_parameters(
    backbone: str, strategy: str, asked: tuple[str | None, str | None, str, str], num_classes: int
) -> tuple[int | None, int | None]:
    unfreeze_from, feature_stage, head, output = asked
    try:
        plan = stage_plan(
            backbone, STRATEGIES.get(strategy).trains_backbone, unfreeze_from, feature_stage=feature_stage, head=head,
            output=output, num_classes=num_classes,
        )  # fmt: skip
    except UserError:
        return None, None
    return sum(part.num_parameters for part in plan if part.is_trainable), sum(part.num_parameters for part in plan)


def _plain(value: Any) -> Any:
    """As JSON can hold it: a number that is not finite is None."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
