"""A run's answers on its test images, as every picture, table and test of the results board reads them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lib.errors import UserError
from lib.evaluation.intervals import Interval, metric_interval
from lib.evaluation.metric_table import Metric
from lib.evaluation.metrics import confusion_matrix
from lib.tracking.records import RunRecord, predictions
from lib.tracking.scores import probability_columns, trained_classes


@dataclass(frozen=True, eq=False)
class TestedRun:
    """Targets (N,), probabilities (N, K), image ids (N,) of the images that a run was tested on.

    Attributes:
        run: the run.
        label: what to call it.
        targets: true class numbers.
        probabilities: of the K classes.
        image_ids: of the images, in the order of the rows.
        class_names: K names.
        is_ordinal: whether the classes are grades in their order.
        groups: patients or the like (N,), "" for an image by itself; None where the data set is gone or has none.
        folds: the fold that tested each image (N,); None of a run without folds.
    """

    __test__ = False  # no test, whatever its name

    run: RunRecord
    label: str
    targets: np.ndarray
    probabilities: np.ndarray
    image_ids: np.ndarray
    class_names: list[str]
    is_ordinal: bool = False
    groups: np.ndarray | None = None
    folds: np.ndarray | None = None

    @cached_property
    def answers(self) -> np.ndarray:
        """The most probable class of each image (N,)."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def matrix(self) -> np.ndarray:
        """Counts (K, K): row = true class, column = predicted."""
        return confusion_matrix(self.targets, self.probabilities)

    @cached_property
    def _intervals(self) -> dict[str, Interval]:
        return {}

    def interval(self, metric: Metric) -> Interval:
        """The value of a metric with its 95 % interval, computed once: the answers of a finished run never change."""
        if metric.key not in self._intervals:
            self._intervals[metric.key] = metric_interval(
                metric, self.targets, self.probabilities, groups=self.groups, folds=self.folds
            )
        return self._intervals[metric.key]

    def taking(self, rows: np.ndarray) -> "TestedRun":
        """The same of some rows only, in their order."""
        arrays = ("targets", "probabilities", "image_ids", "groups", "folds")
        return replace(self, **{name: own[rows] for name in arrays if (own := getattr(self, name)) is not None})


def read_tested(run: RunRecord, label: str, read: Callable[[RunRecord], pd.DataFrame] | None = None) -> TestedRun:
    """The answers of a finished run; `read` gives its predictions (from its folder by default).

    Raises:
        UserError: the run has no predictions, or none of test images.
    """
    from lib.data.library import image_groups

    table = read(run) if read else predictions(run.run_id)
    table = table[table["split"] == "test"].drop_duplicates("image_id")
    if not len(table):
        raise UserError(f"The run {run.short_id} was tested on no image.")
    probabilities = table[probability_columns(table)].to_numpy(np.float64)
    class_names, is_ordinal = classes_of(run, probabilities.shape[1])
    ids = table["image_id"].to_numpy(str)
    has_folds = "fold" in table and table["fold"].nunique() > 1
    return TestedRun(
        run=run,
        label=label,
        targets=table["target"].to_numpy(np.int64),
        probabilities=probabilities,
        image_ids=ids,
        class_names=class_names,
        is_ordinal=is_ordinal,
        groups=image_groups(str(run.config.get("dataset")), list(ids)),
        folds=table["fold"].to_numpy(np.int64) if has_folds else None,
    )


def on_shared_images(tested: Sequence[TestedRun]) -> list[TestedRun]:
    """The same runs on the images that all of them were tested on, in one order.

    Raises:
        UserError: they share no image, or tell different classes apart; the sentence says which.
    """
    first, shared = tested[0], pd.Index(tested[0].image_ids)
    for other in tested[1:]:
        if other.run.config.get("dataset") != first.run.config.get("dataset"):
            raise UserError(f"{first.label} and {other.label} were tested on different data sets.")
        maps = [one.run.config.get("target_map") or "none" for one in (first, other)]
        if other.class_names != first.class_names or maps[0] != maps[1]:
            told = f" (target_map {maps[0]} and {maps[1]})" if maps[0] != maps[1] else _versions(first, other)
            raise UserError(f"{first.label} and {other.label} tell different classes apart{told}.")
        shared = shared.intersection(other.image_ids, sort=False)
        if not len(shared):
            raise UserError(f"{first.label} and {other.label} share no test images (use one --split-seed).")
    rows = [pd.Index(one.image_ids).get_indexer(shared) for one in tested]
    aligned = [one.taking(own) for one, own in zip(tested, rows, strict=True)]
    for other in aligned[1:]:
        if not np.array_equal(other.targets, first.targets[rows[0]]):
            raise UserError(
                f"{first.label} and {other.label} know other labels of the same images{_versions(first, other)}."
            )
    return aligned


def _versions(first: TestedRun, other: TestedRun) -> str:
    """The versions of the data set that two runs read, where they are not the same."""
    versions = [str(one.run.config.get("dataset_version") or "unknown")[:12] for one in (first, other)]
    return f" (versions {versions[0]} and {versions[1]} of the data set)" if versions[0] != versions[1] else ""


def classes_of(run: RunRecord, num_classes: int) -> tuple[list[str], bool]:
    """Class names of a run's classifier and whether they are grades: as it says itself, else as its data set does."""
    found = trained_classes(run.folder)
    if found is not None and len(found[0]) == num_classes:
        return found
    return class_names_by_dataset(run.config, num_classes)


def class_names_by_dataset(config: dict[str, Any], num_classes: int) -> tuple[list[str], bool]:
    """Class names as the run's version of its data set has them; numbered ones if it is gone."""
    from lib.data.library import open_dataset
    from lib.data.target_map import mapped_class_names

    try:
        dataset = open_dataset(str(config.get("dataset") or ""), version=config.get("dataset_version"))
        own = dataset.class_names[: config.get("max_classes")]
        names = list(mapped_class_names(own, config.get("target_map"), is_ordinal=dataset.spec.is_ordinal))
    except UserError:
        names = []
    if len(names) == num_classes:
        return names, dataset.spec.is_ordinal
    return [f"class {index}" for index in range(num_classes)], False


def comparable_runs(tested: Sequence[TestedRun]) -> tuple[list[TestedRun], list[str]]:
    """What can be held against the first run: the runs on the images that all of them share, and what is to be said.

    Runs on other data, with other classes or other labels, or without a common image are left out, each with its
    reason in a sentence.
    """
    kept, sentences = list(tested[:1]), []
    for other in tested[1:]:
        try:
            on_shared_images([*kept, other])
        except UserError as error:
            sentences.append(f"{other.label} is left out: {error}")
        else:
            kept.append(other)
    if len(kept) < 2:
        return kept, sentences
    shared = on_shared_images(kept)
    number, most = len(shared[0].targets), max(len(one.targets) for one in kept)
    if number < most:
        sentences.insert(0, f"Compared on the {number} test images that all of them share, of {most} at most.")
    return shared, sentences
