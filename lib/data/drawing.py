"""So many images of each class, drawn before anything is decoded: as studies take 200 of each, or 750 and 200.

The draw is decided by its seed and the names of the files, so that it is the same on every machine. A patient is taken
whole or not at all. Published parts stay apart: images to train come from the published training part.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from lib.data.sources.files import LeftOut, SourceEntry
from lib.data.sources.folder import FolderScan
from lib.data.splits import TEST, TRAIN, VAL, group_numbers
from lib.data.subset import choose_groups
from lib.errors import UserError

_MAX_LISTED = 100  # of the images that were not drawn; more are only counted


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How many images of a class are imported; None for all.

    `per_class` of the whole set, in the shares of its published parts; or `train_per_class` of those to train and
    `test_per_class` of those to test. Raises UserError for numbers below 1, and for both ways at once.
    """

    per_class: int | None = None
    train_per_class: int | None = None
    test_per_class: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in self._numbers.items():
            if value is not None and value < 1:
                raise UserError(f"At least one image of a class must be drawn; {name} was {value}.")
        if self.per_class is not None and (self.train_per_class or self.test_per_class):
            raise UserError(
                "Draw so many images of a class (per class), or so many to train and to test; not both at once."
            )

    @property
    def _numbers(self) -> dict[str, int | None]:
        return {
            "per class": self.per_class,
            "train per class": self.train_per_class,
            "test per class": self.test_per_class,
        }

    @property
    def is_all(self) -> bool:
        """Whether every image is taken."""
        return not any(self._numbers.values())

    @property
    def words(self) -> str:
        """Such as "750 a class to train, 200 a class to test, seed 0"."""
        parts = (
            (self.per_class, f"{self.per_class} a class"),
            (self.train_per_class, f"{self.train_per_class} a class to train"),
            (self.test_per_class, f"{self.test_per_class} a class to test"),
        )
        return ", ".join([*(text for value, text in parts if value), f"seed {self.seed}"])

    @property
    def arguments(self) -> list[str]:
        """The same on the command line, as words."""
        numbers = [(f"--{name.replace(' ', '-')}", value) for name, value in self._numbers.items() if value is not None]
        if numbers and self.seed:
            numbers.append(("--draw-seed", self.seed))
        return [word for name, value in numbers for word in (name, str(value))]


ALL_IMAGES = Draw()


def draw_images(scan: FolderScan, draw: Draw) -> FolderScan:
    """The scan with the images that were drawn; the others are left out.

    Where the source has no parts and so many to train and to test are asked for, the drawn images get theirs: the test
    images first, the others from what is left. Raises UserError where a part to draw from is not there.
    """
    if draw.is_all or not scan.entries:
        return scan
    if scan.is_unlabelled:
        raise UserError("Images without labels have no classes to draw so many of; give a smaller folder instead.")
    drawn = _Drawing(scan, draw).entries()
    lost = {entry.path for entry in scan.entries} - {entry.path for entry in drawn}
    left_out = [*scan.left_out, *_not_drawn(scan.entries, lost, draw.words)]
    notices = [f"Drawn: {len(drawn):,} of {len(scan.entries):,} images ({draw.words})."]
    return replace(
        scan, entries=drawn, left_out=left_out, notices=(*scan.notices, *notices, *_too_few(scan, drawn, draw))
    )


