"""What several runs answer to the same images, worked out by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lib.atomic import write_json
from lib.evaluation.verdict import decide
from lib.grading.image_answers import FILTERS, answers_by_image, choices_of, run_limits, shared_answers, why_not
from lib.tracking.records import RunRecord
from lib.tracking.tested import TestedRun

NAMES = ["a", "b", "c"]
IDS = np.array([f"image {number}" for number in range(6)])
TARGETS = np.array([0, 0, 1, 1, 2, 2])


def record(name, strategy="linear_probe", dataset="tiny"):
    config = {"dataset": dataset, "strategy": strategy}
    return RunRecord(name, name, "finished", "", "", 0.0, 1.0, config, {}, Path(name))


def shares(answers, confidence=0.6):
    """Probabilities whose largest is at the answer."""
    found = np.full((len(answers), 3), (1 - np.asarray(confidence).reshape(-1, 1)) / 2 * np.ones((1, 3)))
    found[np.arange(len(answers)), answers] = confidence
    return found


def answers_of(name, answers, confidence=0.6, **about):
    config = {key: about.pop(key) for key in ("strategy", "dataset") if key in about}
    return TestedRun(record(name, **config), name, TARGETS, shares(answers, confidence), IDS, NAMES, **about)


@pytest.fixture
def shared():
    return shared_answers(
        [
            answers_of("frozen", [0, 1, 1, 2, 2, 0], np.array([0.9, 0.8, 0.9, 0.95, 0.5, 0.4])),
            answers_of(
                "tuned", [0, 0, 2, 0, 2, 0], np.array([0.9, 0.6, 0.7, 0.5, 0.5, 0.99]), strategy="full_finetuning"
            ),
        ]
    )


def places(name, shared, *chosen):
    return FILTERS.get(name).rows(shared, chosen).tolist()


def said(name, shared, *chosen):
    spec = FILTERS.get(name)
    return spec.sentence(shared, chosen, spec.rows(shared, chosen))


def test_each_filter_finds_its_images_and_says_how_many_of_how_many(shared):
    # Right by run:  frozen 0, 2, 4;  tuned 0, 1, 4.
    assert places("all", shared) == [0, 1, 2, 3, 4, 5]
    assert said("all", shared) == "All 6 images that all 2 runs were tested on."
    assert places("only_right", shared, 0) == [2]
    assert places("only_right", shared, 1) == [1]
    assert said("only_right", shared, 1) == "1 of 6 images: only tuned is right."
    assert places("all_wrong", shared) == [3, 5]
    assert said("all_wrong", shared) == "2 of 6 images: all 2 runs are wrong."
    assert places("all_right", shared) == [0, 4]
    assert said("all_right", shared) == "2 of 6 images: all 2 runs are right."


def test_the_surest_mistakes_come_first(shared):
    assert places("mistakes", shared, 0) == [3, 1, 5]
    assert places("mistakes", shared, 1) == [5, 2, 3]
    # Of any run each image stands by its surest wrong answer: 0.99, 0.95, 0.8, 0.7.
    assert places("mistakes", shared) == [5, 3, 1, 2]
    assert said("mistakes", shared) == "4 of 6 images were answered wrongly by some run, the surest mistakes first."


def test_what_fine_tuning_changed(shared):
    spec = FILTERS.get("changed")
    assert choices_of(spec, shared) == ((0,), (1,))
    assert places("changed", shared, 0, 1) == [1, 2, 3]
    assert said("changed", shared, 0, 1) == (
        "3 of 6 images are answered otherwise by tuned than by frozen: 1 became right, 1 became wrong, 1 stayed wrong."
    )


def test_a_filter_that_these_runs_do_not_allow_says_why(shared):
    alone = shared_answers([answers_of("frozen", TARGETS)])
    assert why_not(FILTERS.get("changed"), shared) == ""
    assert "select 2 runs" in why_not(FILTERS.get("only_right"), alone)
    two = shared_answers([answers_of("frozen", TARGETS), answers_of("scratch", TARGETS, strategy="from_scratch")])
    assert "a frozen network and a fine-tuned one" in why_not(FILTERS.get("changed"), two)
    assert why_not(FILTERS.get("all_wrong"), alone) == ""
    assert said("all_wrong", alone) == "0 of 6 images: the run is wrong."


def test_runs_of_other_images_or_data_are_left_out_with_the_reason():
    first, other = answers_of("first", TARGETS), answers_of("other", TARGETS, dataset="another")
    half = answers_of("half", TARGETS).taking(np.array([5, 1, 3]))
    classes = dataclasses.replace(answers_of("names", TARGETS), class_names=["x", "y", "z"])
    found = shared_answers([first, other, half, classes])
    assert [run.label for run in found.runs] == ["first", "half"]
    assert found.image_ids.tolist() == ["image 1", "image 3", "image 5"]
    assert found.said == (
        "Compared on the 3 test images that all of them share, of 6 at most.",
        "other is left out: first and other were tested on different data sets.",
        "names is left out: first and names tell different classes apart.",
    )


def test_limits_of_the_expected_grade_decide_as_everywhere():
    # Torn between the first and the last grade: most probable is 0, the mean grade 0.9 lies in grade 1.
    torn = np.tile([0.5, 0.1, 0.4], (6, 1))
    run = dataclasses.replace(answers_of("torn", TARGETS), probabilities=torn, is_ordinal=True)
    plain, graded = shared_answers([run]), shared_answers([run], {"torn": [0.5, 1.5]})
    assert set(plain.runs[0].answers) == {0}
    assert set(graded.runs[0].answers) == {1}
    assert set(graded.runs[0].confidences) == {0.1}
    verdict = decide(torn[0], NAMES, limits=[0.5, 1.5])
    assert (verdict.target, verdict.confidence, verdict.rule) == (1, 0.1, graded.runs[0].rule)
    assert plain.right[0].tolist() == [True, True, False, False, False, False]
    assert graded.right[0].tolist() == [False, False, True, True, False, False]


def test_limits_come_from_the_manifest_where_they_fit(tmp_path):
    run = dataclasses.replace(record("run"), folder=tmp_path)
    assert run_limits(run, 3) is None
    write_json(tmp_path / "bundle" / "manifest.json", {"thresholds": [0.5, 1.5]})
    assert run_limits(run, 3) == [0.5, 1.5]
    assert run_limits(run, 5) is None


def test_the_table_has_every_answer(shared):
    table = shared.table(np.array([3]))
    assert table.iloc[0].to_dict() == {
        "image_id": "image 3", "true class": "b", "frozen": "c", "frozen: confidence": 0.95, "tuned": "a",
        "tuned: confidence": 0.5,
    }  # fmt: skip


def test_what_one_run_says_image_by_image(shared):
    found = answers_by_image(shared.runs[0].tested).set_index("image_id")
    assert found["predicted"].tolist() == ["a", "b", "b", "c", "c", "a"]
    assert found["outcome"].tolist() == ["right", "wrong", "right", "wrong", "right", "wrong"]
    assert found["confidence"].tolist() == [0.9, 0.8, 0.9, 0.95, 0.5, 0.4]
    # What the true class did not get: 1 - 0.9 where it is the answer, 1 - (1 - 0.8) / 2 where it is not.
    assert found["error"].tolist()[:2] == pytest.approx([0.1, 0.9])
    torn = np.tile([0.5, 0.1, 0.4], (6, 1))
    run = dataclasses.replace(answers_of("torn", TARGETS), probabilities=torn, is_ordinal=True)
    assert set(answers_by_image(run, [0.5, 1.5])["predicted"]) == {"b"}
