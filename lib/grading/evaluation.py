"""Evaluates a trained classifier on a data set: on test images of its own one, on all new images of any other."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.dataset import Dataset
from lib.errors import UserError
from lib.evaluation.headline import score_figures
from lib.evaluation.metrics import per_class_report
from lib.grading.class_mapping import ClassMapping
from lib.grading.grader import Grader
from lib.grading.manifest import has_grades
from lib.grading.new_images import mapping_to, new_images, taking_part
from lib.progress import Progress, ignore_progress
from lib.tracking.records import predictions
from lib.tracking.scores import probability_columns
from lib.training.preparation import trained_config, trained_version
from lib.training.results import SplitPredictions, evaluate_folds, evaluate_split

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What came of an evaluation: the figures that `evaluate_on` returns, and the answers that they were made of.

    `answers` has one row an image: image_id, split ("test"), target, probability_0 ..., and fold where folds answered.
    """

    figures: dict[str, Any]
    answers: "pd.DataFrame"


def evaluate_on(
    grader: Grader, dataset: Dataset, progress: Progress = ignore_progress, *, mapping: str | None = None
) -> dict[str, Any]:
    """The figures of `evaluate`."""
    return evaluate(grader, dataset, progress, mapping=mapping).figures


def evaluate(
    grader: Grader, dataset: Dataset, progress: Progress = ignore_progress, *, mapping: str | None = None
) -> Evaluation:
    """Metrics of a classifier on a data set, with their 95 % intervals, and its answers.

    Images that the classifier has seen in its training never count, in whatever data set they turn up: the very files,
    and in another data set also files that are re-encoded, resized or mirrored ones. They are left out, or, for a run
    with folds on its own data set, each is answered by the fold that had not seen it.

    Args:
        grader: the classifier.
        dataset: images with its classes, or with classes that `mapping` tells.
        progress: told after each batch.
        mapping: which of its classes those of the data set are; see `lib.grading.class_mapping`.

    Returns:
        Figures are the metrics and interval, `images` ("test", "all", "unseen" or "out_of_fold"), `class_names` that
        were scored, `mapping`, `num_seen_left_out`, `num_near_left_out` (None where it could not be looked for),
        `num_unmapped`, `num_unlike` (images that the gate would turn away; they count all the same), and `note`,
        sentences that say what was left out, read otherwise than in the training or is not known ("" if nothing).

    Raises:
        UserError: the data set has a class that neither the classifier nor the mapping knows, or no image that is new
            to the classifier.
    """
    now = dataset.version
    dataset, is_own = taking_part(grader, dataset, is_mapped=bool(mapping))
    trained = trained_version(grader.manifest)
    note_version = _note_version(dataset.name, str(trained), now) if is_own and trained != now else ""
    classes = mapping_to(grader, dataset, mapping)
    if is_own and classes.text and not classes.merged:
        raise UserError(f"The classifier was trained on {dataset.name!r} itself, whose classes need no mapping.")
    is_ordinal = has_grades(grader.manifest, dataset) if classes.is_ordinal is None else classes.is_ordinal
    about = {
        "run_id": grader.run, "dataset": dataset.name, "dataset_version": dataset.version,
        "class_names": list(classes.class_names), "is_ordinal": is_ordinal, "mapping": classes.text,
        "merged": list(classes.merged),
    }  # fmt: skip
    folds = _fold_predictions(grader) if is_own and trained_config(grader.manifest).num_folds else None
    if folds is not None:
        found = _of_folds(folds, dataset, classes, is_ordinal=is_ordinal)
        figures = about | found.figures
        figures["note"] = f"{figures['note']} {note_version}".strip()
        return Evaluation(_with_caveat(figures, dataset), found.answers)
    new = new_images(grader, dataset, classes, is_own=is_own, progress=progress)
    rows, targets = new.rows, classes.targets(dataset)[new.rows]
    probabilities, distances = _predict(grader, dataset, rows, progress)
    # Images of its own data set are not turned away, so they all count as they are.
    num_unlike = 0 if is_own or grader.gate is None else int(np.sum(distances > grader.gate.threshold))
    probabilities = classes.probabilities(probabilities)
    groups = dataset.table["group_id"].to_numpy()[rows]
    metrics = evaluate_split(targets, probabilities, is_ordinal=is_ordinal, groups=groups)
    figures = {
        **about,
        "images": "unseen" if new.num_seen or new.num_near else "test" if is_own else "all",
        **metrics,
        "num": float(len(rows)),
        **_beside_metrics(dataset, rows, targets, probabilities, classes=classes, is_ordinal=is_ordinal),
        "num_seen_left_out": new.num_seen,
        "num_near_left_out": new.num_near,
        "num_unmapped": new.num_unmapped,
        "num_unlike": num_unlike,
        "note": " ".join(
            filter(None, (*new.notes, _note_unlike(num_unlike, len(rows)), _note_scale(grader, dataset), note_version))
        ),
    }
    return Evaluation(_with_caveat(figures, dataset), _answers(dataset, rows, targets, probabilities))


