import pytest

from lib.data.fundus.severity_scale import GRADE_NAMES
from lib.data.grades import grade_of, known_grades, match_classes, names_retinopathy


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
    assert [names_retinopathy(name) for name in ("No_DR", "PDR", "NoDR", "retinopathy", "0", "mild", "drone")] == [
        True, True, True, True, False, False, False,
    ]  # fmt: skip


def test_classes_are_matched_by_name_and_grades_by_grade():
    assert match_classes(("dog", "cat"), ("cat", "dog")) == [1, 0]
    assert match_classes(("dog", "Cat"), ("cat", "dog")) == [1, None]
    assert match_classes(("4", "0", "moderate"), GRADE_NAMES) == [4, 0, 2]
    assert match_classes(("mild", "no_dr", "rose"), ("Severe", "PDR", "Mild", "Moderate", "No DR")) == [2, 4, None]
    assert match_classes(("1", "2"), ("Mild", "Severe")) == [None, None]  # no five grades, so no codes either
