"""Calibration against what is known of generated answers, and small cases worked out by hand."""

import json
import math

import numpy as np
import pytest

from lib.errors import UserError
from lib.evaluation.calibration import (
    COVERAGES,
    LEAST_IMAGES,
    Calibration,
    calibration_entry,
    fit_calibration,
    fit_temperature,
    risk_coverage,
    with_temperature,
)
from lib.evaluation.metrics import calibration_error, log_loss

GRADES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")


def _answers(num, *, num_classes=5, sharpness=1.0, seed=0):
    """Targets drawn from known probabilities, and these with their logarithms times `sharpness`."""
    generator = np.random.default_rng(seed)
    true = generator.dirichlet(np.full(num_classes, 0.5), size=num)
    targets = (generator.random(num)[:, None] > true.cumsum(1)).sum(1).clip(max=num_classes - 1)
    return targets, with_temperature(true, 1 / sharpness)


def _fit(targets, probabilities, **changes):
    return fit_calibration(targets, probabilities, **{"is_ordinal": True, "fitted_on": "validation images", **changes})


@pytest.mark.parametrize(("sharpness", "expected"), [(2.0, 2.0), (0.5, 0.5), (1.0, 1.0)])
def test_the_temperature_undoes_what_was_done(sharpness, expected):
    targets, probabilities = _answers(4000, sharpness=sharpness)
    temperature = fit_temperature(targets, probabilities)
    assert temperature == pytest.approx(expected, rel=0.1)
    calibrated = with_temperature(probabilities, temperature)
    assert log_loss(targets, calibrated) <= log_loss(targets, probabilities)
    assert calibration_error(targets, calibrated) < 0.03


def test_temperature_of_two_by_hand():
    # p ~ (0.64, 0.16): roots 0.8 and 0.4, so 2/3 and 1/3.
    assert with_temperature(np.array([0.8, 0.2]), 2.0) == pytest.approx([2 / 3, 1 / 3])
    assert with_temperature(np.array([[1.0, 0.0]]), 2.0).sum() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_log_loss_and_calibration_error_are_never_worse(seed):
    generator = np.random.default_rng(seed)
    targets = np.arange(30) % 3
    probabilities = generator.dirichlet(np.ones(3), size=30)
    found = _fit(targets, probabilities)
    assert found.log_loss_after <= found.log_loss_before
    assert found.error_after <= found.error_before


def test_a_temperature_that_costs_calibration_is_not_taken():
    # The largest probability comes true as it says, 0.6; the others hide which of them is right, and sharper is better.
    targets = np.array([0] * 60 + [1] * 40)
    probabilities = np.tile([0.6, 0.3, 0.1], (100, 1))
    targets, probabilities = np.append(targets, 2), np.vstack([probabilities, [0.6, 0.3, 0.1]])
    assert log_loss(targets, with_temperature(probabilities, 0.9)) < log_loss(targets, probabilities)
    assert fit_temperature(targets, probabilities) == 1.0


def test_answers_that_are_all_right_do_not_ask_for_certainty():
    targets = np.arange(40) % 2
    probabilities = np.where(np.eye(2)[targets] == 1, 0.7, 0.3)
    found = _fit(targets, probabilities)
    # The best answer is 41 / 42 by the smoothed targets.
    assert found.calibrated(probabilities).max() == pytest.approx(41 / 42, abs=1e-3)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_coverage_is_near_the_target_from_both_sides(coverage, sharpness):
    found = _fit(*_answers(2000, sharpness=sharpness, seed=1))
    targets, probabilities = _answers(4000, sharpness=sharpness, seed=2)
    is_in = found.are_in_sets(found.calibrated(probabilities), coverage)
    covered = is_in[np.arange(4000), targets].mean()
    accuracy = (probabilities.argmax(1) == targets).mean()
    # Two standard errors of both samples, above and below; a set of one class is right as often as the classifier is.
    spread = 2.6 * math.sqrt(coverage * (1 - coverage) * (1 / 2000 + 1 / 4000))
    assert max(coverage, accuracy) == pytest.approx(covered, abs=spread)
    sets = [set(found.prediction_set(row, coverage)) for row in found.calibrated(probabilities[:50])]
    assert sets == [set(np.flatnonzero(row)) for row in is_in[:50]]


def test_sets_by_hand():
    # 39 scores 1 - p of 0.01 .. 0.39: at 0.9 the ceil(40 * 0.9) = 36th, at 0.99 the 40th, which is not there.
    targets = np.arange(39) % 2
    own = 1 - np.arange(1, 40) / 100
    probabilities = np.where(np.eye(2)[targets] == 1, own[:, None], 1 - own[:, None])
    found = _fit(targets, probabilities)
    limit = 1 - with_temperature(np.array([0.64, 0.36]), found.temperature)[0]
    assert found.set_limit(0.9) == pytest.approx(limit)
    assert found.set_limit(0.99) == 1.0
    assert found.prediction_set(np.array([0.2, 0.8]), 0.99) == (1, 0)
    assert found.prediction_set(np.array([1 - limit - 0.001, limit + 0.001]), 0.9)[0] == int(limit > 0.499)
    assert found.prediction_set(np.array([0.05, 0.95]), 0.5) == (1,)
    assert found.prediction_set(np.array([0.5, 0.5]), 0.5) == (0,)  # never empty


