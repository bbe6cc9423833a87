import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from lib.evaluation.metrics import auroc
from lib.evaluation.roc import (
    draw_weights,
    drawn_areas,
    few_units,
    from_grade,
    interval_text,
    is_constant,
    questions,
    ranking_curves,
    referable_grade,
    why_undefined,
)

GRADES = ["No DR", "Mild", "Moderate", "Severe", "Proliferative"]
# Two positive images of four: scores 0.9 (+), 0.7 (-), 0.6 (+), 0.2 (-).
TRUTH, SCORE = np.array([True, False, True, False]), np.array([0.9, 0.7, 0.6, 0.2])


def test_the_points_are_those_worked_out_by_hand():
    found = ranking_curves(TRUTH, SCORE, num_draws=0)
    # Thresholds above all, 0.9, 0.7, 0.6, 0.2: (0, 0), (0, 1/2), (1/2, 1/2), (1/2, 1), (1, 1).
    points = list(zip(found.false_positive_rate.tolist(), found.true_positive_rate.tolist(), strict=True))
    assert points == [(0, 0), (0, 0.5), (0.5, 0.5), (0.5, 1), (1, 1)]
    assert found.area.value == pytest.approx(0.75)  # of four pairs, three are in order
    # Precision 1 at recall 1/2, then 2/3 at recall 1: 1/2 * 1 + 1/2 * 2/3.
    assert found.average_precision.value == pytest.approx(5 / 6)
    assert (found.recall[-1], found.precision[-1]) == (0, 1)
    assert (found.num_positive, found.num, found.share_positive) == (2, 4, 0.5)
    assert math.isnan(found.area.low)  # no draws, no interval


def test_a_draw_counts_an_image_as_often_as_it_is_in_it():
    generator = np.random.default_rng(0)
    truth = generator.random(40) < 0.4
    score = np.round(generator.random(40) + 0.3 * truth, 1)  # with ties
    areas, averages = drawn_areas(truth, score, None, seed=3, num_draws=70)  # more than one portion
    weights = np.concatenate([own for _, own in draw_weights(None, 40, seed=3, num_draws=70)])
    for area, average, own in zip(areas, averages, weights, strict=True):
        assert area == pytest.approx(roc_auc_score(truth, score, sample_weight=own), abs=1e-12)
        assert average == pytest.approx(average_precision_score(truth, score, sample_weight=own), abs=1e-12)


def test_images_of_one_patient_are_drawn_together_and_widen_the_interval():
    generator = np.random.default_rng(1)
    truth = np.repeat(generator.random(60) < 0.5, 5)
    score = np.repeat(generator.normal(size=60), 5) + truth
    groups = np.repeat([f"p{number}" for number in range(60)], 5)
    ((_, weights),) = draw_weights(groups, 300, seed=0, num_draws=4)
    assert (weights.reshape(4, 60, 5) == weights[:, ::5, None]).all()
    alone, together = (ranking_curves(truth, score, own).area for own in (None, groups))
    assert alone.value == together.value
    assert together.high - together.low > 1.8 * (alone.high - alone.low)  # as 60 images, not as 300: 5 ** 0.5 = 2.2
    assert alone.low < alone.value < alone.high


def test_too_few_patients_have_no_interval():
    truth, score = np.arange(60) % 3 == 0, np.random.default_rng(0).random(60)
    groups = np.array([f"p{number // 3}" for number in range(60)])
    assert "too few patients" in few_units(groups, 60)
    assert few_units(None, 60) == ""
    assert math.isnan(ranking_curves(truth, score, groups).area.low)
    assert math.isfinite(ranking_curves(truth, score).area.low)


def test_one_class_against_the_rest_averages_to_the_metric_of_the_board():
    generator = np.random.default_rng(2)
    targets, probabilities = generator.integers(0, 3, 50), generator.dirichlet(np.ones(3), 50)
    areas = [
        ranking_curves(one.truth(targets), one.score(probabilities), num_draws=0).area.value
        for one in questions(["a", "b", "c"], is_ordinal=False)
    ]
    assert np.mean(areas) == pytest.approx(auroc(targets, probabilities), abs=1e-12)


def test_grades_ask_for_referable_disease_first():
    found = questions(GRADES, is_ordinal=True)
    assert [one.key for one in found] == [
        "from-2", "from-1", "from-3", "from-4", "class-0", "class-1", "class-2", "class-3", "class-4",
    ]  # fmt: skip
    assert found[0].title == "Referable: Moderate and above"
    assert found[3].title == "Proliferative"
    probabilities = np.array([[0.1, 0.2, 0.3, 0.3, 0.1], [0.5, 0.4, 0.1, 0.0, 0.0]])
    np.testing.assert_allclose(found[0].score(probabilities), [0.7, 0.1])
    assert found[0].truth(np.array([0, 1, 2, 4])).tolist() == [False, False, True, True]


def test_grades_are_known_whatever_their_place():
    turned = ["Mild", "Moderate", "No_DR", "Proliferate_DR", "Severe"]
    assert from_grade(2, turned).positive == (1, 3, 4)
    assert from_grade(2, turned).title == "Referable: Moderate and above"


@pytest.mark.parametrize(
    ("names", "grade"),
    [
        (GRADES, 2),
        (["No DR", "Mild", "Moderate", "Severe or Proliferative"], 1),
        (["No DR", "Mild", "Moderate"], 2),
        (["none", "some", "much"], 1),
        (["Not referable", "Referable"], 1),
    ],
)
def test_disease_is_referred_from_moderate_where_a_class_says_so(names, grade):
    assert referable_grade(names) == grade


def test_of_two_classes_the_second_is_asked_for_first():
    assert [one.title for one in questions(["healthy", "ill"], is_ordinal=True)] == ["ill", "healthy"]


def test_what_is_not_defined_is_said_in_a_sentence():
    assert why_undefined(TRUTH, SCORE, "ill") == ""
    assert "every one of the 4 test images is 'ill'" in why_undefined(np.ones(4, bool), SCORE, "ill")
    assert "no one" not in (said := why_undefined(np.zeros(4, bool), SCORE, "ill"))
    assert "none of the 4 test images is 'ill'" in said
    assert why_undefined(np.zeros(0, bool), np.zeros(0), "ill") == "There is no test image."
    with pytest.raises(ValueError, match="nothing to tell apart"):
        ranking_curves(np.ones(4, bool), SCORE)


def test_a_constant_predictor_is_the_diagonal_without_an_interval():
    assert is_constant(np.full(4, 0.5))
    found = ranking_curves(TRUTH, np.full(4, 0.5))
    assert found.false_positive_rate.tolist() == found.true_positive_rate.tolist() == [0, 1]
    assert interval_text(found.area) == "0.50"
