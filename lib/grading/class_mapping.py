"""Which of a classifier's classes the classes of another data set are: by name, by grade, or as a person says.

A mapping is written in one line: `their=ours,their=ours` with "-" for a class whose images are left out; or one number
of the classifier's classes for each class of the data set in its order (`0,0,1,1,1`); or the name of a target map
(`referable`), which merges grades on both sides, the classifier's by adding their probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.data.grades import match_classes
from lib.data.target_map import TARGET_MAPS, MergedClasses, merge_classes
from lib.errors import UserError

LEFT_OUT = "-"
_SHOWN = 8


@dataclass(frozen=True)
class ClassMapping:
    """The classes of a data set as numbers of the classes that are scored.

    Attributes:
        numbers: for each class of the data set the number of the class that it is, -1 for one that is left out.
        class_names: the classes that are scored.
        merged: the scored class of each of the classifier's classes; () where they are its own.
        is_ordinal: whether merged classes are grades in their order; None where the classifier says.
        text: as a person wrote it; "" where names or grades match by themselves.
    """

    numbers: tuple[int, ...]
    class_names: tuple[str, ...]
    merged: tuple[int, ...] = ()
    is_ordinal: bool | None = None
    text: str = ""

    def targets(self, dataset: Any) -> np.ndarray:
        """Class numbers (N,) of the images of the data set, -1 for those that are left out."""
        return np.array([*self.numbers, -1], dtype=np.int64)[dataset.table["target"].to_numpy()]  # -1: no label

    def probabilities(self, own: np.ndarray) -> np.ndarray:
        """Probabilities (n, M) of the scored classes from those (n, K) of the classifier's."""
        return own @ np.eye(len(self.class_names))[list(self.merged)] if self.merged else own

    def own_targets(self, own: np.ndarray) -> np.ndarray:
        """Scored class numbers (n,) from numbers (n,) of the classifier's own classes."""
        return np.array(self.merged, dtype=np.int64)[own] if self.merged else own


def map_classes(
    name: str, theirs: Sequence[str], ours: Sequence[str], text: str | None = None, *, is_ordinal: bool = False
) -> ClassMapping:
    """The mapping of the classes of a data set to a classifier's.

    Args:
        name: the data set's, for messages.
        theirs: its classes in their order.
        ours: the classifier's.
        text: what a person said; None or "" to match by name, and the five grades by their grade.
        is_ordinal: whether the classifier's classes are grades in their order.

    Raises:
        UserError: a class that nothing says what it is, or a mapping that does not fit.
    """
    text = (text or "").strip()
    if not text:
        matched = match_classes(theirs, ours)
        unknown = [own for own, number in zip(theirs, matched, strict=True) if number is None]
        if unknown:
            raise UserError(
                f"The data set {name!r} has the class {unknown[0]!r}, which the classifier does not know (it knows "
                f"{_listed(ours)}); say which class it is, or leave it out, with a mapping: "
                f"{','.join(f'{one}=...' for one in unknown[:2])}{',...' if len(unknown) > 2 else ''}"
            )
        return ClassMapping(tuple(number for number in matched if number is not None), tuple(ours))
    if text in TARGET_MAPS:
        return _merging_both(name, theirs, ours, text, is_ordinal=is_ordinal)
    numbers = _paired(theirs, ours, text) if "=" in text else _numbered(theirs, ours, text)
    if all(number < 0 for number in numbers):
        raise UserError(f"The mapping {text!r} leaves out every class of {name!r}; keep one at least.")
    return ClassMapping(tuple(numbers), tuple(ours), text=text)


def mapping_text(pairs: dict[str, str]) -> str:
    """A mapping in one line, from class of the data set to class of the classifier or "-"."""
    return ",".join(f"{theirs}={ours}" for theirs, ours in pairs.items())


