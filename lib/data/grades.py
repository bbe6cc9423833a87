"""Recognises the five grades of diabetic retinopathy in class names: by name, by code, in whatever order they stand.

A folder's alphabet is not its order ("Mild, Moderate, No_DR, Proliferate_DR, Severe"), and five classes are not five
grades: whoever needs the healthiest class, or the scale, asks here instead of counting positions.
"""

import re
from collections.abc import Sequence

from lib.data.fundus.severity_scale import GRADE_NAMES

NUM_GRADES = len(GRADE_NAMES)
# One word says the grade; the words of the scale around it say nothing more.
_WORDS = {
    **dict.fromkeys(("no", "none", "normal", "healthy", "nodr"), 0),
    "mild": 1,
    "moderate": 2,
    "severe": 3,
    **dict.fromkeys(("proliferative", "proliferate", "pdr"), 4),
}
_SCALE_WORDS = frozenset(
    (
        "dr",
        "npdr",
        "nonproliferative",
        "retinopathy",
        "diabetic",
        "apparent",
        "signs",
        "of",
        "icdr",
        "and",
        "eye",
        "eyes",
    )
)
_CODE_WORDS = frozenset(("grade", "level", "stage", "class", "label", "diagnosis", "severity", "score", "r", "g"))
_RETINOPATHY_WORDS = frozenset(("dr", "npdr", "pdr", "nodr", "retinopathy", "icdr"))


# Degrees of severity in the words of reports, whatever it is that is severe.
_SEVERITIES = tuple(
    map(
        frozenset,
        (("no", "none", "normal", "healthy", "absent", "nodr"), ("minimal", "trace"), ("mild",), ("moderate",),
         ("severe",), ("critical", "proliferative", "proliferate", "pdr")),
    )
)  # fmt: skip


def known_grades(class_names: Sequence[str]) -> tuple[int, ...] | None:
    """The grade 0 to 4 of each class, in the order of the classes, if they are the five grades; else None.

    Names ("No DR", "moderate NPDR", "PDR") and codes ("0", "R0", "grade_2", "0_no_dr") count, in any order; where a
    class has both, its name counts. A code alone says that there are five grades, not of what: see `names_retinopathy`.
    """
    grades = tuple(grade for grade in map(grade_of, class_names) if grade is not None)
    return grades if len(class_names) == NUM_GRADES and sorted(grades) == list(range(NUM_GRADES)) else None


def grade_of(class_name: str) -> int | None:
    """The grade that one name or code stands for, 0 to 4; None where it is no grade of the scale."""
    words = words_of(class_name)
    numbers = [int(word) for word in words if word.isdigit()]
    named = {_WORDS[word] for word in words if word in _WORDS}
    rest = {word for word in words if not word.isdigit() and word not in _WORDS}
    if not rest <= _SCALE_WORDS | _CODE_WORDS or len(named) > 1 or len(numbers) > 1:
        return None
    grade = next(iter(named), None) if named else next(iter(numbers), None)
    return grade if grade is not None and 0 <= grade < NUM_GRADES else None


def severity_order(class_names: Sequence[str]) -> tuple[str, ...] | None:
    """Classes that name degrees of severity, from the least to the most; None if they do not, or are fewer than three.

    The five grades by name or code, and other scales in the words of reports ("none, mild, moderate, severe").
    """
    ranks = known_grades(class_names) or _severities(class_names)
    return tuple(name for _, name in sorted(zip(ranks, class_names, strict=True))) if ranks else None


def _severities(class_names: Sequence[str]) -> tuple[int, ...]:
    ranks: list[int] = []
    for class_name in class_names:
        words = set(words_of(class_name))
        found = [rank for rank, known in enumerate(_SEVERITIES) if words & known]
        if len(found) != 1:
            return ()
        ranks += found
    return tuple(ranks) if len(ranks) > 2 and len(set(ranks)) == len(ranks) else ()


def match_classes(class_names: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """The number in `known` of each class: the same name, else the same grade where all of `known` are the five grades.

    None for a class that is not among them.
    """
    grades = known_grades(known) or ()
    by_grade: dict[int | None, int] = {grade: number for number, grade in enumerate(grades)}
    return [known.index(name) if name in known else by_grade.get(grade_of(name)) for name in class_names]


def names_retinopathy(text: str) -> bool:
    """Whether a name speaks of diabetic retinopathy: "No DR", "moderate NPDR", "retinopathy"; a bare code does not."""
    return bool(_RETINOPATHY_WORDS & set(words_of(text)))


def words_of(text: str) -> list[str]:
    """The words and whole numbers of a name in lower case: "0_No DR" gives "0", "no", "dr"; "R0" gives "r", "0"."""
    parted = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).casefold()  # NoDR, ProliferativeDR
    words = re.findall(r"[^\W\d_]+|[0-9]{1,9}", parted)
    joined = " ".join(words)
    return re.sub(r"\bnon proliferat(?:iv)?e\b", "nonproliferative", joined).split()
