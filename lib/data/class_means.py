"""The mean image of each class, and how it differs from the mean of all: what classes share in place, light and colour.

A class whose mean differs in a corner, at the border or all over is told by something else than its subject. Squares of
the pixel store are reduced and summed one by one, so that memory does not grow with the data set, and what comes of it
is kept on disk (lib/disk_cache).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from lib.data.dataset import Dataset
from lib.data.splits import EXCLUDED, group_numbers
from lib.data.statistics import grey_of
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.progress import Progress, ignore_progress

VERSION = 1
_BATCH = 64
_SIDE_PX, _SIDE_OF_MANY_PX, _MANY = 192, 96, 20  # a smaller side where there are more classes than that
_CHANCE = 3.9  # standard errors that 1 of 10,000 pixels exceeds by chance, at either side


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """Mean images of K classes.

    Attributes:
        class_names: K names.
        counts: images of each class (K,); a class without any has a mean of zeros.
        cases: the same with the images of a group (a patient) counted once.
        means: float32 (K, S, S, 3), levels 0 to 255.
        deviations: standard deviation of each pixel within its class, float32 (K, S, S, 3).
    """

    class_names: tuple[str, ...]
    counts: np.ndarray
    cases: np.ndarray
    means: np.ndarray
    deviations: np.ndarray

    @cached_property
    def mean(self) -> np.ndarray:
        """Of all images, each counting once: float32 (S, S, 3)."""
        return np.tensordot(self._shares, self.means, 1).astype(np.float32)

    @cached_property
    def deviation(self) -> np.ndarray:
        """The standard deviation of each pixel over all images, float32 (S, S, 3)."""
        squares = self.deviations.astype(np.float64) ** 2 + self.means.astype(np.float64) ** 2
        return np.sqrt(np.maximum(np.tensordot(self._shares, squares, 1) - self.mean**2, 0)).astype(np.float32)

    @property
    def _shares(self) -> np.ndarray:
        return np.asarray(self.counts / max(1, self.counts.sum()))

    def difference(self, target: int) -> np.ndarray:
        """Grey level of a class less that of all, (S, S), in standard deviations of the single images at that place."""
        spread = grey_of(self.deviation)
        return np.asarray(grey_of(self.means[target] - self.mean) / np.maximum(spread, 1.0), dtype=np.float32)

    def chance(self, target: int) -> float:
        """Below it a difference may well be chance, in the same unit: that of so few cases drawn from all.

        One of 10,000 pixels exceeds it then. A class without images has infinity.
        """
        own, num = int(self.cases[target]), int(self.cases.sum())
        return _CHANCE * float(np.sqrt(1 / own - 1 / num)) if own else float("inf")


def class_means(
    dataset: Dataset, split: np.ndarray, part: str = "", *, progress: Progress = ignore_progress
) -> ClassMeans:
    """Mean images of the classes, of all images that take part or of one part of a split (N,); read from the cache.

    Raises UserError only where the store is damaged.
    """
    targets = dataset.table["target"].to_numpy()
    targets = np.where(split == part if part else split != EXCLUDED, targets, -1).astype(np.int64)
    num_classes, store_px = len(dataset.class_names), dataset.spec.store_side_px
    side = min(store_px, _SIDE_PX if num_classes <= _MANY else _SIDE_OF_MANY_PX)
    seen = f"means/{VERSION}/{dataset.content_version}/{side}/{num_classes}/".encode() + targets.tobytes()
    path = entry_path("statistics", hashlib.sha256(seen).hexdigest()[:32])
    found = read_entry(path, num_classes, is_mapped=False)
    if found is None:
        means = _summed(dataset, targets, side, progress)
        for _ in write_entry(path, iter([means]), num_classes):
            pass
        found = means
    used = targets >= 0
    units = group_numbers(dataset.table["group_id"].to_numpy(), dataset.num_images)
    cases = np.unique(np.stack([targets[used], units[used]]), axis=1)[0]
    counts, cases = (np.bincount(own, minlength=num_classes) for own in (targets[used], cases))
    return ClassMeans(tuple(dataset.class_names), counts, cases, np.asarray(found)[:, 0], np.asarray(found)[:, 1])


def _summed(dataset: Dataset, targets: np.ndarray, side: int, progress: Progress) -> np.ndarray:
    """Means and deviations, float32 (K, 2, S, S, 3)."""
    num_classes = len(dataset.class_names)
    sums = np.zeros((num_classes, 2, side, side, 3))
    rows = np.flatnonzero(targets >= 0)
    for done, (row, square) in enumerate(_squares(dataset, rows, side), start=1):
        sums[targets[row], 0] += square
        sums[targets[row], 1] += square.astype(np.float64) ** 2
        progress(done, len(rows), "averaging images")
    counts = np.maximum(np.bincount(targets[rows], minlength=num_classes), 1)[:, None, None, None, None]
    sums /= counts
    sums[:, 1] = np.sqrt(np.maximum(sums[:, 1] - sums[:, 0] ** 2, 0))
    return sums.astype(np.float32)


def _squares(dataset: Dataset, rows: np.ndarray, side: int) -> Iterator[tuple[int, np.ndarray]]:
    """Rows with their squares at that side, float32 (S, S, 3), read block by block."""
    for start in range(0, len(rows), _BATCH):
        taken = rows[start : start + _BATCH]
        for row, pixels in zip(taken.tolist(), dataset.pixels[taken], strict=True):
            image = Image.fromarray(np.ascontiguousarray(pixels))
            small = image if image.width == side else image.resize((side, side), Image.Resampling.BOX, reducing_gap=2)
            yield row, np.asarray(small, dtype=np.float32)
