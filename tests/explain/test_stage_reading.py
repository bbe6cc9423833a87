import dataclasses

import pytest

from lib.explain.stage_reading import cut_sentence, method, reading
from tests.explain.test_stage_worth import make_worth


def test_a_best_stage_with_later_ones_that_know_something_else():
    said = reading(make_worth([60, 80, 95, 85, 70], [50, 55, 60, 60, 60]))
    assert said.startswith(
        "For these images the best stage is 3 of 5, Stage 3: accuracy 95.0\u00a0% (88.8\u00a0% to 97.8\u00a0%)."
    )
    assert "The last two stages know ImageNet's classes, not your classes: the very last scores 25.0 points (" in said
    assert "Borrowed: 35.0 points (26.0 to 45.0), since the same network with random weights reaches 60.0" in said


def test_of_grades_it_speaks_as_grades():
    assert "The last stage knows ImageNet's classes, not your grades: it scores 20.0 points (" in reading(
        make_worth([60, 90, 70], is_ordinal=True)
    )


def test_stages_between_are_said_to_be_undecided():
    said = reading(make_worth([60, 95, 94, 75]))
    assert "The last stage knows" in said
    assert "less; between, no difference from the best is shown." in said


def test_nothing_is_claimed_that_the_intervals_do_not_bear_out():
    said = reading(make_worth([60, 90, 89], [60, 89, 88]))
    assert "No difference from it is shown at the last stage." in said
    assert "Borrowed: nothing is shown" in said
    assert "know" not in said


def test_the_highest_is_named_where_an_earlier_one_is_as_good():
    assert "the earliest within one standard error of the highest, stage 3 (90.0\u00a0%)." in reading(
        make_worth([60, 89, 90])
    )


def test_the_last_stage_may_be_the_best():
    assert "No stage comes after it." in reading(make_worth([60, 70, 95]))


def test_random_weights_may_be_ahead():
    assert "Borrowed: nothing, since the same network with random weights reaches 90.0" in reading(
        make_worth([60, 70], [60, 90])
    )


def test_no_better_than_chance_is_all_that_is_said():
    said = reading(make_worth([50, 52, 55], [50, 50, 50]))
    assert said.startswith("No stage is shown to do better than always answering cat: the highest is stage 3 of 3")
    assert "Borrowed" not in said


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ([60, 90, 80], "The run (fine): no difference from the pretrained network is shown at any stage."),
        ([60, 99, 95], "The run (fine) raised stages 2 and 3, most at stage 3 by 15.0 points ("),
        ([60, 70, 95], "raised stage 3 by 15.0 points (8.0 to 23.0) and lowered stage 2 by 20.0 points ("),
    ],
)
def test_what_a_run_changed(run, words):
    assert words in reading(make_worth([60, 90, 80], [50, 50, 50], run, run_label="fine"))


def test_how_it_was_measured():
    worth = make_worth([60, 90])
    assert "fitted on 400 images and scored on 100 test images; 95 % intervals." in method(worth)
    assert "Always answering cat gives accuracy 50.0" in method(worth)
    folds = dataclasses.replace(worth, num_folds=5, num_units=50, split_caveat="Patients are not known.")
    assert "scored out of fold on all 100 images of 50 groups (patients), kept together (5 folds" in method(folds)
    assert method(folds).endswith("Patients are not known.")


def test_a_cut_says_what_it_scores_and_trains():
    said = cut_sentence(make_worth([60, 90]), 1).replace("\u00a0", " ")
    assert said.startswith("Cut behind stage 2 of 2 (Stage 2): accuracy 90.0 % (82.6 % to 94.5 %);")
    assert said.endswith("; a linear head there trains 10 parameters, all to the right of the cut 100.")
