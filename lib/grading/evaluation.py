"""Evaluates a trained classifier on a data set: on test images of its own one, on all new images of any other."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.dataset import Dataset
from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.evaluation.headline import score_figures
from lib.evaluation.metric_table import KAPPA
from lib.evaluation.metrics import (
    bootstrap_interval,
    evaluate_predictions,
    per_class_report,
    quadratic_weighted_kappa,
    wilson_interval,
)
from lib.grading.grader import Grader
from lib.grading.manifest import class_targets, has_grades, merged_as_trained
from lib.progress import Progress, ignore_progress
from lib.tracking.records import predictions
from lib.tracking.scores import probability_columns
from lib.training.preparation import trained_config, trained_version
from lib.training.results import SplitPredictions, evaluate_folds

if TYPE_CHECKING:
    import pandas as pd


def evaluate_on(grader: Grader, dataset: Dataset, progress: Progress = ignore_progress) -> dict[str, Any]:
    """Metrics of a classifier on a data set of its classes, with the 95 % interval of its accuracy.

    Images that the classifier has seen in its training never count, in whatever data set they turn up: they are left
    out, or, for a run with folds on its own data set, each is answered by the fold that had not seen it.

    Returns:
        Metrics and interval, `images` ("test", "all", "unseen" or "out_of_fold"), `num_seen_left_out`, `num_unlike`
        (images that the gate would turn away; they count all the same), and `note`, sentences that say what was left
        out, read otherwise than in the training or is not known ("" if nothing).

    Raises:
        UserError: the data set has a class that the classifier does not know, or no image that is new to it.
    """
    dataset, is_own = _taking_part(grader, dataset)
    about = {"run_id": grader.run, "dataset": dataset.name, "dataset_version": dataset.version}
    folds = _fold_predictions(grader) if is_own and trained_config(grader.manifest).num_folds else None
    if folds is not None:
        return _with_caveat(about | _fold_result(folds, grader, dataset), dataset)
    targets = class_targets(dataset, grader.class_names)
    rows, num_asked = _new_rows(grader, dataset, is_own=is_own)
    num_seen = num_asked - len(rows)
    probabilities, distances = _predict(grader, dataset, rows, progress)
    # Images of its own data set are not turned away, so they all count as they are.
    num_unlike = 0 if is_own or grader.gate is None else int(np.sum(distances > grader.gate.threshold))
    targets = targets[rows]
    metrics = evaluate_predictions(targets, probabilities, is_ordinal=has_grades(grader.manifest, dataset))
    right = int(np.sum(probabilities.argmax(1) == targets))
    low, high = wilson_interval(right, len(rows))
    result = {
        **about,
        "images": "unseen" if num_seen else "test" if is_own else "all",
        **metrics,
        "accuracy_low": low,
        "accuracy_high": high,
        **_beside_metrics(grader, dataset, rows, targets, probabilities=probabilities),
        "num_seen_left_out": num_seen,
        "num_unlike": num_unlike,
        "note": " ".join(
            filter(
                None,
                (
                    _note(num_seen, num_asked, is_complete=grader.seen.is_complete or is_own),
                    _note_unlike(num_unlike, len(rows)),
                    _note_scale(grader, dataset),
                ),
            )
        ),
    }
    return _with_caveat(result, dataset)


def new_test_images(grader: Grader, dataset: Dataset) -> tuple[Any, np.ndarray, np.ndarray]:
    """The images that `evaluate_on` counts: the data set as it takes part, their rows (n,), and their targets (n,).

    Raises:
        UserError: as `evaluate_on`; also where a run with folds has seen all images of its own data set.
    """
    dataset, is_own = _taking_part(grader, dataset)
    targets = class_targets(dataset, grader.class_names)
    rows, _ = _new_rows(grader, dataset, is_own=is_own)
    return dataset, rows, targets[rows]


def _taking_part(grader: Grader, dataset: Dataset) -> tuple[Any, bool]:
    """The data set as it takes part, and whether it is the one that the classifier was trained on."""
    taken = _as_trained(_at_version_trained_on(dataset, grader.manifest), grader.manifest, grader.class_names)
    return taken, trained_version(grader.manifest) == taken.version


def _new_rows(grader: Grader, dataset: Any, *, is_own: bool) -> tuple[np.ndarray, int]:
    """The rows to evaluate that the classifier has not seen, and how many there were before."""
    rows = _rows_to_evaluate(dataset, grader.manifest) if is_own else np.arange(dataset.num_images)
    kept = rows[grader.seen.roles(dataset.table["image_id"].iloc[rows]) == ""]
    if not len(kept):
        raise UserError(_nothing_left(grader.manifest, dataset.name, len(rows)))
    return kept, len(rows)


def _with_caveat(result: dict[str, Any], dataset: Any) -> dict[str, Any]:
    """The result with what every score of the data set must say of its split."""
    caveat = dataset.spec.split_caveat
    return {**result, "note": f"{result['note']} {caveat}".strip()} if caveat else result


def _beside_metrics(
    grader: Grader,
    dataset: Any,
    rows: np.ndarray,
    targets: np.ndarray,
    *,
    probabilities: np.ndarray,
    folds: np.ndarray | None = None,
) -> dict[str, Any]:
    """Headline, baseline, referable AUC, the kappa's interval, and each class's recall (NaN where it has no image)."""
    names, is_ordinal = grader.class_names, has_grades(grader.manifest, dataset)
    groups = dataset.table["group_id"].to_numpy()[rows]
    found = score_figures(targets, probabilities, names, is_ordinal=is_ordinal, folds=folds, groups=groups)
    if folds is None and found["headline"] == KAPPA.key:
        low, high = bootstrap_interval(quadratic_weighted_kappa, targets, probabilities, groups)
        found |= {f"{KAPPA.key}_low": low, f"{KAPPA.key}_high": high}
    report = per_class_report(targets, probabilities, names)
    missing = report.loc[report["count"] == 0, "class_name"].tolist()
    return found | {"recall": dict(zip(names, report["recall"], strict=True)), "classes_without_images": missing}


def _note(num_seen: int, num_asked: int, *, is_complete: bool) -> str:
    sentences = []
    if num_seen:
        sentences.append(
            f"{num_seen} of {num_asked} images were left out: the classifier was trained or tuned on these very files."
        )
    if not is_complete:
        sentences.append(
            "This classifier keeps no list of its training images, and they cannot be known any more: if some of them "
            "are among these images, the figures are too high."
        )
    return " ".join(sentences)


def _note_unlike(num_unlike: int, num_images: int) -> str:
    if not num_unlike:
        return ""
    return (
        f"{num_unlike} of {num_images} images are unlike the training images: in grading they would get no class; here "
        "they count, as the network answers."
    )


def _note_scale(grader: Grader, dataset: Any) -> str:
    """Where a store of images of more than 8 bits was made by another scale than the classifier's: it stays so."""
    own = dataset.spec.value_scale
    trained = grader.inputs.value_scale
    if own is None or not own.num_images or own == trained or trained.is_by_file:
        return ""
    if (own.integer, own.floating) == (trained.integer, trained.floating):
        return ""
    return (
        f"Images of more than 8 bits were read otherwise at the import ({own.sentence.rstrip('.')}) than in the "
        f"training ({trained.sentence.rstrip('.')}): grade the files themselves to have them read as in the training."
    )


