"""The International Clinical Diabetic Retinopathy severity scale: lesions, its rules, and the grade they give.

Source: Wilkinson CP, Ferris FL, Klein RE, et al. Proposed international clinical diabetic retinopathy and diabetic
macular edema disease severity scales. Ophthalmology 2003; 110:1677-1682, doi 10.1016/S0161-6420(03)00475-5.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

SOURCE = "Wilkinson et al., Ophthalmology 2003; 110:1677-1682"
SOURCE_URL = "https://doi.org/10.1016/S0161-6420(03)00475-5"
GRADE_NAMES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
NUM_QUADRANTS = 4
SEVERE_HAEMORRHAGES = 20  # more than these in each of the four quadrants


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


INTRARETINAL_HAEMORRHAGES = frozenset(
    (LesionKind.DOT_HAEMORRHAGE, LesionKind.BLOT_HAEMORRHAGE, LesionKind.FLAME_HAEMORRHAGE)
)
PROLIFERATIVE_SIGNS = frozenset((LesionKind.NEOVASCULARISATION, LesionKind.PRERETINAL_HAEMORRHAGE))


@dataclass(frozen=True)
class GradeRule:
    """One line of the scale."""

    grade: int
    name: str
    finding: str


RULES = (
    GradeRule(0, "No DR", "No abnormalities."),
    GradeRule(1, "Mild", "Microaneurysms only."),
    GradeRule(2, "Moderate", "More than just microaneurysms, but less than severe."),
    GradeRule(
        3,
        "Severe",
        "Any one of (the 4-2-1 rule): more than 20 intraretinal haemorrhages in each of 4 quadrants; definite venous "
        "beading in 2 or more quadrants; prominent IRMA in 1 or more quadrants; and no sign of the next grade.",
    ),
    GradeRule(4, "Proliferative", "Neovascularisation, or preretinal (or vitreous) haemorrhage, or both."),
)


def grade_from_lesions(lesions: Iterable[tuple[LesionKind, int]]) -> int:
    """Grade an eye, 0 to 4, from its lesions as pairs of kind and quadrant (0 to 3).

    Follows Wilkinson et al. 2003; see `RULES`.
    """
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
