"""Reports: every file a row, formulas and markup from strangers harmless, the medical notice everywhere."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

from lib.explain.pictures import to_jpeg
from lib.grading.grades import (
    MEDICAL_NOTICE,
    ROTATED_CALIBRATED,
    Decision,
    DomainDistance,
    Grade,
    NearestCase,
    QualityReading,
    ReportHeader,
    check_gates,
)
from lib.grading.report import image_entry, prediction_words, to_csv, to_html, to_json, to_table

EVIL = '<script>alert(1)</script>"&'
PIXELS = np.full((16, 16, 3), 90, np.uint8)
GRADES = [
    Grade(
        "cat.jpg",
        status="graded",
        class_name="cat",
        target=0,
        confidence=0.75,
        probabilities={"cat": 0.75, EVIL: 0.25},
        distance=0.2,
        threshold=0.3,
        reason="Like.",
        pixels=PIXELS,
        cam=np.ones((2, 2)),
    ),
    Grade("=cmd|'/c calc'!A1", status="unlike", distance=0.5, threshold=0.3, reason="Unlike.", pixels=PIXELS),
    Grade(f"{EVIL}.jpg", status="refused", reason="The file is empty.", notices=("first of 3 frames",)),
]


def header(*, is_medical=False):
    return ReportHeader(
        run="0123456789", dataset=f"Data {EVIL}", backbone="MobileNetV2", strategy="linear_probe",
        class_names=("cat", EVIL), is_medical=is_medical, false_alarm_rate=0.05, num_calibration=80, created="now",
    )  # fmt: skip


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_table_has_a_row_for_each_file_and_a_column_for_each_class():
    table = to_table(GRADES, header())
    assert table["status"].tolist() == ["graded", "unlike", "refused"]
    assert table["probability of cat"].tolist()[0] == 0.75
    assert table["probability of cat"].isna().tolist() == [False, True, True]
    assert table["class"].tolist() == ["cat", "", ""]
    assert to_table([], header()).columns.tolist() == table.columns.tolist()


def test_csv_disarms_formulas_and_keeps_numbers():
    rows = read(to_csv(GRADES, header()))
    assert rows[0]["confidence"] == "0.75"
    assert rows[1]["file"] == "'=cmd|'/c calc'!A1"
    assert rows[1]["confidence"] == ""
    assert rows[2]["notices"] == "first of 3 frames"
    assert "notice" not in rows[0]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", " =", "＝"])
def test_csv_disarms_every_formula_start(start):
    text = to_csv([Grade(f"{start}1+1", status="refused", reason="no")], header())
    assert read(text)[0]["file"] == f"'{start}1+1"


def test_csv_disarms_class_names_in_its_head():
    graded = [Grade("a", status="graded", class_name="=x", target=0, confidence=1.0, probabilities={"=x": 1.0})]
    names = ReportHeader("r", "d", "b", "s", ("=x",), is_medical=False, false_alarm_rate=None, num_calibration=0)
    row = read(to_csv(graded, names))[0]
    assert row["class"] == "'=x"
    assert row["probability of =x"] == "1"


def test_json_is_one_line_without_pixels():
    text = to_json(GRADES, header())
    content = json.loads(text)
    assert "\n" not in text
    assert content["counts"] == {"graded": 1, "unsure": 0, "ungradable": 0, "unlike": 1, "refused": 1}
    assert [image["name"] for image in content["images"]] == [grade.name for grade in GRADES]
    assert content["images"][0]["probabilities"] == {"cat": 0.75, EVIL: 0.25}
    assert "pixels" not in content["images"][0]
    assert content["notice"] == ""


def test_json_holds_what_a_passport_holds_without_pictures_and_without_what_is_no_number():
    grade = dataclasses.replace(
        GRADES[0],
        domain=(DomainDistance(title="Energy", value=float("inf"), limit=2.0),),
        quality=QualityReading(score=0.1, limit=0.5, measures={"sharpness": 3.0}),
        cases=(NearestCase(image_id="a1", class_name="cat", distance=0.2, jpeg=b"picture"),),
    )
    entry = json.loads(json.dumps(image_entry(grade), allow_nan=False))
    assert entry["domain"] == [{"title": "Energy", "value": None, "limit": 2.0}]
    assert entry["quality"]["measures"] == {"sharpness": 3.0}
    assert entry["cases"] == [{"image_id": "a1", "class_name": "cat", "distance": 0.2}]


def test_html_is_escaped_and_self_contained():
    page = to_html(GRADES, header())
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("data:image/jpeg;base64,") == 3
    assert "http://" not in page
    assert "https://" not in page
    assert "1 graded, 1 unlike the training images, 1 refused" in page
    assert "on average 5 % of new images drawn like them" in page
    ranged = dataclasses.replace(header(), false_alarm_range=(0.0156, 0.1034))
    assert "5 % (by the chance of which these were, 1.6 to 10.3 %, in 95 of 100 cases) of new" in to_html([], ranged)


def test_the_card_and_sentences_on_the_folder_stand_in_every_report():
    told = dataclasses.replace(header(), calibration_card=("The error falls by 5 %.",))
    said = (f"Interrupted: 3 of 9 {EVIL}.", "Scores differ.")
    page, content = to_html(GRADES, told, folder=said), json.loads(to_json(GRADES, told, folder=said))
    assert "The error falls by 5 %." in page
    assert "Scores differ.</p>" in page
    assert EVIL not in page
    assert (content["calibration_card"], content["folder"]) == (["The error falls by 5 %."], list(said))
    assert {row["folder"] for row in read(to_csv(GRADES, told, folder=said))} == {" ".join(said)}
    assert "folder" not in read(to_csv(GRADES, told))[0]


def test_pictures_of_nearest_cases_are_in_the_page():
    jpeg = to_jpeg(PIXELS)
    cases = tuple(NearestCase(image_id=f"a{row}", class_name=EVIL, distance=0.1, jpeg=jpeg) for row in range(2))
    page = to_html([dataclasses.replace(GRADES[0], cases=cases)], header())
    assert page.count('<img class="case"') == 2
    assert EVIL not in page


def test_a_stored_operating_point_is_said():
    told = dataclasses.replace(header(), operating_point="Referable: referred from 0.3 on.")
    assert "Stored operating point: Referable: referred from 0.3 on." in to_html([], told)
    assert json.loads(to_json([], told))["operating_point"] == "Referable: referred from 0.3 on."
    assert "Stored operating point" not in to_html([], header())


def test_every_report_of_a_medical_data_set_carries_the_notice():
    medical = header(is_medical=True)
    assert all(row["notice"] == MEDICAL_NOTICE for row in read(to_csv(GRADES, medical)))
    assert json.loads(to_json(GRADES, medical))["notice"] == MEDICAL_NOTICE
    assert MEDICAL_NOTICE in to_html(GRADES, medical)
    assert MEDICAL_NOTICE not in to_html(GRADES, header())


def test_a_report_says_what_the_classifier_reached_beside_always_one_class():
    from dataclasses import replace

    reached = "kappa 0.73; accuracy 60.0 %; always the commonest class (<b>): accuracy 74.0 %; n = 50"
    page = to_html(GRADES, replace(header(), result=reached))
    assert "On the test images of its training: kappa 0.73; accuracy 60.0 %; always" in page
    assert "(&lt;b&gt;)" in page
    assert json.loads(to_json(GRADES, replace(header(), result=reached)))["result"] == reached
    assert "On the test images of its training" not in to_html(GRADES, header())  # an old bundle does not say


def test_a_run_with_folds_is_said_to_have_been_tested_by_its_folds():
    told = dataclasses.replace(header(), result="kappa 0.67; n = 1,000", num_folds=5)
    page = to_html(GRADES, told)
    assert "Of 5 folds, each image answered by a classifier that had not seen it: kappa 0.67; n = 1,000." in page
    assert "On the test images of its training" not in page
    assert json.loads(to_json(GRADES, told))["num_folds"] == 5


def test_what_is_to_be_said_of_a_set_stands_beside_it_everywhere():
    from pages.common.passports import set_words

    torn = dataclasses.replace(
        GRADES[0], prediction_set=(EVIL, "x"), coverage=0.9, is_coverage_out_of_fold=True, notices=(ROTATED_CALIBRATED,)
    )
    outside, rotated = torn.set_caveats
    assert outside == "cat, which the expected grade means, is not among them."
    assert rotated.startswith("The calibration was fitted without rotations")
    assert prediction_words(torn).startswith(f"With about 90 % coverage or more the right class is among: {EVIL}, x (")
    assert prediction_words(torn).endswith(f"{outside} {rotated}")
    assert set_words(torn) == f"One of {EVIL} or x, with about 90 % coverage or more."
    page, entry = to_html([torn], header()), image_entry(torn)
    assert outside in page
    assert rotated in page
    assert (entry["set_caveats"], entry["is_outside_set"]) == ([outside, rotated], True)
    assert entry["is_coverage_out_of_fold"]
    assert read(to_csv([torn], header()))[0]["set in words"] == prediction_words(torn)
    assert check_gates(torn)[2].title == "Graded: cat?"
    plain = dataclasses.replace(torn, prediction_set=("cat",), is_coverage_out_of_fold=False, notices=())
    assert (plain.set_caveats, set_words(plain)) == ((), "Only cat, with 90 % coverage.")
    assert GRADES[0].set_caveats == ()  # without a set nothing is to be said


def test_the_grade_is_the_largest_word_and_of_the_decision_one_word_is_bold():
    decision = Decision(action="refer", sentence="Refer: Referable, probability 80.0 %; its score <is> high.")
    page = to_html([dataclasses.replace(GRADES[0], decision=decision)], header())
    assert "<div><strong>Refer</strong></div><div class='grade'><strong>" in page
    assert "<div>Referable, probability 80.0 %; its score &lt;is&gt; high.</div>" in page
    assert page.count("<strong>") == 2
    again = dataclasses.replace(decision, sentence="Take the photograph again: this one is too poor to grade.")
    assert again.parts == ("Take the photograph again", "This one is too poor to grade.")
