"""The International Clinical Diabetic Retinopathy severity scale: lesions, rules, and its grades in class names.

A folder's alphabet is not its order ("Mild, Moderate, No_DR, Proliferate_DR, Severe"), and five classes are not five
grades: whoever needs the healthiest class, or the scale, asks here instead of counting positions.

Source: Wilkinson CP, Ferris FL, Klein RE, et al. Proposed international clinical diabetic retinopathy and diabetic
macular edema disease severity scales. Ophthalmology 2003; 110:1677-1682, doi 10.1016/S0161-6420(03)00475-5.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

SOURCE = "Wilkinson et al., Ophthalmology 2003; 110:1677-1682"
SOURCE_URL = "https://doi.org/10.1016/S0161-6420(03)00475-5"
GRADE_NAMES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
NUM_QUADRANTS = 4
SEVERE_HAEMORRHAGES = 20  # more than these in each of the four quadrants
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
        *("dr", "npdr", "nonproliferative", "retinopathy", "diabetic", "apparent", "signs", "of", "icdr", "and"),
        *("eye", "eyes"),
    )
)
_CODE_WORDS = frozenset(("grade", "level", "stage", "class", "label", "diagnosis", "severity", "score", "r", "g"))
# A name that has one speaks of diabetic retinopathy ("No DR", "moderate NPDR"); a bare code does not.
RETINOPATHY_WORDS = frozenset(("dr", "npdr", "pdr", "nodr", "retinopathy", "icdr"))
# Degrees of severity in the words of reports, whatever it is that is severe.
_SEVERITIES = (
    {"no", "none", "normal", "healthy", "absent", "nodr"}, {"minimal", "trace"}, {"mild"}, {"moderate"}, {"severe"},
    {"critical", "proliferative", "proliferate", "pdr"},
)  # fmt: skip


class LesionKind(IntEnum):
    """What is drawn and counted; the value is the one in the masks, where 0 is retina without a lesion."""

    MICROANEURYSM = 1
    DOT_HAEMORRHAGE = 2
    BLOT_HAEMORRHAGE = 3
    FLAME_HAEMORRHAGE = 4
    HARD_EXUDATE = 5
    COTTON_WOOL_SPOT = 6
    VENOUS_BEADING = 7
    IRMA = 8  # intraretinal microvascular abnormality
    NEOVASCULARISATION = 9
    PRERETINAL_HAEMORRHAGE = 10

    @property
    def title(self) -> str:
        """The name in words."""
        special = {LesionKind.IRMA: "IRMA", LesionKind.COTTON_WOOL_SPOT: "Cotton-wool spot"}
        return special.get(self, self.name.replace("_", " ").capitalize())


INTRARETINAL_HAEMORRHAGES = (LesionKind.DOT_HAEMORRHAGE, LesionKind.BLOT_HAEMORRHAGE, LesionKind.FLAME_HAEMORRHAGE)
PROLIFERATIVE_SIGNS = frozenset((LesionKind.NEOVASCULARISATION, LesionKind.PRERETINAL_HAEMORRHAGE))


@dataclass(frozen=True)
class GradeRule:
    """One line of the scale."""

    grade: int
    name: str
    finding: str


_FINDINGS = (
    "No abnormalities.",
    "Microaneurysms only.",
    "More than just microaneurysms, but less than severe.",
    "Any one of (the 4-2-1 rule): more than 20 intraretinal haemorrhages in each of 4 quadrants; definite venous "
    "beading in 2 or more quadrants; prominent IRMA in 1 or more quadrants; and no sign of the next grade.",
    "Neovascularisation, or preretinal (or vitreous) haemorrhage, or both.",
)
RULES = tuple(map(GradeRule, range(5), GRADE_NAMES, _FINDINGS))


def grade_from_lesions(lesions: Iterable[tuple[LesionKind, int]]) -> int:
    """Grade an eye, 0 to 4, by `RULES` from its lesions as pairs of kind and quadrant (0 to 3)."""
    counts = Counter(lesions)
    kinds = {kind for kind, _ in counts}
    if kinds & PROLIFERATIVE_SIGNS:
        return 4
    if is_severe(counts):
        return 3
    if kinds - {LesionKind.MICROANEURYSM}:
        return 2
    return 1 if kinds else 0


def is_severe(counts: Counter[tuple[LesionKind, int]]) -> bool:
    """Whether the 4-2-1 rule holds for counts by kind and quadrant."""
    haemorrhages: Counter[int] = Counter()
    for (kind, quadrant), count in counts.items():
        if kind in INTRARETINAL_HAEMORRHAGES:
            haemorrhages[quadrant] += count
    beaded = {quadrant for kind, quadrant in counts if kind is LesionKind.VENOUS_BEADING}
    return (
        all(haemorrhages[quadrant] > SEVERE_HAEMORRHAGES for quadrant in range(NUM_QUADRANTS))
        or len(beaded) >= 2
        or any(kind is LesionKind.IRMA for kind, _ in counts)
    )


def known_grades(class_names: Sequence[str]) -> tuple[int, ...] | None:
    """The grade 0 to 4 of each class, in the order of the classes, if they are the five grades; else None.

    Names ("No DR", "moderate NPDR", "PDR") and codes ("0", "R0", "grade_2", "0_no_dr") count, in any order; where a
    class has both, its name counts. A code alone says that there are five grades, not of what: see `RETINOPATHY_WORDS`.
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


def words_of(text: str) -> list[str]:
    """The words and whole numbers of a name in lower case: "0_No DR" gives "0", "no", "dr"; "R0" gives "r", "0"."""
    parted = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).casefold()  # NoDR, ProliferativeDR
    words = re.findall(r"[^\W\d_]+|[0-9]{1,9}", parted)
    joined = " ".join(words)
    return re.sub(r"\bnon proliferat(?:iv)?e\b", "nonproliferative", joined).split()
