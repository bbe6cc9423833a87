import pytest

from lib.data.grades import (
    GRADE_NAMES,
    RETINOPATHY_WORDS,
    RULES,
    LesionKind,
    grade_from_lesions,
    grade_of,
    known_grades,
    match_classes,
    words_of,
)


@pytest.mark.parametrize(
    ("class_names", "grades"),
    [
        (GRADE_NAMES, (0, 1, 2, 3, 4)),
        (("0", "1", "2", "3", "4"), (0, 1, 2, 3, 4)),
        (("Mild", "Moderate", "No_DR", "Proliferate_DR", "Severe"), (1, 2, 0, 4, 3)),  # a folder's alphabet
        (("0_Mild", "1_Moderate", "2_No_DR", "3_PDR", "4_Severe"), (1, 2, 0, 4, 3)),  # numbered by it: names count
        (("0_no_dr", "1_mild", "2_moderate", "3_severe", "4_proliferative"), (0, 1, 2, 3, 4)),
        (("1 - No DR", "2 - Mild", "3 - Moderate", "4 - Severe", "5 - PDR"), (0, 1, 2, 3, 4)),
        (("R4", "R3", "R2", "R1", "R0"), (4, 3, 2, 1, 0)),
        (("grade_0", "grade_1", "grade_2", "grade_3", "grade_4"), (0, 1, 2, 3, 4)),
        (("no dr", "mild NPDR", "moderate non-proliferative DR", "Severe Nonproliferative", "PDR"), (0, 1, 2, 3, 4)),
        (("normal", "mild", "moderate", "severe", "proliferative"), (0, 1, 2, 3, 4)),
        (("NoDR", "MildNPDR", "ModerateNPDR", "SevereNPDR", "ProliferativeDR"), (0, 1, 2, 3, 4)),
        (("daisy", "dandelion", "rose", "sunflower", "tulip"), None),
        (("0", "1", "2", "3"), None),
        (("1", "2", "3", "4", "5"), None),
        (("0", "1", "2", "3", "3 severe"), None),  # one grade twice
        (("0", "1", "2", "3", "4", "ungradable"), None),
        (("mild salsa", "moderate salsa", "no salsa", "severe salsa", "pdr"), None),
        ((), None),
    ],
)
def test_known_grades(class_names, grades):
    assert known_grades(class_names) == grades


@pytest.mark.parametrize(
    ("name", "grade"),
    [("grade 2", 2), ("DR3", 3), ("4", 4), ("7", None), ("mild moderate", None), ("0 1", None), ("", None),
     ("rose", None), ("1.5", None), ("No apparent retinopathy", 0)],
)  # fmt: skip
def test_grade_of(name, grade):
    assert grade_of(name) == grade


def test_a_bare_code_does_not_speak_of_retinopathy():
    names = ("No_DR", "PDR", "NoDR", "retinopathy", "0", "mild", "drone")
    speaks = [bool(RETINOPATHY_WORDS & set(words_of(name))) for name in names]
    assert speaks == [True, True, True, True, False, False, False]


def test_classes_are_matched_by_name_and_grades_by_grade():
    assert match_classes(("dog", "cat"), ("cat", "dog")) == [1, 0]
    assert match_classes(("dog", "Cat"), ("cat", "dog")) == [1, None]
    assert match_classes(("4", "0", "moderate"), GRADE_NAMES) == [4, 0, 2]
    assert match_classes(("mild", "no_dr", "rose"), ("Severe", "PDR", "Mild", "Moderate", "No DR")) == [2, 4, None]
    assert match_classes(("1", "2"), ("Mild", "Severe")) == [None, None]  # no five grades, so no codes either


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
