"""How far classes lie apart among features: whose images are the nearest ones of each image."""

from dataclasses import dataclass

import numpy as np

from lib.data.splits import group_numbers

NUM_NEIGHBORS = 10
_WORKING_MIB = 64  # of distances at a time
_Z_95 = 1.96
# From which share of the way between mixed and apart on a word applies.
WORDS = ((0.8, "apart"), (0.5, "mostly apart"), (0.2, "partly apart"), (0.05, "hardly apart"))
MIXED = "mixed"


@dataclass(frozen=True)
class Separation:
    """How many of the nearest images of an image are of its own class, on average over images.

    Attributes:
        purity: that share, from 0 to 1, with its 95 % interval `low` to `high`.
        chance: what the share would be if images lay at random.
        num_neighbors: how many neighbours of each image are looked at, at most.
        num_images: images that count.
        by_class: the share of each class's images; None of a class without any.
    """

    purity: float
    low: float
    high: float
    chance: float
    num_neighbors: int
    num_images: int
    by_class: tuple[float | None, ...] = ()

    @property
    def apart(self) -> float:
        """How far from mixed (0) to apart (1) the classes are; below 0 where they avoid their own kind."""
        return (self.purity - self.chance) / (1 - self.chance) if self.chance < 1 else 0.0

    @property
    def word(self) -> str:
        """The same in a word."""
        return next((word for least, word in WORDS if self.apart >= least), MIXED)


def nearest_images(
    features: np.ndarray, groups: np.ndarray | None = None, *, num: int = NUM_NEIGHBORS, seed: int = 0
) -> np.ndarray:
    """The nearest images of each, by Euclidean distance, those of its own group (a patient) left out.

    Args:
        features: (N, D).
        groups: names of groups (N,), "" for an image by itself; None where every image stands alone.
        num: how many.
        seed: who goes first among equally near ones.

    Returns:
        Row numbers (N, k) int32, the nearest first, k at most `num`; -1 where there are fewer others.
    """
    from sklearn.metrics import pairwise_distances_chunked

    number = len(features)
    num = min(num, number - 1)
    if num < 1:
        return np.zeros((number, 0), dtype=np.int32)
    # In an order drawn by chance: equally near images, such as all of them in a stage that answers the same to every
    # image, would otherwise be taken in the order of the table, which often is that of the classes.
    order = np.random.default_rng(seed).permutation(number)
    units = group_numbers(groups, number)[order]

    def nearest(distances: np.ndarray, start: int) -> np.ndarray:
        own = units[start : start + len(distances), None] == units[None]
        distances[own] = np.inf
        found = np.argpartition(distances, num - 1, axis=1)[:, :num]
        lengths = np.take_along_axis(distances, found, axis=1)
        rising = np.argsort(lengths, axis=1, kind="stable")
        found, lengths = (np.take_along_axis(each, rising, axis=1) for each in (found, lengths))
        return np.where(np.isfinite(lengths), order[found], -1).astype(np.int32)

    parts = pairwise_distances_chunked(features[order], reduce_func=nearest, working_memory=_WORKING_MIB)
    result = np.empty((number, num), dtype=np.int32)
    result[order] = np.concatenate(list(parts))
    return result


def separation(
    neighbors: np.ndarray,
    targets: np.ndarray,
    *,
    num_classes: int,
    groups: np.ndarray | None = None,
    is_counted: np.ndarray | None = None,
) -> Separation | None:
    """k-nearest-neighbour purity of the classes; its interval treats groups, not images, as independent.

    Args:
        neighbors: of `nearest_images` (N, k).
        targets: class numbers (N,).
        num_classes: K.
        groups: as there.
        is_counted: which images count (N,), as images and as neighbours; by default all.

    Returns:
        None where fewer than two classes have an image that counts, or no image has a neighbour.
    """
    counted = np.ones(len(targets), dtype=bool) if is_counted is None else np.asarray(is_counted, dtype=bool)
    if len(np.unique(targets[counted])) < 2 or not neighbors.shape[1]:
        return None
    units = np.unique(group_numbers(groups, len(targets)), return_inverse=True)[1]
    own, others = _candidates(targets, units, counted)
    is_seen = (neighbors >= 0) & counted[neighbors]
    # Of a class of five images no more than the four nearest are looked at, else it could never be pure.
    is_seen &= is_seen.cumsum(1) <= np.maximum(own, 1)[:, None]
    num_seen = is_seen.sum(1)
    rows = np.flatnonzero(counted & (num_seen > 0))
    if not len(rows):
        return None
    is_own = is_seen & (targets[neighbors] == targets[:, None])
    shares = is_own[rows].sum(1) / num_seen[rows]
    purity, error = _mean_by_unit(shares, units[rows])
    by_class = tuple(
        float(shares[targets[rows] == target].mean()) if (targets[rows] == target).any() else None
        for target in range(num_classes)
    )
    return Separation(
        purity, max(0.0, purity - _Z_95 * error), min(1.0, purity + _Z_95 * error),
        float((own / np.maximum(others, 1))[rows].mean()), int(num_seen[rows].max()), len(rows), by_class,
    )  # fmt: skip


def _mean_by_unit(values: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """The mean, and its standard error where values of a unit belong together (clustered, as a ratio of sums)."""
    mean = float(values.mean())
    sums = np.bincount(units, weights=values - mean)
    num_units = len(np.unique(units))
    spread = float((sums**2).sum()) * num_units / max(1, num_units - 1)
    return mean, float(np.sqrt(spread)) / len(values)


def _candidates(targets: np.ndarray, units: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each image (N,), how many that count are not of its group: those of its class, and all."""
    known = np.where(targets >= 0, targets, targets.max() + 1)  # those without a class are one of their own
    num_classes = int(known.max()) + 1
    of_class = np.bincount(known[counted], minlength=num_classes)
    pairs, place = np.unique(units * num_classes + known, return_inverse=True)
    of_pair = np.bincount(place[counted], minlength=len(pairs))
    of_unit = np.bincount(units[counted], minlength=int(units.max()) + 1)
    return of_class[known] - of_pair[place], counted.sum() - of_unit[units]


def kept_neighbors(neighbors: np.ndarray, points: np.ndarray) -> float | None:
    """How many of the nearest images in the features are among as many nearest in a picture (N, 2): a share.

    None where there is nothing to compare. The higher, the more the picture's small distances can be believed.
    """
    from scipy.spatial import cKDTree

    num = neighbors.shape[1]
    if not num or not np.ptp(points, axis=0).any():
        return None
    drawn = cKDTree(points).query(points, k=num + 1)[1]
    kept = (neighbors[:, :, None] == drawn[:, None, :]).any(2)
    known = neighbors >= 0
    return float(kept[known].mean()) if known.any() else None
