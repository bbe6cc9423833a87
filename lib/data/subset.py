"""A data set seen through a protocol: fewer rows of the same table and the same pixel store, nothing copied."""

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.checked_rows import Rows
from lib.data.protocol import DataProtocol, check_protocol, choose_rows
from lib.data.splits import TEST, TRAIN, assign_splits
from lib.data.target_map import map_targets
from lib.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from lib.data.specs import DatasetSpec


class RowsOfPixels:
    """Chosen rows of a pixel store (N, S, S, 3), read when they are asked for."""

    def __init__(self, pixels: Rows, rows: np.ndarray) -> None:
        self._pixels, self._rows = pixels, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, S, S, 3)."""
        return (len(self._rows), *self._pixels.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        """One image, or a batch of them for a slice or an array of rows."""
        return np.asarray(self._pixels[self._rows[key]])


class DatasetSubset:
    """What trainings, caches and explanations read of a data set, for the images that a protocol takes.

    `version` is the data set's own, which stored runs name; `content_version` also tells the subset, for caches.
    """

    def __init__(
        self, dataset: Any, protocol: DataProtocol, *, split_seed: int = 0, num_folds: int | None = None
    ) -> None:
        check_protocol(protocol, dataset.spec.num_classes)
        self.whole, self.protocol = dataset, protocol
        self._eligible = self._eligible_rows(split_seed)
        self.rows = self._eligible
        if num_folds is None and (protocol.max_train_per_class or protocol.max_test_per_class):
            # With folds every image is tested in turn, so none can be left out beforehand.
            self.rows = self._eligible[self._split(split_seed) != ""]
        if len(self.rows) == 0:
            raise UserError(f"No image of {dataset.name!r} is left by: {protocol.describe()}. Raise the caps.")
        self._kept = np.searchsorted(self._eligible, self.rows)

    def __repr__(self) -> str:
        return f"DatasetSubset({self.name!r}, {len(self.rows)} of {len(self.whole.table)} images)"

    @property
    def name(self) -> str:
        """The name in the library."""
        return str(self.whole.name)

    @property
    def version(self) -> str:
        """The data set's version."""
        return str(self.whole.version)

    @cached_property
    def content_version(self) -> str:
        """A hash of the data set's content and the rows that take part."""
        content = getattr(self.whole, "content_version", self.version)
        return hashlib.sha256(f"{content}/".encode() + self.rows.astype("<i8").tobytes()).hexdigest()[:32]

    @cached_property
    def spec(self) -> "DatasetSpec":
        """The description, with the classes that take part."""
        kept = self.whole.spec.class_names[: self.protocol.max_classes]
        return dataclasses.replace(self.whole.spec, class_names=kept)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes that take part."""
        return self.spec.class_names

    @property
    def num_images(self) -> int:
        """How many images take part."""
        return len(self.rows)

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The rows of the data set's table that take part, counted from 0."""
        return self.whole.table.iloc[self.rows].reset_index(drop=True)

    @property
    def pixels(self) -> RowsOfPixels:
        """The pixels of those rows."""
        return RowsOfPixels(self.whole.pixels, self.rows)

    def split(self, split_seed: int, *, num_folds: int | None = None, fold: int | None = None) -> np.ndarray:
        """Return "train", "val" or "test" for each row, "" for one that a cap leaves out."""
        return self._split(split_seed, num_folds, fold)[self._kept]

    def indices(self, image_ids: Sequence[str]) -> np.ndarray:
        """Rows of those images, int64, in that order; raises UserError on one that does not take part."""
        known = {image_id: row for row, image_id in enumerate(self.table["image_id"])}
        missing = [image_id for image_id in image_ids if image_id not in known]
        if missing:
            raise UserError(f"The subset of {self.name!r} has no image {missing[0]!r}.")
        return np.array([known[image_id] for image_id in image_ids], dtype=np.int64)

    def _eligible_rows(self, seed: int) -> np.ndarray:
        """Rows of the whole that the caps before the split leave."""
        table = self.whole.table
        targets, image_ids = table["target"].to_numpy(), table["image_id"].to_numpy()
        rows = np.flatnonzero(targets < (self.protocol.max_classes or len(self.whole.spec.class_names)))
        return rows[choose_rows(targets[rows], image_ids[rows], self.protocol.max_per_class, seed=seed)]

    def _split(self, seed: int, num_folds: int | None = None, fold: int | None = None) -> np.ndarray:
        """The split of the eligible rows, with the parts that are too large cut down to their caps."""
        table = self.whole.table.iloc[self._eligible]
        image_ids = table["image_id"].to_numpy()
        targets, class_names = self._targets_to_split()
        split = assign_splits(
            targets, table["group_id"].to_numpy(), table["split"].to_numpy(), split_seed=seed, num_folds=num_folds,
            fold=fold, class_names=class_names, test_fraction=self.protocol.test_fraction,
            val_fraction=self.protocol.val_fraction,
        )  # fmt: skip
        for part, cap in ((TRAIN, self.protocol.max_train_per_class), (TEST, self.protocol.max_test_per_class)):
            inside = np.flatnonzero(split == part)
            kept = inside[choose_rows(targets[inside], image_ids[inside], cap, seed=seed, what=part)]
            split[np.setdiff1d(inside, kept, assume_unique=True)] = ""
        return split

    def _targets_to_split(self) -> tuple[np.ndarray, list[str]]:
        """Classes of the eligible rows as the import counted them, which no later order changes, and their names."""
        whole = self.whole
        stored = getattr(whole, "stored_targets", None) or (
            whole.table["target"].to_numpy(),
            list(whole.spec.class_names),
        )
        present, targets = np.unique(stored[0][self._eligible], return_inverse=True)
        return targets, [stored[1][target] for target in present]


def take_part(dataset: Any, config: Any) -> Any:
    """The images of a data set that a training config takes, with the classes that it merges.

    The data set itself where the config takes it as it is.

    Args:
        dataset: a data set of the library, or anything with `table`, `pixels`, `spec`, `name` and `version`.
        config: has the fields of `DataProtocol`, `split_seed`, `num_folds` and perhaps `target_map`.

    Raises:
        UserError: nothing is left, fewer than two classes, or a map for another number of classes.
    """
    protocol = DataProtocol.of(config)
    if not protocol.is_whole:
        dataset = DatasetSubset(dataset, protocol, split_seed=config.split_seed, num_folds=config.num_folds)
    return map_targets(dataset, getattr(config, "target_map", None))
