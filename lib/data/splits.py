"""Who trains, who validates, who tests: stratified by class, and a group (a patient) never crosses.

A split belongs to the data set and its `split_seed`, apart from the training seed, so that runs can be compared image
by image.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from lib.errors import UserError

TRAIN, VAL, TEST = "train", "val", "test"
EXCLUDED = "excluded"  # in no part: taken out by a person, or without a class
ADD_OR_LEAVE = "Add images of it or leave the class out."
_HELD_OUT_PARTS = 5  # test is a fifth of all, validation a fifth of the rest, unless told otherwise
_MOST_PARTS = 25  # an asked share is met to 4 %: 0.3 is three of ten parts, 0.08 two of twenty-five
_ATTEMPTS = 10


def assign_splits(
    targets: np.ndarray,
    groups: np.ndarray | None,
    fixed: np.ndarray | None,
    *,
    split_seed: int,
    num_folds: int | None = None,
    fold: int | None = None,
    class_names: Sequence[str] | None = None,
    test_fraction: float | None = None,
    val_fraction: float | None = None,
) -> np.ndarray:
    """Return "train", "val" or "test" for each image.

    `targets` (N,) are classes from 0, `groups` (N,) patients or the like ("" or None: each image stands alone), `fixed`
    (N,) the splits that the source's folders give ("" where none). All three fixed splits stay as they are; train and
    val without test make val the test set; what is missing is carved from train. With `num_folds` the test sets of
    folds 0 ... K-1 are disjoint, cover all images and pay no heed to `fixed`. `test_fraction` of all images and
    `val_fraction` of the others are held out where nothing is fixed; a fifth each by default.
    Raises UserError if there is one class only, a class has too few images or groups, or a group lies on both sides of
    a fixed split.
    """
    targets = np.asarray(targets)
    names = list(class_names) if class_names is not None else [f"class {k}" for k in range(int(targets.max()) + 1)]
    if len(names) < 2:
        raise UserError(
            f"There is only one class, {names[0]!r}; at least two are needed to train. It can be evaluated on."
        )
    carver = _Carver(targets, group_numbers(groups, len(targets)), names, split_seed, test_fraction, val_fraction)
    if num_folds is not None:
        return carver.fold(num_folds, fold or 0)
    given = np.full(len(targets), "", dtype="<U5") if fixed is None else np.asarray(fixed).astype("<U5")
    kinds = set(given.tolist()) - {""}
    if len(kinds) < 2:  # a lone train/ or test/ folder says nothing
        return carver.from_all()
    if TRAIN not in kinds:
        raise UserError("The folder has val/ and test/ but no train/; add a train/ folder or remove both.")
    return carver.from_fixed(given, kinds)


def with_fixed(split: np.ndarray, fixed: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """A split (N,) with the parts that people fixed for images (N,), "" for none; a fixed image takes its group along.

    `groups` (N,) are names, "" for an image by itself. Where two images of a group are fixed, the later row decides.
    """
    units, rows = group_numbers(groups, len(split)), np.flatnonzero(fixed != "")
    part_of = dict(zip(units[rows].tolist(), fixed[rows].tolist(), strict=True))
    return np.array([part_of.get(unit, part) for unit, part in zip(units.tolist(), split.tolist(), strict=True)])


def require_parts(split: np.ndarray, targets: np.ndarray, class_names: Sequence[str]) -> None:
    """Raise UserError where edits leave a class without an image to train, or nothing to validate or test on.

    `split` (N,) and `targets` (N,) are as the edits make them.
    """
    to_train = np.bincount(targets[split == TRAIN], minlength=len(class_names))
    empty = next((name for name, number in zip(class_names, to_train, strict=True) if not number), None)
    if empty is not None:
        raise UserError(f"The edits of the data set leave the class {empty!r} no image to train; restore some of it.")
    for part, what in ((VAL, "validate"), (TEST, "test")):
        if not (split == part).any():
            raise UserError(f"The edits of the data set leave no image to {what} on; restore some of them.")


def held_out_folds(
    targets: np.ndarray, units: np.ndarray, rows: np.ndarray, *, most: int, seed: int
) -> list[np.ndarray]:
    """Cut rows into at most `most` parts, stratified and with whole groups, so that without any part no class is lost.

    `targets` and `units` (their `group_numbers`) are of all images (N,), `rows` (n,) those to cut. Returns the rows of
    each part, sorted; none if a class has a single group, which no part could leave behind.
    """
    carver = _Carver(targets, units, [""] * (int(targets.max()) + 1), seed)
    for parts in range(most, 1, -1):
        for cut in carver.partitions(rows, parts, seed):
            if all(len(part) and carver.leaves_every_class(rows, part, keep=1) for part in cut):
                return [np.sort(part) for part in cut]
    return []


def group_numbers(groups: np.ndarray | None, num_images: int) -> np.ndarray:
    """Number the groups (N,), int64; an image without one gets a number of its own."""
    if groups is None:
        return np.arange(num_images)
    named = np.asarray(groups, dtype=object)
    numbers: dict[str, int] = {}
    alone = iter(range(num_images, 2 * num_images))
    return np.array([numbers.setdefault(str(g), len(numbers)) if g else next(alone) for g in named], dtype=np.int64)


@dataclass
class _Carver:
    """Holds what every way of splitting needs; `units` numbers the groups, one number an image where there are none."""

    targets: np.ndarray
    units: np.ndarray
    class_names: list[str]
    seed: int
    test_fraction: float | None = None
    val_fraction: float | None = None

    def __post_init__(self) -> None:
        self.is_grouped = len(np.unique(self.units)) < len(self.units)

    def from_all(self) -> np.ndarray:
        """Test, validation and training from scratch."""
        everyone = np.arange(len(self.targets))
        self._require(everyone, 3, "one each to train, validate and test")
        splits = np.full(len(self.targets), TRAIN, dtype="<U5")
        test = self._hold_out(everyone, self.seed, keep=2, fraction=self.test_fraction)
        splits[test] = TEST
        splits[self._validation(splits, self.seed)] = VAL
        return splits

    def from_fixed(self, given: np.ndarray, kinds: set[str]) -> np.ndarray:
        """Honour the folders' own split."""
        splits = given.copy()
        splits[splits == ""] = TRAIN
        if TEST not in kinds:
            splits[splits == VAL] = TEST
        is_whole = kinds >= {TRAIN, VAL, TEST}
        needed, why = (1, "at least one to train") if is_whole else (2, "one each to train and validate")
        self._refuse_crossing(splits)
        self._require(np.flatnonzero(splits == TRAIN), needed, why, where=" in train/")
        if VAL not in splits:
            splits[self._validation(splits, self.seed)] = VAL
        return splits

    def fold(self, num_folds: int, fold: int) -> np.ndarray:
        """The split of one of K folds."""
        if not 0 <= fold < num_folds:
            raise UserError(f"There is no fold {fold} of {num_folds}; folds count from 0 to {num_folds - 1}.")
        everyone = np.arange(len(self.targets))
        self._require(everyone, max(3, num_folds), f"one for each of {num_folds} folds and three at least")
        cuts = self.partitions(everyone, num_folds, self.seed)
        tests = next((cut for cut in cuts if all(self._covers(everyone, test, keep=2) for test in cut)), None)
        if tests is None:
            raise UserError(f"{self._unlucky()} Use fewer folds than {num_folds}.")
        splits = np.full(len(self.targets), TRAIN, dtype="<U5")
        splits[tests[fold]] = TEST
        splits[self._validation(splits, self.seed + fold)] = VAL
        return splits

    def _validation(self, splits: np.ndarray, seed: int) -> np.ndarray:
        return self._hold_out(np.flatnonzero(splits == TRAIN), seed, keep=1, fraction=self.val_fraction)

    def _hold_out(self, pool: np.ndarray, seed: int, *, keep: int, fraction: float | None = None) -> np.ndarray:
        """Indices of that share of `pool` (None: a fifth) with every class, leaving `keep` groups a class at least.

        Where so few cannot hold every class (three patients a class), the next share that can is taken.
        """
        for taken, parts in _shares(fraction):
            for cut in self.partitions(pool, parts, seed):
                # Any parts that lie side by side are as good as others: the cut is shuffled.
                candidates = [np.sort(np.concatenate([*cut, *cut][k : k + taken])) for k in range(parts)]
                good = [held for held in candidates if self._covers(pool, held, keep=keep)]
                if good:
                    return min(good, key=lambda held: self._imbalance(pool, held, taken / parts))
        raise UserError(
            f"{self._unlucky()} Add images of the rare classes, or import without the group column or with --no-pairs."
        )

    def partitions(self, pool: np.ndarray, parts: int, seed: int) -> Iterator[list[np.ndarray]]:
        """Seeded ways to cut `pool` into stratified parts, no group in two of them."""
        from sklearn.model_selection import StratifiedKFold

        from lib.data.grouped_folds import GroupedFolds

        targets, units = self.targets[pool], self.units[pool]
        if np.bincount(targets).max() < parts or len(np.unique(units)) < parts:
            return
        splitter = GroupedFolds if self.is_grouped else StratifiedKFold
        for attempt in range(_ATTEMPTS):
            cut = splitter(parts, shuffle=True, random_state=seed + 1009 * attempt)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # "least populated class": checked by the caller
                yield [pool[held] for _, held in cut.split(pool, targets, units)]

    def _covers(self, pool: np.ndarray, held: np.ndarray, *, keep: int) -> bool:
        has_all = np.array_equal(np.unique(self.targets[held]), np.unique(self.targets[pool]))
        return has_all and self.leaves_every_class(pool, held, keep=keep)

    def leaves_every_class(self, pool: np.ndarray, held: np.ndarray, *, keep: int) -> bool:
        """Whether the rest of `pool` has at least `keep` groups of every class that is in it."""
        rest = np.setdiff1d(pool, held, assume_unique=True)
        return bool((self._groups_a_class(rest)[np.unique(self.targets[pool])] >= keep).all())

    def _imbalance(self, pool: np.ndarray, held: np.ndarray, share: float) -> float:
        num_classes = len(self.class_names)
        total = np.bincount(self.targets[pool], minlength=num_classes)
        taken = np.bincount(self.targets[held], minlength=num_classes)
        return float(np.abs(taken / np.maximum(total, 1) - share)[total > 0].sum())

    def _groups_a_class(self, pool: np.ndarray) -> np.ndarray:
        pairs = np.unique(self.units[pool] * len(self.class_names) + self.targets[pool])  # as one number each: quicker
        return np.bincount(pairs % len(self.class_names), minlength=len(self.class_names))

    def _require(self, pool: np.ndarray, needed: int, why: str, *, where: str = "") -> None:
        counts = self._groups_a_class(pool)
        scarcest = int(np.argmin(counts))
        if counts[scarcest] < needed:
            what = "group" if self.is_grouped else "image"
            has = f"{counts[scarcest]} {what}{'' if counts[scarcest] == 1 else 's'}"
            raise UserError(
                f"Class {self.class_names[scarcest]!r} has {has}{where}; at least {needed} are needed ({why}). "
                f"{ADD_OR_LEAVE}"
            )

    def _refuse_crossing(self, splits: np.ndarray) -> None:
        if not self.is_grouped:
            return
        pairs = np.unique(np.stack([self.units, np.unique(splits, return_inverse=True)[1]]), axis=1)
        crossing = int((np.bincount(pairs[0]) > 1).sum())
        if crossing:
            raise UserError(_crossing_words(crossing))

    def _unlucky(self) -> str:
        what = "groups" if self.is_grouped else "images"
        return f"No split was found in which every class is trained, validated and tested: some have too few {what}."


