"""Two eyes of a patient: found by name or table, the worse one decides."""

import csv
import html
import io
import json

import pytest

from lib.errors import UserError
from lib.grading.grades import Decision, Grade, ReportHeader
from lib.grading.patients import Eye, eye_of, join_patients, read_patients, unmet_names
from lib.grading.report import to_csv, to_html, to_json
from lib.grading.report_pdf import to_pdf
from lib.grading.upload_session import Skipped, skipped_grades


def _grade(name, action="", target=None, status="graded"):
    decision = Decision(action=action, sentence="") if action else None
    class_name = None if target is None else f"grade {target}"
    return Grade(name, status=status, target=target, class_name=class_name, decision=decision)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("12_left.jpeg", Eye("12", "left")),
        ("scan/12_right", Eye("12", "right")),
        ("IMG-OD.png", Eye("IMG", "right")),
        ("IMG OS.PNG", Eye("IMG", "left")),
        ("a\\p0001_L.jpg", Eye("p0001", "left")),
        ("upright.png", None),
        ("left.png", None),
        ("12.png", None),
    ],
)
def test_names_tell_the_eye(name, expected):
    assert eye_of(name) == expected


def test_the_worse_eye_decides():
    found = join_patients(
        [
            _grade("1_right.png", "refer", 3),
            _grade("2_left.png", "screen again", 0),
            _grade("1_left.png", "screen again", 1),
            _grade("alone.png", "refer", 4),
        ]
    )
    assert [one.patient for one in found] == ["1", "2"]
    assert (found[0].action, found[0].class_name) == ("refer", "grade 3")
    assert [side for side, _ in found[0].eyes] == ["left", "right"]
    assert found[0].sentence == "left: grade 1; right: grade 3."
    assert (found[1].action, found[1].sentence) == ("screen again", "left: grade 0; no picture of the right eye.")


@pytest.mark.parametrize("status", ["ungradable", "unlike", "refused"])
def test_an_eye_that_cannot_be_graded_is_taken_again(status):
    bad = _grade("1_left.png", status=status)
    (healthy,) = join_patients([bad, _grade("1_right.png", "screen again", 0)])
    assert healthy.action == "take again"
    (ill,) = join_patients([bad, _grade("1_right.png", "refer", 4)])
    assert ill.action == "refer"
    assert ill.sentence.endswith("take the left again as well.")


def test_classes_without_an_order_have_no_action():
    (found,) = join_patients([_grade("1_left.png", target=1), _grade("1_right.png", target=0)])
    assert (found.action, found.class_name) == ("", None)


def test_the_same_name_in_two_folders_is_two_patients():
    names = ["a/1_left.png", "b/1_left.png", "b/1_right.png"]
    assert [one.patient for one in join_patients([_grade(name) for name in names])] == ["a/1", "b/1"]
    apart = ["0_no_dr/1_left.png", "1_mild/1_right.png"]  # grades as folders: one patient
    assert [one.patient for one in join_patients([_grade(name) for name in apart])] == ["1"]


def test_a_table_tells_the_patients(tmp_path):
    path = tmp_path / "patients.csv"
    path.write_text("File,Patient,Eye\nx.png,Ann,OD\ny.png,Ann,left\nz_left.png,Bob,\n")
    table = read_patients(path)
    assert table == {"x.png": Eye("Ann", "right"), "y.png": Eye("Ann", "left"), "z_left.png": Eye("Bob", "left")}
    found = join_patients(
        [_grade("in/x.png", "refer", 2), _grade("y.png", "screen again", 0), _grade("1_left.png")], table
    )
    assert [(one.patient, one.action, len(one.eyes)) for one in found] == [("Ann", "refer", 2)]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("name,patient\na,b\n", "has no column 'file'"),
        ("file,patient\na.png,\n", "Line 2"),
        ("file,patient\na.png,1\na.png,2\n", "Line 3"),
        ("file,patient,eye\na.png,1,middle\n", "left, right, OS or OD"),
        ("", "cannot be read"),
    ],
)
def test_a_table_that_does_not_do_is_refused(tmp_path, content, match):
    path = tmp_path / "patients.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=match):
        read_patients(path)


def test_a_file_that_was_left_out_unseen_decides_nothing():
    graded = _grade("a.zip/1_left.png", "screen again", 0)
    twice = skipped_grades([Skipped("a.zip/1_left.png", "More than once."), Skipped("a.zip/1_right.png", "Encrypted.")])
    (found,) = join_patients([graded, *twice])
    assert (found.patient, found.action) == ("1", "screen again")
    assert found.sentence == "left: grade 0; right: left out, not looked at."
    (broken,) = join_patients([graded, _grade("a.zip/1_right.png", status="refused")])
    assert broken.action == "take again"


def test_the_names_of_a_table_that_are_not_here_are_told():
    table = {name: Eye(name, "") for name in ("x.png", "in/y.png", "z.png")}
    grades = [_grade("some/x.png"), _grade("in/y.png")]
    assert unmet_names(grades, table) == "The table of patients names 1 of 3 files that are not here: z.png."
    assert unmet_names(grades, None) == unmet_names([*grades, _grade("z.png")], table) == ""


def test_every_report_has_the_patients():
    header = ReportHeader("r", "d", "b", "s", ("grade 0", "grade 1"), is_medical=True, false_alarm_rate=None,
                          num_calibration=0)  # fmt: skip
    grades = [_grade("1_left.png", "refer", 1), _grade("1_right.png", "screen again", 0), _grade("x.png", "refer", 1)]
    by_table = join_patients(grades, {"x.png": Eye("<Ann>", "left")})
    for patients, name in ((None, "1"), (by_table, "<Ann>")):
        (said,) = json.loads(to_json(grades, header, patients=patients))["patients"]
        assert (said["patient"], said["decision"], said["highest_grade"]) == (name, "refer", "grade 1")
        rows = list(csv.DictReader(io.StringIO(to_csv(grades, header, patients=patients))))
        assert [row["decision of the patient"] for row in rows if row["patient"] == name] == ["refer"] * len(
            said["eyes"]
        )
        page = to_html(grades, header, patients=patients)
        assert f"<td class='file'>{html.escape(name)}</td><td><strong>refer</strong></td><td>grade 1</td>" in page
        assert to_pdf(grades, header, patients=patients) != to_pdf(grades, header, patients=())
    assert json.loads(to_json(grades, header))["patients"][0]["eyes"][1] == {"side": "right", "file": "1_right.png"}
    assert "patient" not in next(csv.DictReader(io.StringIO(to_csv(grades[2:], header))))
