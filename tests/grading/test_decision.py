"""What to do next, by hand: raw scores meet the cutoff, calibrated probabilities are shown."""

import dataclasses

import numpy as np
import pytest

from lib.evaluation.calibration import fit_calibration
from lib.evaluation.operating_point import read_at
from lib.evaluation.verdict import UNGRADABLE, UNLIKE, UNSURE, Verdict, decide
from lib.grading.decision import ASK, REFER, SCREEN_AGAIN, TAKE_AGAIN, cutoff_of, decide_next
from lib.grading.operating_point import OperatingPoint

GRADES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")


@pytest.fixture
def calibration():
    """Of a network that is far too sure: its temperature lies well above 1."""
    generator = np.random.default_rng(0)
    targets = np.arange(200) % 5
    logits = generator.normal(size=(200, 5)) + np.eye(5)[targets]
    probabilities = np.exp(4 * logits)
    probabilities /= probabilities.sum(1, keepdims=True)
    return fit_calibration(targets, probabilities, is_ordinal=True, fitted_on="validation images", class_names=GRADES)


def _point(threshold=0.7, positive=GRADES[2:]):
    # 10 positive images, 9 called; 10 others, 2 called: sensitivity 0.9, specificity 0.8.
    truth = np.arange(20) < 10
    score = np.where(truth, 0.9, 0.1)
    score[[9, 10, 11]] = 0.1, 0.9, 0.9
    reading = dataclasses.replace(read_at(truth, score, 0.5, prevalence=0.1, num_draws=10), threshold=threshold)
    return OperatingPoint(
        title="Referable: Moderate and above", grade=2, positive=tuple(positive), threshold=threshold,
        wanted_sensitivity=0.9, chosen_on="validation", num_chosen=20, reading=reading,
    )  # fmt: skip


def test_the_raw_score_is_compared_and_the_calibrated_probability_is_shown(calibration):
    scores = np.array([0.25, 0.02, 0.7, 0.02, 0.01])  # raw P(referable) 0.73
    verdict = decide(scores, GRADES, calibration=calibration)
    shown = sum(verdict.probabilities[name] for name in GRADES[2:])
    assert calibration.temperature > 2
    assert shown < 0.7 < 0.73  # on the calibrated number the answer would be the other one
    decision = decide_next(verdict, GRADES, cutoff=cutoff_of(GRADES, point=_point(0.7), calibration=calibration))
    assert decision.action == REFER
    assert decision.score == pytest.approx(0.73)
    assert decision.probability == pytest.approx(shown)
    assert (decision.cutoff, decision.is_default) == (0.7, False)
    # PPV = 0.9 * 0.1 / (0.9 * 0.1 + 0.2 * 0.9) = 1/3; NPV = 0.8 * 0.9 / (0.8 * 0.9 + 0.1 * 0.1).
    assert (decision.ppv, decision.npv) == (pytest.approx(1 / 3), pytest.approx(0.72 / 0.73))
    assert decision.sentence.endswith("At a prevalence of 10 %, 33 % of those referred have it (PPV).")


def test_below_the_cutoff_it_is_screened_again_at_the_stated_prevalence():
    verdict = decide(np.array([0.9, 0.05, 0.03, 0.01, 0.01]), GRADES)
    decision = decide_next(verdict, GRADES, cutoff=cutoff_of(GRADES, point=_point()), prevalence=0.5)
    assert decision.action == SCREEN_AGAIN
    assert decision.npv == pytest.approx(0.8 / 0.9)
    assert decision.prevalence == 0.5
    assert decision.sentence.endswith("At a prevalence of 50 %, 88.9 % of those not referred are free of it (NPV).")


def test_without_a_stored_point_the_default_of_the_calibration_decides(calibration):
    cutoff = cutoff_of(GRADES, calibration=calibration)
    assert cutoff.is_default
    assert cutoff.value == calibration.referral.cutoff
    assert "a default chosen for 90 % sensitivity on 200 validation images" in cutoff.origin
    half = cutoff_of(GRADES)
    assert (half.value, half.is_default, half.sensitivity) == (0.5, True, None)
    decision = decide_next(decide(np.array([0, 0, 0.6, 0.2, 0.2]), GRADES), GRADES, cutoff=half)
    assert (decision.action, decision.ppv) == (REFER, None)


def test_a_point_of_other_classes_does_not_decide(calibration):
    """A map or a subset of the classes leaves grades that the point does not know."""
    merged = ("Not referable", "Referable")
    cutoff = cutoff_of(merged, point=_point(), calibration=calibration)
    assert (cutoff.positive, cutoff.value, cutoff.is_default) == (("Referable",), 0.5, True)
    decision = decide_next(decide(np.array([0.3, 0.7]), merged), merged, cutoff=cutoff)
    assert decision.action == REFER
    subset = ("No DR", "Moderate", "Severe")
    assert cutoff_of(subset, point=_point()).positive == ("Moderate", "Severe")


def test_each_status_has_its_own_action(calibration):
    cutoff = cutoff_of(GRADES)
    unsure = decide(np.full(5, 0.2), GRADES, calibration=calibration, coverage=0.99, largest_set=1)
    assert (unsure.status, unsure.class_name) == (UNSURE, None)
    assert unsure.reason.startswith("Unsure: 5 classes are left at 99 % coverage")
    assert decide_next(unsure, GRADES, cutoff=cutoff).action == ASK
    assert decide_next(Verdict(status=UNGRADABLE), GRADES, cutoff=cutoff).action == TAKE_AGAIN
    assert decide_next(Verdict(status=UNLIKE, scores=(0.2,) * 5), GRADES, cutoff=cutoff) is None
    assert decide_next(Verdict(status="refused"), GRADES, cutoff=cutoff) is None


def test_the_decision_follows_the_score_whatever_the_rule_says_of_the_class(calibration):
    """A grade by the expected grade may lie outside its set; the cutoff knows nothing of either."""
    torn = dataclasses.replace(calibration, temperature=1.0, set_limits=tuple(0.7 for _ in calibration.set_limits))
    scores, limits = np.array([0.45, 0.0, 0.0, 0.05, 0.5]), (0.5, 2.5, 3.0, 3.5)
    by_grade = decide(scores, GRADES, calibration=torn, limits=limits)
    assert (by_grade.class_name, by_grade.is_outside_set) == ("Mild", True)
    cutoff = cutoff_of(GRADES)
    found = [decide_next(one, GRADES, cutoff=cutoff) for one in (by_grade, decide(scores, GRADES, calibration=torn))]
    assert found[0] == found[1]
    assert found[0].action == REFER
    left_out = decide(scores, GRADES, calibration=torn, limits=limits, largest_set=3)
    decision = decide_next(left_out, GRADES, cutoff=cutoff)
    assert (left_out.status, decision.action) == (UNSURE, ASK)
    assert decision.sentence.startswith("Ask a person: the class is not sure enough. Referable")
