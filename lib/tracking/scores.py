"""What a run is judged by, and two runs side by side on the test images that both answered.

Read from the folder; of a run older than the figures asked for, from its predictions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.atomic import read_json
from lib.errors import UserError
from lib.evaluation.comparison import PairedComparison, compare_paired
from lib.evaluation.headline import Score, key_of_tested_images, score_figures
from lib.evaluation.metric_table import ACCURACY, KAPPA, METRICS
from lib.evaluation.metrics import fold_mean
from lib.tracking.records import RunRecord, predictions
from lib.tracking.state import BUNDLE_FOLDER, PREDICTIONS_FILE

# Without these a summary is older than the figures beside the metrics.
_LATER_METRICS = ("macro_f1", "calibration_error")
_YOUNGER = ("headline", "test_baseline_accuracy", "test_set", *(f"test_{key}" for key in _LATER_METRICS))


def run_score(run: RunRecord) -> Score | None:
    """The score of a run; None before it has finished."""
    return folder_score(run.folder, {**run.metrics, **run.summary})


def folder_score(folder: Path, figures: Mapping[str, Any]) -> Score | None:
    """The score of a run by its folder and its final figures; None if it has none."""
    return Score.of({**beside_metrics(folder, figures), **{k: v for k, v in figures.items() if v is not None}})


def beside_metrics(folder: Path, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Headline, baseline, later metrics and test set of a run whose summary lacks them; empty if it has them.

    Empty too where its predictions are gone or cannot be read: then there is nothing to say.
    """
    path = folder / PREDICTIONS_FILE
    if all(key in figures for key in _YOUNGER) or figures.get("test_accuracy") is None or not path.is_file():
        return {}
    has_kappa = figures.get(f"test_{KAPPA.key}") is not None
    return dict(_from_predictions(path, path.stat().st_mtime_ns, has_kappa=has_kappa))


@lru_cache(maxsize=8192)  # a list of runs is gone through in order: a smaller one would forget all of it
def _from_predictions(path: Path, changed_ns: int, *, has_kappa: bool) -> dict[str, Any]:
    """The predictions of a finished run never change; without intervals, since lists ask for many runs at once."""
    try:
        table = pd.read_parquet(path)
        table = table[table["split"] == "test"]
        columns = probability_columns(table)
        targets, probabilities = table["target"].to_numpy(np.int64), table[columns].to_numpy(np.float64)
        class_names, is_ordinal = _classes(path.parent, len(columns), has_kappa=has_kappa)
        folds = table["fold"].to_numpy() if "fold" in table and table["fold"].nunique() > 1 else None
        found = score_figures(targets, probabilities, class_names, is_ordinal=is_ordinal, folds=folds, num_draws=0)
        for key in _LATER_METRICS:
            found[key] = fold_mean(METRICS[key].compute, targets, probabilities, folds)
    except (OSError, ValueError, KeyError, IndexError):
        return {}
    about = {key: found[key] for key in ("headline", "baseline_class")}
    about["test_set"] = key_of_tested_images(table["image_id"], targets)
    return about | {f"test_{key}": value for key, value in found.items() if key not in about}


def probability_columns(table: "pd.DataFrame") -> list[str]:
    """The columns probability_0, probability_1, ... of a table of predictions, in the order of the classes."""
    columns = (name for name in table.columns if name.startswith("probability_"))
    return sorted(columns, key=lambda name: int(name.rpartition("_")[2]))


def trained_classes(folder: Path) -> tuple[list[str], bool] | None:
    """Class names of a run's classifier, and whether they are grades; None where its bundle does not say."""
    try:
        manifest = read_json(folder / BUNDLE_FOLDER / "manifest.json")
        about = manifest.get("dataset")
        return list(manifest["classes"]), bool(about.get("is_ordinal")) if isinstance(about, dict) else False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _classes(folder: Path, num_classes: int, *, has_kappa: bool) -> tuple[list[str], bool]:
    found = trained_classes(folder)
    if found is not None and len(found[0]) == num_classes:
        return found
    # Of three classes and more, only ordered ones were given a kappa.
    return [f"unnamed class {number}" for number in range(num_classes)], has_kappa and num_classes > 2


@dataclass(frozen=True)
class RunComparison:
    """What comes of two runs: a sentence in any case, and the paired comparison where there is one."""

    sentence: str
    paired: PairedComparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """What the command prints; `n` is 0 where nothing was compared."""
        if self.paired is None:
            return {"n": 0, "sentence": self.sentence}
        keys = ("metric", "difference", "low", "high", "p_value", "n")
        return {**{key: getattr(self.paired, key) for key in keys}, "sentence": self.sentence}


def compare_runs(
    first: RunRecord,
    second: RunRecord,
    names: tuple[str, str],
    read: "Callable[[RunRecord], pd.DataFrame] | None" = None,
) -> RunComparison:
    """Compare two runs by the metric that both are judged by, image by image, whole patients at a time.

    `names` are what to call them in the sentence, `read` gives a run's predictions (from its folder by default). Where
    data sets or classes differ, no test image is shared or predictions are gone, the sentence says why there is none.
    """
    from lib.data.library import image_groups

    a, b = names
    if first.config.get("dataset") != second.config.get("dataset"):
        return RunComparison(f"Not compared: {a} and {b} were tested on different data sets.")
    maps = [run.config.get("target_map") or "none" for run in (first, second)]
    if maps[0] != maps[1]:
        told = f"(target_map {maps[0]} and {maps[1]})"
        return RunComparison(f"Not compared: {a} and {b} tell different classes apart {told}.")
    try:
        tables = [_tested(read(run) if read else predictions(run.run_id)) for run in (first, second)]
    except UserError as error:
        return RunComparison(f"Not compared: {error}")
    shared = tables[0].index.intersection(tables[1].index)
    if not len(shared):
        return RunComparison(f"Not compared: {a} and {b} share no test images (use one --split-seed).")
    targets, answers = [], []
    for table in tables:
        rows = table.loc[shared]
        targets.append(rows["target"].to_numpy(np.int64))
        answers.append(rows[probability_columns(table)].to_numpy(np.float64))
    if answers[0].shape != answers[1].shape or not np.array_equal(targets[0], targets[1]):
        versions = " and ".join(str(run.config.get("dataset_version"))[:12] for run in (first, second))
        return RunComparison(
            f"Not compared: {a} and {b} tell different classes apart (versions {versions} of the data set)."
        )
    scores = [run_score(run) for run in (first, second)]
    metrics = {score.metric for score in scores if score is not None}
    groups = image_groups(str(first.config.get("dataset")), list(shared))
    metric = metrics.pop() if len(metrics) == 1 else ACCURACY
    paired = compare_paired(targets[0], *answers, name_a=a, name_b=b, groups=groups, metric=metric)
    is_part = not len(shared) == len(tables[0]) == len(tables[1])
    partial = f" (On the {len(shared)} test images that they share.)" if is_part else ""
    # The figures of a run with folds are means over the folds.
    folds = " (All folds counted together.)" if first.config.get("num_folds") or second.config.get("num_folds") else ""
    return RunComparison(f"{paired.sentence}{partial}{folds}", paired)


def _tested(table: "pd.DataFrame") -> "pd.DataFrame":
    return table[table["split"] == "test"].drop_duplicates("image_id").set_index("image_id")