def _nothing_left(manifest: dict[str, Any], name: str, num_asked: int) -> str:
    folds = trained_config(manifest).num_folds
    said = (manifest.get("metrics") or {}).get("test_accuracy")
    known = (
        f" (its {folds} folds reached accuracy {said:.3f} on images that they had not seen)" if folds and said else ""
    )
    return (
        f"The classifier was trained or tuned on all {num_asked} images of {name!r}, so that they say nothing of new "
        f"ones{known}; evaluate it on images that it has not seen."
    )


def _fold_predictions(grader: Grader) -> "pd.DataFrame | None":
    """The test predictions of the run's folds, if the run that the classifier belongs to is here."""
    run_id = grader.run or str(grader.manifest.get("run_id") or "")
    try:
        table = predictions(run_id)
    except UserError:  # a bundle of another machine, or its run was deleted
        return None
    return table[table["split"] == "test"]


def _fold_result(table: "pd.DataFrame", grader: Grader, dataset: Any) -> dict[str, Any]:
    """The figures of the run itself: means over the test sets of its folds."""
    columns = probability_columns(table)
    parts = [
        SplitPredictions("test", np.flatnonzero(table["fold"] == fold), own[columns].to_numpy(np.float64), int(fold))
        for fold, own in ((fold, table[table["fold"] == fold]) for fold in sorted(table["fold"].unique()))
    ]
    targets, is_ordinal = table["target"].to_numpy().astype(np.int64), has_grades(grader.manifest, dataset)
    metrics = evaluate_folds(targets, parts, is_ordinal=is_ordinal)
    rows, probabilities = dataset.indices(table["image_id"].tolist()), table[columns].to_numpy(np.float64)
    return {
        "images": "out_of_fold",
        **metrics,
        "num": float(len(table)),
        **_beside_metrics(grader, dataset, rows, targets, probabilities=probabilities, folds=table["fold"].to_numpy()),
        "num_seen_left_out": 0,
        "note": (
            f"Out-of-fold result: each image was answered by the one of {len(parts)} folds that had not seen it, and "
            "the means over the folds are given. The classifier that the run keeps was trained on these images."
        ),
    }


def _at_version_trained_on(dataset: Any, manifest: dict[str, Any]) -> Any:
    """The data set with the names and order of classes that the training read, where it is the one that it read."""
    version = trained_version(manifest)
    is_kept = version is not None and version in getattr(dataset, "versions", ())
    return dataset.at_version(version) if is_kept else dataset


def _as_trained(dataset: Dataset, manifest: dict[str, Any], class_names: tuple[str, ...]) -> Any:
    """The subset that the classifier's own training took of its data set; any other data set whole.

    Classes are merged as in the training, in another data set unless it has the merged classes already.
    """
    if trained_version(manifest) != dataset.version:
        return merged_as_trained(dataset, manifest, class_names)
    return apply_protocol(dataset, trained_config(manifest))


def _rows_to_evaluate(dataset: Dataset, manifest: dict[str, Any]) -> np.ndarray:
    """The test images of the classifier's own data set; with folds all images, since every one is tested in turn."""
    config = trained_config(manifest)
    if config.num_folds:
        return np.arange(dataset.num_images)
    return np.flatnonzero(dataset.split(int(config.split_seed)) == "test")


def _predict(grader: Grader, dataset: Dataset, rows: np.ndarray, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, K) and distances (n,) of rows of the pixel store, computed as grading computes them."""
    parts, distances = [], []
    for start in range(0, len(rows), grader.batch_size):
        progress(start, len(rows), "Evaluating")
        scores, some_distances = grader.scores(dataset.pixels[rows[start : start + grader.batch_size]])
        parts.append(scores)
        distances += some_distances
    return np.concatenate(parts), np.array(distances, dtype=np.float64)
