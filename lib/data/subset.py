"""Which images of a data set take part, and in which shares they train, validate and test.

A published experiment rarely uses all of its data: two hundred images of each grade, the first ten classes, a balanced
test set. A protocol says so in seven numbers; the images are chosen by a hash of seed and image, so that the same
images are chosen on every machine, whatever the order of the table, and a larger cap adds to a smaller one.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.checked_rows import Rows
from lib.data.dataset import takes_part
from lib.data.splits import TEST, TRAIN, VAL, assign_splits, group_numbers
from lib.data.target_map import map_targets
from lib.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class DataProtocol:
    """A subset and the shares of its parts; None leaves a question to the data set.

    `max_classes` keeps the first classes in their order; `max_per_class` caps the images of a class before the split,
    `max_train_per_class` and `max_test_per_class` cap those of one part after it; `train_fraction` of the images to
    train and of those to validate are learned from, by whole groups, while the test images stay; `test_fraction` of the
    images and `val_fraction` of the rest are held out where the source has no split of its own.
    """

    max_classes: int | None = None
    max_per_class: int | None = None
    max_train_per_class: int | None = None
    max_test_per_class: int | None = None
    train_fraction: float | None = None
    test_fraction: float | None = None
    val_fraction: float | None = None

    @classmethod
    def of(cls, config: Any) -> "DataProtocol":
        """The protocol of a training config, which has fields of the same names."""
        return cls(**{field.name: getattr(config, field.name, None) for field in dataclasses.fields(cls)})

    @property
    def is_whole(self) -> bool:
        """Whether every image takes part and the shares are the usual ones."""
        return self == DataProtocol()

    def describe(self) -> str:
        """The protocol in words, such as "200 images a class, 30 % to test"; empty where it says nothing."""
        parts = (
            (self.max_classes, f"the first {self.max_classes} classes"),
            (self.max_per_class, f"{self.max_per_class} images a class"),
            (self.max_train_per_class, f"{self.max_train_per_class} training images a class"),
            (self.max_test_per_class, f"{self.max_test_per_class} test images a class"),
            (self.train_fraction, f"{100 * (self.train_fraction or 0):g} % of the images to learn from"),
            (self.test_fraction, f"{100 * (self.test_fraction or 0):g} % to test"),
            (self.val_fraction, f"{100 * (self.val_fraction or 0):g} % of the rest to validate"),
        )
        return ", ".join(words for value, words in parts if value)


def choose_rows(
    targets: np.ndarray,
    image_ids: np.ndarray,
    max_per_class: int | np.ndarray | None,
    *,
    seed: int,
    what: str = "image",
) -> np.ndarray:
    """Row numbers (n,), rising, of at most `max_per_class` images of each class, drawn by a hash of seed and image.

    `max_per_class` is one number or one for each class (C,). `what` names the draw, so that two draws of one seed are
    independent of each other.
    """
    if max_per_class is None:
        return np.arange(len(targets))
    drawn = np.array([_drawn(image_id, seed, what) for image_id in image_ids], dtype=np.uint64)
    order = np.lexsort((drawn, targets))  # by class, then by draw
    ordered = np.asarray(targets)[order]
    place = np.arange(len(ordered)) - np.searchsorted(ordered, ordered, side="left")
    return np.sort(order[place < (max_per_class if isinstance(max_per_class, int) else max_per_class[ordered])])


def choose_groups(
    targets: np.ndarray,
    image_ids: np.ndarray,
    units: np.ndarray,
    max_per_class: np.ndarray,
    *,
    seed: int,
    what: str = "image",
) -> np.ndarray:
    """Row numbers (n,), rising, of whole groups with at most `max_per_class` (C,) images of each class together.

    Groups with an image of the rarest class go first, so that common classes do not use up what a rare one needs; among
    those, in an order drawn by a hash of seed and their first image. A group that would be too much for one of its
    classes is passed over; a class of which all are too much gets its first one nevertheless. Where no group has two
    images, this is `choose_rows`.

    Args:
        targets: classes (N,).
        image_ids: (N,).
        units: the number of the group of each image (N,).
        max_per_class: (C,).
        seed: of the draw.
        what: names the draw, so that two draws of one seed are independent of each other.
    """
    groups = _Groups.of(targets, image_ids, units, len(max_per_class))
    if len(groups.counts) == len(targets):
        return choose_rows(targets, image_ids, max_per_class, seed=seed, what=what)
    taken, is_kept = np.zeros(len(max_per_class), dtype=np.int64), np.zeros(len(groups.counts), dtype=bool)
    order = sorted(groups.order(seed, what), key=groups.rarest_rank.__getitem__)  # stable: as drawn within a class
    for group in order:
        counts = groups.counts[group]
        if bool((taken + counts <= max_per_class)[counts > 0].all()):
            is_kept[group] = True
            taken += counts
    for target in np.flatnonzero((taken == 0) & (max_per_class > 0)):
        first = next((group for group in order if groups.counts[group, target]), None)
        is_kept[[] if first is None else first] = True
    return np.flatnonzero(is_kept[groups.place])


def choose_share(
    targets: np.ndarray, image_ids: np.ndarray, units: np.ndarray, fraction: float, *, seed: int, what: str = "share"
) -> np.ndarray:
    """Row numbers (n,), rising, of about that share of the images of each class, in whole groups.

    Groups stand in an order drawn by a hash of seed and their first image; of each class, groups are taken in this
    order until the share is reached, one at least. So every class is kept, the rows of a smaller share are among those
    of a larger one, and the order of the table does not matter.

    Args:
        targets: classes (N,).
        image_ids: (N,).
        units: the number of the group of each image (N,).
        fraction: above 0, up to 1.
        seed: of the draw.
        what: names the draw, so that two draws of one seed are independent of each other.
    """
    num_classes = int(targets.max()) + 1
    groups = _Groups.of(targets, image_ids, units, num_classes)
    counts, stratum = groups.counts, groups.rarest
    taken, is_kept = np.zeros(num_classes), np.zeros(len(counts), dtype=bool)
    wanted = [fraction * counts[stratum == target].sum() for target in range(num_classes)]
    is_met = np.zeros(num_classes, dtype=bool)
    for group in groups.order(seed, what):
        target = stratum[group]
        lacks_class = bool((~is_met & (counts[group] > 0)).any())  # the first group of a class is in every share
        is_kept[group] = lacks_class or taken[target] + counts[group].sum() / 2 <= wanted[target]
        taken[target] += counts[group].sum()
        is_met |= counts[group] > 0
    return np.flatnonzero(is_kept[groups.place])


def _drawn(image_id: Any, seed: int, what: str) -> int:
    """The place of an image in a draw: a number that only seed, draw and image decide."""
    digest = hashlib.blake2b(f"{seed}/{what}/{image_id}".encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


@dataclass(frozen=True)
class _Groups:
    """Groups of images: `place` (N,) is the group of each image, `first` its first image, `counts` (G, C) its classes.

    `rarest` (G,) is the rarest of a group's classes, for which it counts, so that a common class does not fill up with
    the groups of others; `rarest_rank` (G,) says how rare that is, from 0.
    """

    place: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    rarest: np.ndarray
    rarest_rank: np.ndarray

    @classmethod
    def of(cls, targets: np.ndarray, image_ids: np.ndarray, units: np.ndarray, num_classes: int) -> "_Groups":
        names, place = np.unique(units, return_inverse=True)
        first = np.full(len(names), "", dtype=object)
        for row in np.argsort(image_ids)[::-1]:
            first[place[row]] = image_ids[row]
        counts = np.zeros((len(names), num_classes), dtype=np.int64)
        np.add.at(counts, (place, targets), 1)
        rarity = np.argsort(np.argsort(counts.sum(0), kind="stable"))
        ranks = np.where(counts > 0, rarity, num_classes)
        return cls(place, first, counts, ranks.argmin(axis=1), ranks.min(axis=1))

    def order(self, seed: int, what: str) -> list[int]:
        """The groups in the order of a draw."""
        drawn = [_drawn(one, seed, what) for one in self.first]
        return sorted(range(len(drawn)), key=drawn.__getitem__)


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
        num_classes = dataset.spec.num_classes
        if min(protocol.max_classes or num_classes, num_classes) < 2:
            raise UserError(
                f"A classifier needs at least two classes; max_classes={protocol.max_classes} of {num_classes} leaves "
                "less."
            )
        self.whole, self.protocol = dataset, protocol
        self.name, self.version = str(dataset.name), str(dataset.version)
        self.class_names = dataset.spec.class_names[: protocol.max_classes]
        self.spec = dataclasses.replace(dataset.spec, class_names=self.class_names)
        # The rows that the caps before the split leave, of which those after it may leave fewer.
        targets, image_ids = (dataset.table[column].to_numpy() for column in ("target", "image_id"))
        rows = np.flatnonzero((targets >= 0) & (targets < len(self.class_names)))
        rows = rows[choose_rows(targets[rows], image_ids[rows], protocol.max_per_class, seed=split_seed)]
        self._eligible = self.rows = rows
        if num_folds is None and (
            protocol.max_train_per_class or protocol.max_test_per_class or protocol.train_fraction
        ):
            # With folds every image is tested in turn, so none can be left out beforehand.
            self.rows = self._eligible[self._split(split_seed) != ""]
        if len(self.rows) == 0:
            raise UserError(f"No image of {dataset.name!r} is left by: {protocol.describe()}. Raise the caps.")
        self.num_images = len(self.rows)
        self._kept = np.searchsorted(self._eligible, self.rows)

    def __repr__(self) -> str:
        return f"DatasetSubset({self.name!r}, {len(self.rows)} of {len(self.whole.table)} images)"

    @cached_property
    def content_version(self) -> str:
        """A hash of the data set's content and the rows that take part."""
        content = getattr(self.whole, "content_version", self.version)
        return hashlib.sha256(f"{content}/".encode() + self.rows.astype("<i8").tobytes()).hexdigest()[:32]

    @cached_property
    def table(self) -> "pd.DataFrame":
        """The rows of the data set's table that take part, counted from 0."""
        return self.whole.table.iloc[self.rows].reset_index(drop=True)

    @property
    def is_excluded(self) -> np.ndarray:
        """Which of those rows an edit excludes, bool (n,)."""
        return ~takes_part(self.whole)[self.rows]

    @property
    def pixels(self) -> RowsOfPixels:
        """The pixels of those rows."""
        return RowsOfPixels(self.whole.pixels, self.rows)

    def split(self, split_seed: int, *, num_folds: int | None = None, fold: int | None = None) -> np.ndarray:
        """Return "train", "val" or "test" for each row, "" for one that a cap leaves out, "excluded" for an edit."""
        return self._split(split_seed, num_folds, fold)[self._kept]

    def indices(self, image_ids: Sequence[str]) -> np.ndarray:
        """Rows of those images, int64, in that order; raises UserError on one that does not take part."""
        known = {image_id: row for row, image_id in enumerate(self.table["image_id"])}
        missing = [image_id for image_id in image_ids if image_id not in known]
        if missing:
            raise UserError(f"The subset of {self.name!r} has no image {missing[0]!r}.")
        return np.array([known[image_id] for image_id in image_ids], dtype=np.int64)

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
        if apply_edits := getattr(self.whole, "apply_edits", None):  # before the caps, so that these are met
            split = apply_edits(split, self._eligible, has_fixed_parts=num_folds is None, class_names=self.class_names)
        for part, cap in ((TRAIN, self.protocol.max_train_per_class), (TEST, self.protocol.max_test_per_class)):
            inside = np.flatnonzero(split == part)
            kept = inside[choose_rows(targets[inside], image_ids[inside], cap, seed=seed, what=part)]
            split[np.setdiff1d(inside, kept, assume_unique=True)] = ""
        if (fraction := self.protocol.train_fraction) is not None:
            units = group_numbers(table["group_id"].to_numpy(), len(split))
            for part in (TRAIN, VAL):
                inside = np.flatnonzero(split == part)
                if len(inside):
                    kept = inside[choose_share(targets[inside], image_ids[inside], units[inside], fraction, seed=seed,
                                               what=f"{part} share")]  # fmt: skip
                    split[np.setdiff1d(inside, kept, assume_unique=True)] = ""
        return split

    def _targets_to_split(self) -> tuple[np.ndarray, list[str]]:
        """Classes of the eligible rows as the import counted them, which no later order changes, and their names."""
        whole = self.whole
        plain = (whole.table["target"].to_numpy(), list(whole.spec.class_names))
        stored, names = getattr(whole, "stored_targets", None) or plain
        # An image that was put into one of these classes by hand is of it, where the import had it in none of them.
        counted = np.array([names.index(name) for name in whole.spec.class_names])[plain[0]]
        is_other = ~np.isin(stored, [names.index(name) for name in self.class_names])
        present, targets = np.unique(np.where(is_other, counted, stored)[self._eligible], return_inverse=True)
        return targets, [names[target] for target in present]


def apply_protocol(dataset: Any, config: Any) -> Any:
    """The images of a data set that a training config takes, with the classes that it merges.

    The data set itself where the config takes it as it is; any with `table`, `pixels`, `spec`, `name` and `version`.
    The config has the fields of `DataProtocol`, `split_seed`, `num_folds` and perhaps `target_map`. Raises UserError
    where nothing is left, fewer than two classes, or the map is for another number of classes.
    """
    protocol = DataProtocol.of(config)
    if not protocol.is_whole:
        dataset = DatasetSubset(dataset, protocol, split_seed=config.split_seed, num_folds=config.num_folds)
    return map_targets(dataset, getattr(config, "target_map", None))