class _Drawing:
    """One draw of one scan."""

    def __init__(self, scan: FolderScan, draw: Draw) -> None:
        self.scan, self.draw = scan, draw
        place = {name: number for number, name in enumerate(scan.class_names)}
        self.targets = np.array([place[entry.class_name] for entry in scan.entries])
        self.num_classes = len(scan.class_names)
        self.keys = np.array([entry.key for entry in scan.entries], dtype=object)
        self.units = group_numbers(
            np.array([entry.group_id for entry in scan.entries], dtype=object), len(scan.entries)
        )
        splits = np.array([entry.split for entry in scan.entries], dtype=object)
        self.kinds = set(splits) - {""}
        self.has_parts = len(self.kinds) > 1  # a lone train/ or test/ folder says nothing
        if self.has_parts:
            splits[splits == ""] = TRAIN  # as they are split later
        self.splits = splits

    def entries(self) -> list[SourceEntry]:
        if self.draw.per_class is None:
            return self._published() if self.has_parts else self._anew()
        parts = [np.flatnonzero(self.splits == part) for part in (TRAIN, VAL, TEST) if part in self.splits]
        parts = parts if self.has_parts else [np.arange(len(self.targets))]
        sizes = np.array([np.bincount(self.targets[rows], minlength=self.num_classes) for rows in parts])
        shares = _apportioned(sizes, self.draw.per_class)
        return self._at(self._choose(rows, most, "image") for rows, most in zip(parts, shares, strict=True))

    def _published(self) -> list[SourceEntry]:
        """Images to train from the training part, and to test from the test part."""
        test = TEST if TEST in self.kinds else VAL
        if TRAIN not in self.splits:
            raise UserError("The source has no part for training to draw from; draw so many of each class (per class).")
        asked = {TRAIN: self.draw.train_per_class, test: self.draw.test_per_class}
        rows = []
        for part in (TRAIN, VAL, TEST):
            inside = np.flatnonzero(self.splits == part)
            if part == VAL != test and self.draw.train_per_class:
                continue  # validation is carved from the images that were drawn to train
            number = asked.get(part)
            rows.append(inside if number is None else self._choose(inside, self._each(number), part))
        return self._at(rows)

    def _anew(self) -> list[SourceEntry]:
        """Images to test, and others to train, from a source that has no parts."""
        if not (self.draw.train_per_class and self.draw.test_per_class):
            raise UserError(
                "The source has no part for training and none for testing; say how many images of a class for both, or "
                "so many of each class (per class)."
            )
        everyone = np.arange(len(self.targets))
        test = self._choose(everyone, self._each(self.draw.test_per_class), TEST)
        train = self._choose(np.setdiff1d(everyone, test), self._each(self.draw.train_per_class), TRAIN)
        part = dict.fromkeys(test.tolist(), TEST) | dict.fromkeys(train.tolist(), TRAIN)
        return [replace(self.scan.entries[row], split=part[row]) for row in sorted(part)]

    def _each(self, number: int) -> np.ndarray:
        return np.full(self.num_classes, number)

    def _choose(self, rows: np.ndarray, most: np.ndarray, what: str) -> np.ndarray:
        chosen = choose_groups(
            self.targets[rows], self.keys[rows], self.units[rows], most, seed=self.draw.seed, what=what
        )
        return rows[chosen]

    def _at(self, rows: Iterable[np.ndarray]) -> list[SourceEntry]:
        return [self.scan.entries[row] for row in np.sort(np.concatenate(list(rows)))]


def _apportioned(sizes: np.ndarray, per_class: int) -> np.ndarray:
    """Shares (P, C) of `per_class` images for the parts of each class (P, C), in proportion, by largest remainders."""
    totals = np.maximum(sizes.sum(0), 1)
    exact = np.minimum(per_class, totals) * sizes / totals
    shares = np.floor(exact).astype(np.int64)
    missing = np.minimum(per_class, sizes.sum(0)) - shares.sum(0)
    rank = np.argsort(np.argsort(-(exact - shares), axis=0, kind="stable"), axis=0)
    return shares + (rank < missing)


def _not_drawn(entries: Iterable[SourceEntry], lost: set, words: str) -> list[LeftOut]:
    reason = f"not drawn ({words})"
    if len(lost) > _MAX_LISTED:
        return [LeftOut(".", f"{len(lost):,} images {reason}")]
    return [LeftOut(entry.relative, reason) for entry in entries if entry.path in lost]


def _too_few(scan: FolderScan, drawn: list[SourceEntry], draw: Draw) -> list[str]:
    """A sentence for each number that a class does not reach."""
    is_grouped = any(entry.group_id for entry in drawn)
    sentences = []
    splits = {entry.split for entry in drawn}
    test = {TEST} if TEST in splits else {VAL}
    wanted = (
        (draw.per_class, "", splits),
        (draw.train_per_class, " to train", {TRAIN, ""}),
        (draw.test_per_class, " to test", test),
    )
    for number, what, parts in wanted:
        if number is None:
            continue
        counts = Counter(entry.class_name for entry in drawn if entry.split in parts)
        few = [f"{name} ({counts[name]:,})" for name in scan.class_names if counts[name] < number]
        if few:
            why = "; patients are taken whole" if is_grouped else ""
            sentences.append(f"Fewer than {number:,} images{what} were there to draw of {', '.join(few)}{why}.")
    return sentences
