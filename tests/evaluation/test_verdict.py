"""The verdict where the two rules differ, worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from lib.evaluation.calibration import BY_OTHERS, fit_calibration
from lib.evaluation.metrics import quadratic_weighted_kappa
from lib.evaluation.verdict import (
    GRADED,
    REFUSED,
    UNLIKE,
    UNSURE,
    Verdict,
    decide,
    expected_grade,
    fit_thresholds,
    grades_by_thresholds,
    kappa_by_thresholds,
)

NAMES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
TORN = np.array([0.3, 0.0, 0.1, 0.2, 0.4])  # expected grade 0.2 + 0.6 + 1.6 = 2.4
LIMITS = (0.5, 1.5, 2.45, 3.5)


def test_the_most_probable_class_and_the_expected_grade_differ():
    by_share, by_grade = decide(TORN, NAMES), decide(TORN, NAMES, limits=LIMITS)
    assert (by_share.class_name, by_share.target, by_share.confidence) == ("Proliferative", 4, 0.4)
    assert (by_grade.class_name, by_grade.target, by_grade.confidence) == ("Moderate", 2, 0.1)
    assert (by_share.rule, by_grade.rule) == ("most probable class", "expected grade")
    assert by_share.expected_grade is None
    assert by_grade.expected_grade == pytest.approx(2.4)
    assert by_share.most_probable == by_grade.most_probable == "Proliferative"
    assert by_share.probabilities == by_grade.probabilities == dict(zip(NAMES, TORN, strict=True))


def test_each_rule_has_its_own_close_call():
    # 0.4 - 0.3 < 0.2; and 2.45 - 2.4 < 0.1.
    by_share, by_grade = decide(TORN, NAMES), decide(TORN, NAMES, limits=LIMITS)
    assert (by_share.is_close_call, by_share.runner_up) == (True, "No DR")
    assert (by_grade.is_close_call, by_grade.runner_up) == (True, "Severe")
    assert by_share.sentence == "A close call: 40 %, and No DR 30 %."
    assert by_grade.sentence == (
        "A close call: expected grade 2.40, limit to Severe 2.45; the most probable class is Proliferative (40.0 %), "
        "this one has 10.0 %."
    )
    clear = decide(TORN, NAMES, limits=(0.5, 1.5, 3.0, 3.5))
    assert not clear.is_close_call
    assert clear.sentence.startswith("Expected grade 2.40; the most probable class is Proliferative")
    below = decide(TORN, NAMES, limits=(0.5, 2.35, 3.0, 3.5))  # 0.05 above the limit to Mild
    assert (below.class_name, below.runner_up, below.is_close_call) == ("Moderate", "Mild", True)


def test_the_expected_grade_may_mean_a_class_that_is_not_in_the_set():
    targets = np.arange(40) % 5
    found = fit_calibration(targets, np.eye(5)[targets] * 0.75 + 0.05, is_ordinal=True, fitted_on="validation images")
    found = replace(found, temperature=1.0, set_limits=tuple(0.7 for _ in found.set_limits))
    inside = decide(TORN, NAMES, calibration=found, largest_set=2)
    assert (inside.class_name, inside.is_outside_set) == ("Proliferative", False)
    assert inside.prediction_set == ("Proliferative", "No DR")
    outside = decide(TORN, NAMES, calibration=found, limits=LIMITS)
    assert (outside.class_name, outside.prediction_set) == ("Moderate", ("Proliferative", "No DR"))
    assert outside.is_outside_set
    # Who wants no class that is not sure gets none that the set rules out.
    refused = decide(TORN, NAMES, calibration=found, limits=LIMITS, largest_set=2)
    assert (refused.status, refused.class_name, refused.confidence) == (UNSURE, None, None)
    assert refused.reason == (
        "Unsure: the expected grade means Moderate, which is not among the classes left at 90 % coverage "
        "(Proliferative, No DR)."
    )


def test_a_coverage_by_answers_of_other_fits_is_no_promise():
    targets = np.arange(40) % 5
    words = []
    for fitted_on in ("validation images", f"images, {BY_OTHERS} the fold that had not seen it"):
        found = fit_calibration(targets, np.eye(5)[targets] * 0.75 + 0.05, is_ordinal=True, fitted_on=fitted_on)
        words.append(decide(TORN, NAMES, calibration=found, coverage=0.95).coverage_words)
    assert words == ["95 % coverage", "about 95 % coverage or more"]
    assert decide(TORN, NAMES).coverage_words == ""


@pytest.mark.parametrize("limits", [None, LIMITS])
def test_a_refused_image_stays_refused_under_both_rules(limits):
    seen = Verdict(status=UNLIKE, distance=0.5, threshold=0.3, reason="Unlike.")
    verdict = decide(TORN, NAMES, limits=limits, seen=seen)
    assert (verdict.status, verdict.class_name, verdict.target, verdict.probabilities) == (UNLIKE, None, None, {})
    assert verdict.scores == tuple(TORN)
    assert (verdict.sentence, verdict.is_close_call, verdict.expected_grade) == ("", False, None)


def test_no_number_is_no_answer():
    verdict = decide(np.array([np.nan, 0.5]), ("a", "b"))
    assert (verdict.status, verdict.class_name) == (REFUSED, None)
    assert "no number" in verdict.reason
    assert decide(np.array([0.25, 0.75]), ("a", "b")).status == GRADED


def spread(grades: np.ndarray) -> np.ndarray:
    """Probabilities of three grades whose mean is the given number."""
    low = np.clip(1 - grades, 0, 1)
    high = np.clip(grades - 1, 0, 1)
    return np.stack([low, 1 - low - high, high], axis=1)


def test_expected_grade_and_its_limits_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    assert expected_grade(probabilities) == pytest.approx([0.5, 1.6, 0.0])
    assert grades_by_thresholds(probabilities, [0.5, 1.7]).tolist() == [1, 1, 0]


def test_fitted_limits_separate_grades_that_the_halves_mix_up() -> None:
    means = np.array([0.1, 0.2, 0.3, 0.4, 0.45, 0.6, 0.7, 0.8, 1.3])
    targets = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    probabilities = spread(means)
    limits = fit_thresholds(targets, probabilities)
    assert 0.3 < limits[0] < 0.4
    assert 0.6 < limits[1] < 0.7
    assert kappa_by_thresholds(targets, probabilities, limits) == 1.0
    assert quadratic_weighted_kappa(targets, probabilities) < 0.7


def test_limits_stay_halfway_where_they_are_right_or_nothing_is_known() -> None:
    assert fit_thresholds(np.array([0, 1, 2]), np.eye(3)).tolist() == [0.5, 1.5]
    assert fit_thresholds(np.array([1, 1]), np.tile([0.0, 1.0, 0.0], (2, 1))).tolist() == [0.5, 1.5]


def test_wrong_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="one rising limit less"):
        grades_by_thresholds(np.eye(3), [0.5])
    with pytest.raises(ValueError, match="one rising limit less"):
        grades_by_thresholds(np.eye(3), [1.5, 0.5])
