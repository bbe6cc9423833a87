"""What is said of a folder as a whole, by numbers counted by hand."""

import numpy as np

from lib.grading.batch import drift_report
from lib.grading.grades import Grade, QualityReading

NAMES = ("cat", "dog")


def graded(score, **more):
    return Grade("x", status="graded", scores=(score, 1 - score), distance=0.1, threshold=0.2, **more)


def test_the_folder_is_counted_by_status_kind_and_reason():
    poor = QualityReading(score=0.9, limit=0.5, kind="blurred")
    grades = [
        graded(0.9),
        graded(0.3),
        Grade("p", status="ungradable", quality=poor),
        Grade("u", status="unlike", distance=0.6, threshold=0.2),
        Grade("r", status="refused", reason="Empty."),
    ]
    found = drift_report(grades, class_names=NAMES)
    said = " ".join(found.sentences)
    assert "Of 5 files: 2 graded, 1 too poor to grade, 1 unlike the training images, 1 refused." in said
    assert "Too poor to grade: 1 blurred." in said
    assert "1 times: Empty" in said
    assert "0.50 of its limit in the median; 1 of 5 files (20 %) are unlike them." in said
    assert "no answers in validation are at hand" in said
    assert found.classes["share here"].tolist() == [0.5, 0.5]
    assert found.statuses["files"].sum() == 5


def test_scores_are_held_against_validation_and_few_are_called_few():
    validation = np.stack([np.linspace(0.5, 0.7, 60), np.linspace(0.5, 0.3, 60)], axis=1)
    same = [graded(score) for score in np.linspace(0.5, 0.7, 30)]
    other = [graded(0.99) for _ in range(30)]
    alike = drift_report(same, class_names=NAMES, validation=validation)
    assert alike.p_value > 0.9
    assert "No clear difference from validation was found" in " ".join(alike.sentences)
    unlike = drift_report(other, class_names=NAMES, validation=validation)
    assert unlike.p_value < 1e-6
    assert "differ clearly" in " ".join(unlike.sentences)
    few = drift_report(other[:3], class_names=NAMES, validation=validation)
    assert "3 images are few" in " ".join(few.sentences)


def test_an_empty_folder_and_one_of_refused_files_are_said():
    assert "There are no files." in drift_report([], class_names=NAMES).sentences
    refused = [Grade("r", status="refused", reason="Empty.")]
    validation = np.array([[0.5, 0.5]])
    assert "no image was graded" in " ".join(drift_report(refused, class_names=NAMES, validation=validation).sentences)


def test_unsure_images_stand_beside_the_promise():
    unsure = Grade("x", status="unsure", scores=(0.5, 0.5), prediction_set=NAMES, coverage=0.9)
    said = " ".join(
        drift_report([unsure, graded(0.9, prediction_set=("cat",), coverage=0.9)], class_names=NAMES).sentences
    )
    assert "1 of 2 images (50 %) are unsure; a set holds 1.5 classes on average, with 90 % coverage" in said