def _paired(theirs: Sequence[str], ours: Sequence[str], text: str) -> list[int]:
    said: dict[str, str] = {}
    for left, right in _pairs(text, theirs, ours):
        if left not in theirs:
            raise UserError(f"The mapping names the class {left!r}; the data set has {_listed(theirs)}.")
        if right != LEFT_OUT and right not in ours:
            raise UserError(
                f"The mapping gives {left!r} the class {right!r}, which the classifier does not know; it knows "
                f'{_listed(ours)}, and "{LEFT_OUT}" leaves the images out.'
            )
        if left in said:
            raise UserError(f"The mapping {text!r} names the class {left!r} twice; give each class one.")
        said[left] = right
    matched = match_classes(theirs, ours)
    numbers = []
    for own, number in zip(theirs, matched, strict=True):
        if own in said:
            numbers.append(-1 if said[own] == LEFT_OUT else list(ours).index(said[own]))
        elif number is not None:
            numbers.append(number)
        else:
            raise UserError(
                f"The mapping leaves out the class {own!r}, which the classifier does not know; say which class it is, "
                f'or {own}={LEFT_OUT} for "not counted".'
            )
    return numbers


def _pairs(text: str, theirs: Sequence[str], ours: Sequence[str]) -> list[tuple[str, str]]:
    """Class and class; names may hold "=" and commas, so the longest part that names two known classes is a pair."""
    parts, found, start = text.split(","), [], 0
    while start < len(parts):
        tried = []
        for end in range(len(parts), start, -1):
            left, _, right = ",".join(parts[start:end]).rpartition("=")
            tried.append((left.strip(), right.strip(), end))
        known = [one for one in tried if one[0] in theirs and (one[1] in ours or one[1] == LEFT_OUT)]
        left, right, start = (known or tried[-1:])[0]
        if left or right:
            found.append((left, right))
    return found


def _numbered(theirs: Sequence[str], ours: Sequence[str], text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    is_number = all(part == LEFT_OUT or (part.isascii() and part.isdigit() and int(part) < len(ours)) for part in parts)
    if not is_number or len(parts) != len(theirs):
        raise UserError(
            f"A mapping is their=ours for each class, or one number from 0 to {len(ours) - 1} for each of the "
            f"{len(theirs)} classes ({_listed(theirs)}), or one of {', '.join(TARGET_MAPS.names)}; received {text!r}."
        )
    return [-1 if part == LEFT_OUT else int(part) for part in parts]


def _merging_both(
    name: str, theirs: Sequence[str], ours: Sequence[str], text: str, *, is_ordinal: bool
) -> ClassMapping:
    """A map of grades for both sides; a side that has the merged classes already keeps them."""
    names = TARGET_MAPS.get(text).class_names
    own = _merged(ours, text, is_ordinal=is_ordinal, may_lack=False)
    if own is None:
        raise UserError(
            f"The mapping {text} is for a classifier of the five grades or of {', '.join(names)}; this one knows "
            f"{_listed(ours)}."
        )
    other = _merged(theirs, text, is_ordinal=True, may_lack=True)
    if other is None:
        raise UserError(
            f"The mapping {text} is for the five grades of retinopathy or for {', '.join(names)}, not for the classes "
            f"of {name!r} ({_listed(theirs)}); give their=ours for each class."
        )
    is_own = own.targets == tuple(range(len(ours)))
    return ClassMapping(other.targets, names, () if is_own else own.targets, own.is_ordinal, text)


def _merged(class_names: Sequence[str], text: str, *, is_ordinal: bool, may_lack: bool) -> MergedClasses | None:
    names = TARGET_MAPS.get(text).class_names
    if all(own in names for own in class_names) and (may_lack or len(class_names) == len(names)):
        numbers = tuple(names.index(own) for own in class_names)
        return MergedClasses(numbers, names, len(names) > 2)
    try:
        return merge_classes(class_names, text, is_ordinal=is_ordinal, may_lack=may_lack)
    except UserError:
        return None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, ... ({len(names)})"
