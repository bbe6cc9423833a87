"""What is said of results that should not be believed yet, and that nothing is said of the others."""

import math

import numpy as np
import pytest

from lib.evaluation.cautions import MANY_LOOKS, TINY_CLASS, class_cautions, constant_predictor, largest_of, many_looks
from lib.evaluation.intervals import Interval
from lib.evaluation.metric_table import ACCURACY, KAPPA

NAMES = ["none", "mild", "severe"]


def test_one_answer_to_all_images_is_named_and_any_other_answers_are_not():
    assert constant_predictor("Probe", np.array([1, 1, 1]), NAMES).startswith("Probe calls every image mild: ")
    assert constant_predictor("Probe", np.array([1, 1, 2]), NAMES) == ""
    assert constant_predictor("Probe", np.array([], dtype=int), NAMES) == ""


def test_ten_images_of_each_class_need_no_caution_and_nine_do():
    enough = np.repeat(np.arange(3), TINY_CLASS)
    assert class_cautions(enough, NAMES) == []
    assert class_cautions(enough[1:], NAMES) == [
        "Few test images of none (9): in the smallest class one image moves the recall by 11 percentage points."
    ]


def test_absent_and_small_classes_are_two_sentences_and_the_smallest_present_class_counts():
    absent, few = class_cautions(np.array([0] * 4 + [1] * 5), NAMES)
    assert absent.startswith("The test set has no image of severe: ")
    assert few.startswith("Few test images of none (4) and mild (5): ")
    assert few.endswith("by 25 percentage points.")


def test_a_single_class_is_all_that_is_said():
    (said,) = class_cautions(np.array([2, 2]), NAMES)
    assert said.startswith("All test images are of one class (severe): ")


@pytest.mark.parametrize(
    ("num_classes", "named"),
    [
        (6, "of c2, c3, c4 and c5: "),
        (7, "of c2, c3, c4, c5 and 1 more class: "),
        (9, "of c2, c3, c4, c5 and 3 more classes: "),
    ],
)
def test_of_many_classes_four_are_named(num_classes, named):
    absent, *_ = class_cautions(np.repeat([0, 1], 20), [f"c{number}" for number in range(num_classes)])
    assert named in absent


def test_a_long_name_is_cut():
    (said, *_) = class_cautions(np.repeat([0, 1], 20), ["a", "b", "x" * 41])
    assert f"no image of {'x' * 39}…: " in said


def test_the_best_of_many_looks_better_by_its_expected_lead():
    assert [round(largest_of(num), 3) for num in (1, 2, 10)] == [0.0, 0.564, 1.539]
    # Half of 0.70 to 0.80 is 1.96 standard errors of 2.55 points: 1.539 of them are 3.9 points.
    known = Interval(0.75, 0.70, 0.80)
    assert "up to 3.9 percentage points better than it is" in many_looks(10, 120, ACCURACY, known)
    assert "up to 0.04 better than it is" in many_looks(10, 120, KAPPA, known)
    assert many_looks(10, 120, ACCURACY, known).startswith("10 runs were tested on these 120 images")


def test_few_looks_and_unknown_intervals_say_nothing():
    known = Interval(0.75, 0.70, 0.80)
    assert many_looks(MANY_LOOKS - 1, 120, ACCURACY, known) == ""
    assert many_looks(MANY_LOOKS, 120, ACCURACY, known) != ""
    assert many_looks(20, 120, ACCURACY, Interval(0.75, math.nan, 0.80)) == ""