def test_larger_coverage_means_larger_sets():
    found = _fit(*_answers(300))
    assert list(found.set_limits) == sorted(found.set_limits)
    assert (COVERAGES[0], COVERAGES[-1], len(COVERAGES)) == (0.5, 0.99, 50)
    assert found.set_limit(0.805) == found.set_limit(0.81)
    for coverage in (0.49, 0.991, math.nan):
        with pytest.raises(UserError, match="must lie between"):
            found.set_limit(coverage)


def test_the_most_confident_share_by_hand():
    # Ten answers from sure to unsure, wrong at the 5th, 9th and 10th: error 0.3, of the first eight 0.125.
    confidence = np.linspace(0.99, 0.6, 10)
    is_right = np.array([1, 1, 1, 1, 0, 1, 1, 1, 0, 0])
    probabilities = np.stack([confidence, 1 - confidence], 1)[::-1]
    found = risk_coverage((1 - is_right)[::-1], probabilities)
    by_share = {point.share: point.accuracy for point in found.points}
    assert by_share[1.0] == pytest.approx(0.7)
    assert by_share[0.8] == pytest.approx(0.875)
    assert by_share[0.4] == 1.0
    assert found.error_fall.value == pytest.approx(1 - 0.125 / 0.3)
    assert found.sentence.startswith(
        "With the least confident fifth left to a person, the error falls from 30.0 to 12.5 %: by 58 % of itself"
    )


def test_without_an_error_nothing_is_gained():
    targets = np.arange(30) % 2
    found = risk_coverage(targets, np.where(np.eye(2)[targets] == 1, 0.9, 0.1))
    assert math.isnan(found.error_fall.value)
    assert found.sentence == "None of 30 answers is wrong, so that leaving some to a person gains nothing."


def test_limits_and_cutoff_are_of_grades_only():
    targets, probabilities = _answers(400, sharpness=3)
    grades = _fit(targets, probabilities, class_names=GRADES)
    assert len(grades.limits) == 4
    assert grades.referral.positive == ("Moderate", "Severe", "Proliferative")
    assert grades.referral.sensitivity >= 0.9
    called = probabilities[:, 2:].sum(1) >= grades.referral.cutoff  # of the raw probabilities
    assert called[targets >= 2].mean() == pytest.approx(grades.referral.sensitivity)
    other = _fit(targets, probabilities, is_ordinal=False, class_names=GRADES)
    assert (other.limits, other.referral) == ((), None)
    merged = np.stack([probabilities[:, :2].sum(1), probabilities[:, 2:].sum(1)], 1)
    binary = _fit((targets >= 2).astype(int), merged, class_names=("Not referable", "Referable"))
    assert binary.limits == ()
    assert binary.referral.positive == ("Referable",)


def test_it_survives_json():
    found = _fit(*_answers(100), class_names=GRADES)
    kept = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert kept["format_version"] == 1
    assert Calibration.from_dict(kept) == found
    all_right = np.arange(40) % 2
    without_errors = _fit(all_right, np.where(np.eye(2)[all_right] == 1, 0.9, 0.1), is_ordinal=False)
    again = Calibration.from_dict(json.loads(json.dumps(without_errors.to_dict(), allow_nan=False)))
    assert math.isnan(again.risk.error_fall.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format_version": 2}, "newer version"),
        ({"temperature": 0}, "damaged"),
        ({"temperature": "hot"}, "damaged"),
        ({"set_limits": [0.5]}, "damaged"),
        ({"limits": [3, 2, 1, 0]}, "damaged"),
        ({"risk": None}, "damaged"),
    ],
)
def test_what_does_not_fit_is_refused(changes, match):
    kept = _fit(*_answers(100)).to_dict()
    with pytest.raises(UserError, match=match):
        Calibration.from_dict({**kept, **changes})


def test_too_little_is_no_calibration_with_the_reason():
    targets, probabilities = _answers(LEAST_IMAGES - 1, num_classes=2)
    few = calibration_entry(targets, probabilities, is_ordinal=False, fitted_on="validation images")
    assert few["calibration"] is None
    assert few["why_not_calibrated"].endswith("and there are 29 (validation images).")
    missing = calibration_entry(np.arange(40) % 2, np.full((40, 3), 1 / 3), is_ordinal=False, fitted_on="images")
    assert missing["why_not_calibrated"] == "Not calibrated: 1 of 3 classes have no image among the images."
    diverged = calibration_entry(np.arange(40) % 2, np.full((40, 2), np.nan), is_ordinal=False, fitted_on="images")
    assert "no number" in diverged["why_not_calibrated"]
    none = calibration_entry(np.zeros(0, int), np.zeros((0, 2)), is_ordinal=False, fitted_on="images")
    assert "there are 0" in none["why_not_calibrated"]
