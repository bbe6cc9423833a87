"""What a run is judged by: read from the folder; of a run older than the figures asked for, from its predictions."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.atomic import read_json
from lib.evaluation.headline import Score, key_of_tested_images, score_figures
from lib.evaluation.metric_table import ACCURACY, KAPPA, METRICS, Metric
from lib.evaluation.metrics import fold_mean
from lib.tracking.records import RunRecord
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


def judged_by(runs: Iterable[RunRecord]) -> Metric:
    """The metric that all of these runs are judged by; accuracy where they are judged by different ones."""
    metrics = {score.metric for score in map(run_score, runs) if score is not None}
    return metrics.pop() if len(metrics) == 1 else ACCURACY


def looks_of(runs: Iterable[RunRecord]) -> Counter[str]:
    """Test set -> how many of the runs were tested on it."""
    scores = (run_score(run) for run in runs if run.state == "finished")
    return Counter(score.test_set for score in scores if score is not None and score.test_set)
