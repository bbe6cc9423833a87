"""Which images of a data set say something of a classifier: those of its classes that it has not seen in training."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.data.dataset import Dataset, takes_part
from lib.data.edit_log import open_states
from lib.data.library import dataset_folder, descriptions, open_dataset
from lib.data.near_duplicates import near_duplicates
from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.grading.class_mapping import ClassMapping, map_classes
from lib.grading.grader import Grader
from lib.grading.manifest import has_grades, merged_as_trained
from lib.progress import Progress, ignore_progress
from lib.training.preparation import trained_config, trained_version


def mapping_of(manifest: dict[str, Any], class_names: tuple[str, ...], dataset: Any, text: str | None) -> ClassMapping:
    """Which classes of a classifier those of a data set are, without opening the classifier.

    Raises:
        UserError: why the data set does not fit.
    """
    taken = dataset if text else merged_as_trained(dataset, manifest, class_names)
    return map_classes(dataset.name, taken.class_names, class_names, text, is_ordinal=has_grades(manifest, dataset))


def mapping_to(grader: Grader, dataset: Any, text: str | None) -> ClassMapping:
    """The same of a data set as it takes part; raises UserError as `mapping_of`."""
    is_ordinal = has_grades(grader.manifest, dataset)
    return map_classes(dataset.name, dataset.class_names, grader.class_names, text, is_ordinal=is_ordinal)


def taking_part(grader: Grader, dataset: Dataset, *, is_mapped: bool = False) -> tuple[Any, bool]:
    """The data set as it takes part, and whether it is the one that the classifier was trained on."""
    found = _at_version_trained_on(dataset, grader.manifest)
    is_own = trained_version(grader.manifest) == found.version
    if is_mapped and not is_own:  # a mapping speaks of the data set's classes as they are
        return found, False
    return _as_trained(found, grader.manifest, grader.class_names), is_own


@dataclass(frozen=True, eq=False)
class NewImages:
    """The images that count, and why others do not.

    Attributes:
        rows: of the data set, (n,).
        num_seen: left out since the classifier was trained or tuned on the very file.
        num_near: left out as copies of such files with other bytes; None where they could not be looked for.
        num_unmapped: left out since no class of the classifier is theirs.
        notes: the same in sentences.
    """

    rows: np.ndarray
    num_seen: int
    num_near: int | None
    num_unmapped: int
    notes: tuple[str, ...]


def new_images(
    grader: Grader,
    dataset: Any,
    classes: ClassMapping,
    *,
    is_own: bool,
    with_near: bool = True,
    progress: Progress = ignore_progress,
) -> NewImages:
    """The images of a data set, as it takes part, that the classifier has not seen.

    `with_near` looks for copies of training images with other bytes too, in another data set than its own: there, the
    split has been made and figures stand.

    Raises:
        UserError: none is left.
    """
    rows = _rows_to_evaluate(dataset, grader.manifest) if is_own else np.flatnonzero(takes_part(dataset))
    mapped = rows[classes.targets(dataset)[rows] >= 0]
    if not len(mapped):
        raise UserError(f"The data set {dataset.name!r} has no image of a class that the classifier knows.")
    kept = mapped[grader.seen.roles(dataset.table["image_id"].iloc[mapped]) == ""]
    num_seen, is_near, why_not = len(mapped) - len(kept), np.zeros(len(kept), dtype=bool), ""
    if with_near and not is_own and len(kept):
        is_near, why_not = _near_training(grader, dataset, kept, progress)
    if is_near.all():
        raise UserError(_nothing_left(grader.manifest, dataset.name, len(mapped)))
    num_near, num_unmapped = int(is_near.sum()), len(rows) - len(mapped)
    notes = (
        _note_unmapped(classes, dataset, num_unmapped),
        _note(num_seen, len(mapped), is_complete=grader.seen.is_complete or is_own),
        _note_near(num_near, len(mapped)),
        why_not,
    )
    is_known = not why_not and (is_own or grader.seen.is_complete)
    return NewImages(kept[~is_near], num_seen, num_near if is_known else None, num_unmapped, tuple(filter(None, notes)))


def new_test_images(grader: Grader, dataset: Dataset) -> tuple[Any, np.ndarray, np.ndarray]:
    """The images that `evaluate` counts: the data set as it takes part, their rows (n,), and their targets (n,).

    Near duplicates are not looked for here.

    Raises:
        UserError: as `evaluate`; also where a run with folds has seen all images of its own data set.
    """
    dataset, is_own = taking_part(grader, dataset)
    classes = mapping_to(grader, dataset, None)
    new = new_images(grader, dataset, classes, is_own=is_own, with_near=False)
    return dataset, new.rows, classes.targets(dataset)[new.rows]


def _near_training(grader: Grader, dataset: Any, rows: np.ndarray, progress: Progress) -> tuple[np.ndarray, str]:
    """Which of the rows (n,) are copies of training images with other bytes; and why that is not known, if so."""
    trained = _trained_dataset(grader.manifest)
    if trained is not None:
        known = np.flatnonzero(grader.seen.roles(trained.table["image_id"]) != "")
        return near_duplicates(dataset.pixels, rows, trained.pixels, known, progress=progress) >= 0, ""
    why_not = (
        "The training's own data set is not in the library, so copies of training images that were re-encoded, resized "
        "or mirrored could not be looked for."
    )
    # Without a list of what it saw, that is said already.
    return np.zeros(len(rows), dtype=bool), why_not if grader.seen.is_complete else ""


def _trained_dataset(manifest: dict[str, Any]) -> Dataset | None:
    """The data set that a classifier was trained on, under whatever name it is in the library; None if it is gone."""
    version = trained_version(manifest)
    for description in descriptions():
        name = description["spec"]["name"]
        with suppress(UserError):  # damaged
            if version in open_states(dataset_folder(name), description):
                return open_dataset(name, version=version)
    return None


def _note(num_seen: int, num_asked: int, *, is_complete: bool) -> str:
    sentences = []
    if num_seen:
        were, files = ("was", "this very file") if num_seen == 1 else ("were", "these very files")
        sentences.append(
            f"{num_seen} of {num_asked} images {were} left out: the classifier was trained or tuned on {files}."
        )
    if not is_complete:
        sentences.append(
            "This classifier keeps no list of its training images, and they cannot be known any more: if some of them "
            "are among these images, the figures are too high."
        )
    return " ".join(sentences)


def _note_near(num_near: int, num_asked: int) -> str:
    if not num_near:
        return ""
    what = "1 more image is a copy" if num_near == 1 else f"{num_near} more images are copies"
    return (
        f"{what} of training images with other bytes (re-encoded, resized or mirrored) and "
        f"{'was' if num_near == 1 else 'were'} left out of {num_asked}."
    )


def _note_unmapped(classes: ClassMapping, dataset: Any, num_unmapped: int) -> str:
    if not num_unmapped:
        return ""
    left_out = [name for name, number in zip(dataset.class_names, classes.numbers, strict=True) if number < 0]
    what = "1 image was" if num_unmapped == 1 else f"{num_unmapped} images were"
    return f"{what} left out by the mapping, of {', '.join(left_out)}."


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
        return np.flatnonzero(takes_part(dataset))
    return np.flatnonzero(dataset.split(int(config.split_seed)) == "test")