def _crossing_words(num_groups: int) -> str:
    return (
        f"{num_groups} groups (patients) have images in more than one of train/, val/ and test/, which would make the "
        "test too easy. Move each group's images into one of them, or put all images under one folder a class; names "
        "such as 7_left and 7_right count as one patient unless pairs are declined (--no-pairs)."
    )


def refuse_crossing(groups: Sequence[str], parts: Sequence[str], sizes: Sequence[int]) -> None:
    """Raise UserError where a group surely has images in two parts of the source, before any image is read.

    Of files of one size, in bytes, in two parts of a group all but one may fall away as copies: they prove nothing.
    """
    sizes_by_group: dict[str, dict[str, set[int]]] = {}
    for group, part, size in zip(groups, parts, sizes, strict=True):
        if group and part:
            sizes_by_group.setdefault(group, {}).setdefault(part, set()).add(size)
    num_crossing = 0
    for by_part in sizes_by_group.values():
        own = [sizes - set().union(*(other for other in by_part.values() if other is not sizes))
               for sizes in by_part.values()]  # fmt: skip
        num_crossing += sum(map(bool, own)) > 1
    if num_crossing:
        raise UserError(_crossing_words(num_crossing))


def _shares(fraction: float | None) -> list[tuple[int, int]]:
    """Ways to hold out a share as so many of so many parts: the nearest first, then with fewer and larger parts.

    An asked share between two parts and one (0.3) ends where a default would: at a half.
    """
    if fraction is None:
        return [(1, parts) for parts in range(_HELD_OUT_PARTS, 1, -1)]
    nearest = (
        min(max(Fraction(fraction).limit_denominator(most), Fraction(1, most)), Fraction(most - 1, most))
        for most in range(_MOST_PARTS, 1, -1)
    )
    return list(dict.fromkeys((share.numerator, share.denominator) for share in nearest))
