"""Evaluates a trained classifier on a data set: on test images of its own one, on all images of any other."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from lib.data.dataset import Dataset
from lib.data.subset import take_part
from lib.data.target_map import map_targets
from lib.errors import UserError
from lib.evaluation.intervals import wilson_interval
from lib.evaluation.metrics import evaluate_predictions
from lib.grading.grader import Grader
from lib.progress import Progress, ignore_progress

_BATCH_SIZE = 32


def evaluate_on(grader: Grader, dataset: Dataset, progress: Progress = ignore_progress) -> dict[str, Any]:
    """Metrics of a classifier on a data set of its classes, with the 95 % interval of its accuracy.

    Raises:
        UserError: the data set has a class that the classifier does not know.
    """
    dataset = _as_trained(dataset, grader.manifest, grader.class_names)
    targets = _targets(dataset, grader.class_names)
    rows = _rows_to_evaluate(dataset, grader.manifest)
    probabilities = _predict(grader, dataset, rows, progress)
    targets = targets[rows]
    metrics = evaluate_predictions(targets, probabilities, is_ordinal=dataset.spec.is_ordinal)
    right = int(np.sum(probabilities.argmax(1) == targets))
    low, high = wilson_interval(right, len(rows))
    return {
        "run_id": grader.run,
        "dataset": dataset.name,
        "dataset_version": dataset.version,
        "images": "all" if len(rows) == dataset.num_images else "test",
        **metrics,
        "accuracy_low": low,
        "accuracy_high": high,
    }


def _targets(dataset: Dataset, class_names: tuple[str, ...]) -> np.ndarray:
    """Targets as the classifier counts its classes, matched by name."""
    unknown = [name for name in dataset.class_names if name not in class_names]
    if unknown:
        raise UserError(
            f"The data set {dataset.name!r} has the class {unknown[0]!r}, which the classifier does not know "
            f"(it knows {', '.join(class_names)}); rename the class folders to match."
        )
    numbers = np.array([class_names.index(name) for name in dataset.class_names])
    return numbers[dataset.table["target"].to_numpy()]


def _as_trained(dataset: Dataset, manifest: dict[str, Any], class_names: tuple[str, ...]) -> Any:
    """The subset that the classifier's own training took of its data set; any other data set whole.

    Classes are merged as in the training, in another data set unless it has the merged classes already.
    """
    if _version_trained_on(manifest) != dataset.version:
        has_them = set(dataset.class_names) <= set(class_names)
        return dataset if has_them else map_targets(dataset, (manifest.get("config") or {}).get("target_map"))
    return take_part(dataset, SimpleNamespace(**{"split_seed": 0, "num_folds": None, **(manifest.get("config") or {})}))


def _version_trained_on(manifest: dict[str, Any]) -> Any:
    about = manifest.get("dataset")
    return about.get("version") if isinstance(about, dict) else manifest.get("dataset_version")


def _rows_to_evaluate(dataset: Dataset, manifest: dict[str, Any]) -> np.ndarray:
    if _version_trained_on(manifest) != dataset.version:
        return np.arange(dataset.num_images)
    config = manifest.get("config") or {}
    return np.flatnonzero(dataset.split(int(config.get("split_seed", manifest.get("split_seed", 0)))) == "test")


def _predict(grader: Grader, dataset: Dataset, rows: np.ndarray, progress: Progress) -> np.ndarray:
    """Probabilities (n, K) of rows of the pixel store."""
    import torch

    from lib.data.preprocessing import to_batch

    parts = []
    for start in range(0, len(rows), _BATCH_SIZE):
        progress(start, len(rows), "Evaluating")
        batch = to_batch(
            grader.enhancement(dataset.pixels[rows[start : start + _BATCH_SIZE]]),
            size_px=int(grader.preprocessing["input_size_px"]),
            mean=grader.preprocessing["mean"],
            std=grader.preprocessing["std"],
            device=grader.device,
        )
        with torch.inference_mode():
            parts.append(grader.classifier(batch).float().softmax(dim=1).cpu().numpy())
    return np.concatenate(parts)