def _with_caveat(result: dict[str, Any], dataset: Any) -> dict[str, Any]:
    """The result with what every score of the data set must say of its split."""
    caveat = dataset.spec.split_caveat
    return {**result, "note": f"{result['note']} {caveat}".strip()} if caveat else result


def _beside_metrics(
    dataset: Any,
    rows: np.ndarray,
    targets: np.ndarray,
    probabilities: np.ndarray,
    *,
    classes: ClassMapping,
    is_ordinal: bool,
    folds: np.ndarray | None = None,
) -> dict[str, Any]:
    """Headline, baseline, referable AUC, and each class's recall (NaN where it has no image)."""
    names = classes.class_names
    groups = dataset.table["group_id"].to_numpy()[rows]
    found = score_figures(targets, probabilities, names, is_ordinal=is_ordinal, folds=folds, groups=groups)
    report = per_class_report(targets, probabilities, names)
    missing = report.loc[report["count"] == 0, "class_name"].tolist()
    return found | {"recall": dict(zip(names, report["recall"], strict=True)), "classes_without_images": missing}


def _answers(
    dataset: Any,
    rows: np.ndarray,
    targets: np.ndarray,
    probabilities: np.ndarray,
    folds: np.ndarray | None = None,
) -> "pd.DataFrame":
    import pandas as pd

    columns: dict[str, Any] = {
        "image_id": dataset.table["image_id"].to_numpy()[rows], "split": "test", "target": targets.astype(np.int64)
    }  # fmt: skip
    columns |= {} if folds is None else {"fold": folds}
    columns |= {f"probability_{number}": probabilities[:, number] for number in range(probabilities.shape[1])}
    return pd.DataFrame(columns)


def _note_version(name: str, trained: str, now: str) -> str:
    """What to know where a data set has been changed since it was trained on."""
    return (
        f"Images, labels and parts are those of version {trained}, which the classifier was trained on; {name!r} is at "
        f"version {now} by now, and what was changed since does not count here."
    )


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


def _fold_predictions(grader: Grader) -> "pd.DataFrame | None":
    """The test predictions of the run's folds, if the run that the classifier belongs to is here."""
    run_id = grader.run or str(grader.manifest.get("run_id") or "")
    try:
        table = predictions(run_id)
    except UserError:  # a bundle of another machine, or its run was deleted
        return None
    return table[table["split"] == "test"]


def _of_folds(table: "pd.DataFrame", dataset: Any, classes: ClassMapping, *, is_ordinal: bool) -> Evaluation:
    """The figures of the run itself: means over the test sets of its folds."""
    folds = table["fold"].to_numpy()
    probabilities = classes.probabilities(table[probability_columns(table)].to_numpy(np.float64))
    targets = classes.own_targets(table["target"].to_numpy().astype(np.int64))
    parts = [
        SplitPredictions("test", np.flatnonzero(folds == fold), probabilities[folds == fold], int(fold))
        for fold in np.unique(folds)
    ]
    metrics = evaluate_folds(targets, parts, is_ordinal=is_ordinal)
    rows = dataset.indices(table["image_id"].tolist())
    beside = _beside_metrics(dataset, rows, targets, probabilities, classes=classes, is_ordinal=is_ordinal, folds=folds)
    figures = {
        "images": "out_of_fold",
        **metrics,
        "num": float(len(table)),
        **beside,
        "num_seen_left_out": 0,
        "num_near_left_out": 0,
        "num_unmapped": 0,
        "num_unlike": 0,
        "note": (
            f"Out-of-fold result: each image was answered by the one of {len(parts)} folds that had not seen it, and "
            "the means over the folds are given. The classifier that the run keeps was trained on these images."
        ),
    }
    return Evaluation(figures, _answers(dataset, rows, targets, probabilities, folds))


def _predict(grader: Grader, dataset: Dataset, rows: np.ndarray, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, K) and distances (n,) of rows of the pixel store, computed as grading computes them."""
    parts, distances = [], []
    for start in range(0, len(rows), grader.batch_size):
        progress(start, len(rows), "Evaluating")
        scores, some_distances = grader.scores(dataset.pixels[rows[start : start + grader.batch_size]])
        parts.append(scores)
        distances += some_distances
    return np.concatenate(parts), np.array(distances, dtype=np.float64)
