"""Divide a data set oneself: shares, seed, what stays together and whether each class is divided alike.

A plan is drawn, its table looked at, then kept as one edit (lib/data/edits.py): a new version of the data set over the
same pixels, in which the part of every image is fixed, whatever the split seed. Runs of earlier versions keep theirs,
and folds, which divide by themselves, pay no heed to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from lib.data.dataset import Dataset
from lib.data.edits import divide
from lib.data.splits import EXCLUDED, TEST, TRAIN, VAL, assign_splits, group_numbers
from lib.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

PARTS = (TRAIN, VAL, TEST)
GROUPS, FOLDERS, ALONE = "groups", "folders", "none"
GROUPINGS = {
    GROUPS: "Patients or other groups of the data set",
    FOLDERS: "Images of one folder",
    ALONE: "Each image by itself",
}
_MOST_TRIES = 20


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """How to divide; shares are of all images that take part.

    `group` is one of `GROUPINGS`: what stays in one part. `is_stratified` divides every class alike, as far as whole
    groups allow; without it the groups are dealt out as they come.
    """

    test_share: float = 0.2
    val_share: float = 0.16
    seed: int = 0
    group: str = GROUPS
    is_stratified: bool = True

    def __post_init__(self) -> None:
        for share, what in ((self.test_share, "test"), (self.val_share, "validate")):
            if not 0 < share < 1:
                raise UserError(f"The share to {what} on lies between 0 and 1, received {share:g}.")
        if self.test_share + self.val_share >= 1:
            raise UserError(
                f"Test ({self.test_share:g}) and validation ({self.val_share:g}) leave nothing to train; together they "
                "must be less than 1."
            )
        if self.group not in GROUPINGS:
            raise UserError(f"What stays together is one of {', '.join(GROUPINGS)}, not {self.group!r}.")

    @property
    def words(self) -> str:
        """The plan in a line, which is kept as the reason of the edit."""
        together = {GROUPS: "by group", FOLDERS: "by folder", ALONE: "image by image"}[self.group]
        how = "every class alike" if self.is_stratified else "classes as they come"
        return f"{self.test_share:.0%} test, {self.val_share:.0%} validation, seed {self.seed}, {together}, {how}"


def draw_split(dataset: Dataset, plan: SplitPlan, copies: np.ndarray | None = None) -> np.ndarray:
    """The part of each image (N,) by a plan; "excluded" for an image that takes no part.

    `copies` (N,) numbers sets of near duplicates, -1 for an image without one: those stay together too. Raises
    UserError where a class or group is too small, or a group of the data set would be divided.
    """
    takes_part = ~dataset.is_excluded & (dataset.table["target"].to_numpy() >= 0)
    units = units_of(dataset, plan.group, copies)
    split = np.full(dataset.num_images, EXCLUDED, dtype="<U8")
    targets = dataset.table["target"].to_numpy()[takes_part]
    if plan.is_stratified:
        drawn = assign_splits(
            targets, np.array([f"u{unit}" for unit in units[takes_part]], dtype=object), None, split_seed=plan.seed,
            class_names=dataset.class_names, test_fraction=plan.test_share,
            val_fraction=plan.val_share / (1 - plan.test_share),
        )  # fmt: skip
    else:
        drawn = _deal(targets, units[takes_part], plan, dataset.class_names)
    split[takes_part] = drawn
    check_split(dataset, split, copies=copies)
    return split


def units_of(dataset: Dataset, group: str = GROUPS, copies: np.ndarray | None = None) -> np.ndarray:
    """A number for each image (N,): those that a plan keeps together share it."""
    if group == FOLDERS:
        names = np.array([str(PurePosixPath(path).parent) for path in dataset.table["path"]], dtype=object)
    else:
        names = dataset.table["group_id"].to_numpy(dtype=object)
    units = group_numbers(None if group == ALONE else names, dataset.num_images)
    return units if copies is None else _joined(units, copies)


def _joined(units: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Units (N,) of which those that share a set of copies are one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    num = len(units)
    rows = np.flatnonzero(copies >= 0)
    nodes = np.concatenate([np.unique(units, return_inverse=True)[1], np.empty(0, np.int64)])
    first = int(nodes.max(initial=-1)) + 1
    links = np.stack([nodes[rows], first + copies[rows]])
    size = first + int(copies.max(initial=-1)) + 1
    numbers = connected_components(coo_array((np.ones(len(rows)), links), shape=(size, size)), directed=False)[1]
    return np.asarray(numbers[nodes], dtype=np.int64).reshape(num)


def _deal(targets: np.ndarray, units: np.ndarray, plan: SplitPlan, class_names: Sequence[str]) -> np.ndarray:
    """Whole units in a drawn order: the first to test, the next to validate, the rest to train.

    Of several orders the first is taken that leaves every class something to train.
    """
    names, members = np.unique(units, return_inverse=True)
    if len(names) < 3:
        raise UserError(f"There are {len(names)} groups; at least three are needed, one each to train, validate, test.")
    sizes = np.bincount(members)
    for attempt in range(_MOST_TRIES):
        order = np.random.default_rng([plan.seed, attempt]).permutation(len(names))
        ends = np.cumsum(sizes[order]) / len(units)
        part = np.full(len(names), TRAIN, dtype="<U8")
        # A unit goes where its middle lies, so that shares are met from both sides.
        middles = ends - sizes[order] / len(units) / 2
        part[order[middles < plan.test_share + plan.val_share]] = VAL
        part[order[middles < plan.test_share]] = TEST
        split = part[members]
        has_all = len(np.unique(targets[split == TRAIN])) == len(np.unique(targets))
        if has_all and (split == TEST).any() and (split == VAL).any():
            return split
    raise UserError(
        f"No division was found in {_MOST_TRIES} draws that leaves each of {len(class_names)} classes something to "
        "train, validate and test; divide every class alike, or take smaller shares."
    )


def check_split(
    dataset: Dataset, split: np.ndarray, *, groups: np.ndarray | None = None, copies: np.ndarray | None = None
) -> None:
    """Raise UserError, in one sentence, where a split (N,) overlaps or lacks something.

    A group of the data set, one of `groups` (names (N,), "" for none) and a set of near duplicates (`copies`) must be
    in one part; every class needs images to train, and there must be some to validate and to test.
    """
    paths, used = dataset.table["path"].to_numpy(), split != EXCLUDED
    named = [dataset.table["group_id"].to_numpy(dtype=object), *([] if groups is None else [groups])]
    for names in named:
        if crossing := _crossing(split, names, used & (names != "")):
            name, parts, number = crossing
            raise UserError(
                f"{_groups_are(number)} in more than one part ({name!r} in {' and '.join(parts)}), which would make "
                "the test too easy; put all images of a group (a patient) into one part."
            )
    if copies is not None and (crossing := _crossing(split, copies, used & (copies >= 0))):
        rows = np.flatnonzero((copies == crossing[0]) & used)
        one, other = rows[0], next(row for row in rows if split[row] != split[rows[0]])
        raise UserError(
            f"{crossing[2]} set{'s' if crossing[2] != 1 else ''} of near duplicates would be in more than one part, "
            f"such as {paths[one]} ({split[one]}) and {paths[other]} ({split[other]}); keep copies together, or "
            "exclude all but one."
        )
    for target, class_name in enumerate(dataset.class_names):
        own = split[(dataset.table["target"].to_numpy() == target) & used]
        if len(own) and TRAIN not in own:
            raise UserError(f"The class {class_name!r} would have no image to train; give it some.")
    for part, what in ((VAL, "validate"), (TEST, "test")):
        if not (split == part).any():
            raise UserError(f"There would be no image to {what} on; give the part {part!r} some.")


def _crossing(split: np.ndarray, names: np.ndarray, is_named: np.ndarray) -> tuple[object, list[str], int] | None:
    """The first name that is in more than one part, its parts, and how many such names there are."""
    parts_of: dict[object, set[str]] = {}
    for name, part in zip(names[is_named].tolist(), split[is_named].tolist(), strict=True):
        parts_of.setdefault(name, set()).add(part)
    crossing = [name for name, parts in parts_of.items() if len(parts) > 1]
    return (crossing[0], sorted(parts_of[crossing[0]]), len(crossing)) if crossing else None


def _groups_are(number: int) -> str:
    return "1 group (patient) would be" if number == 1 else f"{number:,} groups (patients) would be"


def split_table(dataset: Dataset, split: np.ndarray) -> "pd.DataFrame":
    """How a split (N,) divides: class_name, split, images, share (of the class), groups; "" is the row of all classes.

    `groups` counts patients, an image by itself as one.
    """
    import pandas as pd

    targets, units = dataset.table["target"].to_numpy(), units_of(dataset)
    used = np.isin(split, PARTS)
    rows = []
    for class_name, of_class in [
        *((name, used & (targets == target)) for target, name in enumerate(dataset.class_names)), ("", used),
    ]:  # fmt: skip
        for part in PARTS:
            here = of_class & (split == part)
            share = here.sum() / max(1, of_class.sum())
            rows.append((class_name, part, int(here.sum()), float(share), len(np.unique(units[here]))))
    return pd.DataFrame(rows, columns=["class_name", "split", "images", "share", "groups"])


def keep_split(dataset: Dataset, split: np.ndarray, reason: str = "", *, copies: np.ndarray | None = None) -> Dataset:
    """Fix the part of every image as `split` (N,) says, in one edit; the data set as it is now.

    An excluded image goes, for the time when it is restored, with its group, else to training. Raises UserError where
    the split overlaps or lacks something, or the data set is not at this version any more.
    """
    check_split(dataset, split, copies=copies)
    parts = split.astype("<U8")
    units = units_of(dataset, copies=copies)
    of_unit = {unit: part for unit, part in zip(units.tolist(), parts.tolist(), strict=True) if part != EXCLUDED}
    for row in np.flatnonzero(parts == EXCLUDED):
        parts[row] = of_unit.get(int(units[row]), TRAIN)
    ids = dataset.table["image_id"].tolist()
    return divide(dataset.name, dict(zip(ids, parts.tolist(), strict=True)), reason, expected_version=dataset.version)


def draw_anew(dataset: Dataset, reason: str = "") -> Dataset:
    """Let go of all fixed parts, in one edit: the source's own split and the split seed decide again.

    Raises UserError where nothing is fixed, or the data set is not at this version any more.
    """
    ids = dataset.table["image_id"].tolist()
    return divide(dataset.name, dict.fromkeys(ids, ""), reason, expected_version=dataset.version)


def is_divided_by_hand(dataset: Dataset) -> bool:
    """Whether parts of images are fixed by edits, so that the split seed does not say everything."""
    return bool(dataset.fixed_parts)
