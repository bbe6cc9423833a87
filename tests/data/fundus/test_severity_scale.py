import pytest

from lib.data.fundus.severity_scale import GRADE_NAMES, RULES, LesionKind, grade_from_lesions

MICRO, DOT, BLOT, FLAME = (
    LesionKind.MICROANEURYSM,
    LesionKind.DOT_HAEMORRHAGE,
    LesionKind.BLOT_HAEMORRHAGE,
    LesionKind.FLAME_HAEMORRHAGE,
)


def _each_quadrant(kind: LesionKind, count: int) -> list:
    return [(kind, quadrant) for quadrant in range(4) for _ in range(count)]


# Worked out by hand from Wilkinson et al. 2003, table 3.
@pytest.mark.parametrize(
    ("lesions", "grade"),
    [
        ([], 0),
        ([(MICRO, 2)], 1),
        (_each_quadrant(MICRO, 30), 1),  # microaneurysms only, however many
        ([(MICRO, 0), (DOT, 0)], 2),
        ([(LesionKind.HARD_EXUDATE, 1)], 2),
        ([(LesionKind.COTTON_WOOL_SPOT, 1)], 2),
        (_each_quadrant(BLOT, 20), 2),  # "more than 20" in each
        (_each_quadrant(BLOT, 21), 3),
        (_each_quadrant(BLOT, 21)[:-1], 2),  # 21, 21, 21 and 20
        (_each_quadrant(DOT, 10) + _each_quadrant(FLAME, 11), 3),  # all intraretinal haemorrhages count
        (_each_quadrant(MICRO, 10) + _each_quadrant(DOT, 11), 2),  # microaneurysms are no haemorrhages
        ([(LesionKind.VENOUS_BEADING, 0)], 2),  # in one quadrant
        ([(LesionKind.VENOUS_BEADING, 0), (LesionKind.VENOUS_BEADING, 0)], 2),
        ([(LesionKind.VENOUS_BEADING, 0), (LesionKind.VENOUS_BEADING, 3)], 3),
        ([(LesionKind.IRMA, 1)], 3),
        ([(LesionKind.IRMA, 1), (LesionKind.NEOVASCULARISATION, 1)], 4),
        ([(LesionKind.NEOVASCULARISATION, 2)], 4),
        ([(LesionKind.PRERETINAL_HAEMORRHAGE, 2)], 4),
    ],
)
def test_grade_from_lesions(lesions, grade: int):
    assert grade_from_lesions(lesions) == grade


def test_the_rules_name_the_grades_in_order():
    assert tuple(rule.name for rule in RULES) == GRADE_NAMES
    assert [rule.grade for rule in RULES] == [0, 1, 2, 3, 4]


def test_every_kind_fits_a_mask_and_has_a_title():
    assert [kind.value for kind in LesionKind] == list(range(1, 11))
    assert LesionKind.IRMA.title == "IRMA"
    assert LesionKind.COTTON_WOOL_SPOT.title == "Cotton-wool spot"
