import math

import numpy as np
import pytest

from lib.evaluation.metrics import wilson_interval
from lib.evaluation.operating_point import choose_threshold, predictive_values, read_at

# Ten ill images with scores 0.95, 0.85, ..., 0.05 and ten healthy ones 0.1 lower each, the last at 0.
ILL = np.arange(0.95, 0.0, -0.1).round(2)
SCORE, TRUTH = np.r_[ILL, np.clip(ILL - 0.1, 0, None).round(2)], np.repeat([True, False], 10)


@pytest.mark.parametrize(
    ("sensitivity", "lowest_in"), [(1.0, 0.05), (0.9, 0.15), (0.85, 0.15), (0.1, 0.95), (0.01, 0.95)]
)
def test_the_highest_threshold_that_reaches_a_sensitivity(sensitivity, lowest_in):
    threshold = choose_threshold(TRUTH, SCORE, sensitivity)
    assert (SCORE[TRUTH] >= threshold).mean() >= sensitivity
    assert SCORE[TRUTH & (threshold <= SCORE)].min() == pytest.approx(lowest_in)
    # Halfway to the next lower score: another rounding of a score changes nothing.
    assert ((threshold + 1e-6 <= SCORE) == (threshold - 1e-6 <= SCORE)).all()


def test_no_sensitivity_without_positive_images_or_outside_its_range():
    with pytest.raises(ValueError, match="No image is positive"):
        choose_threshold(np.zeros(3, bool), np.arange(3.0), 0.9)
    with pytest.raises(ValueError, match=r"above 0 and up to 1, got 1\.5"):
        choose_threshold(TRUTH, SCORE, 1.5)


def test_predictive_values_by_bayes():
    # Of 1,000 people 100 are ill: 90 found, 10 missed; of 900 healthy 720 are left alone, 180 called.
    ppv, npv = predictive_values(0.9, 0.8, 0.1)
    assert ppv == pytest.approx(90 / 270)
    assert npv == pytest.approx(720 / 730)
    assert predictive_values(1.0, 1.0, 0.5) == (1.0, 1.0)
    assert math.isnan(predictive_values(0.0, 1.0, 0.1)[0])  # nobody is called


def test_a_reading_of_images_that_stand_alone():
    # At 0.5: the ill at 0.95 to 0.55 are called (5 of 10), of the healthy those at 0.85 to 0.55 (4 of 10).
    found = read_at(TRUTH, SCORE, 0.5, prevalence=0.2)
    assert (found.sensitivity.value, found.specificity.value) == (0.5, 0.6)
    assert (found.sensitivity.low, found.sensitivity.high) == pytest.approx(wilson_interval(5, 10))
    assert (found.specificity.low, found.specificity.high) == pytest.approx(wilson_interval(6, 10))
    assert (found.ppv.value, found.npv.value) == pytest.approx((0.1 / (0.1 + 0.32), 0.48 / (0.48 + 0.1)))
    assert (found.num_positive, found.num_negative, found.num_groups) == (10, 10, 0)
    # The ratio 0.5 / 0.4 of shares from 0.2366 to 0.7634 and from 0.1682 to 0.6873: its lower end is (0.2
    # - (0.04 - 0.2366 * 0.7634 * 0.6873 * 0.1127) ** 0.5) / (0.6873 * 0.1127) = 0.5, its upper end
    # 3.24; times odds 1 / 4.
    assert (found.ppv.low, found.ppv.high) == pytest.approx((0.125 / 1.125, 0.81 / 1.81), abs=1e-3)


def test_the_intervals_of_predictive_values_cover_as_they_promise():
    generator, inside = np.random.default_rng(0), 0
    ppv, npv = predictive_values(0.85, 0.9, 0.1)
    truth = np.repeat([True, False], [60, 140])
    for _ in range(400):
        called = generator.random(200) < np.where(truth, 0.85, 0.1)
        found = read_at(truth, called.astype(float), 0.5, prevalence=0.1)
        inside += (found.ppv.low <= ppv <= found.ppv.high) + (found.npv.low <= npv <= found.npv.high)
    assert 0.92 < inside / 800 < 0.98


def test_patients_are_drawn_whole():
    generator = np.random.default_rng(3)
    truth = np.repeat(np.arange(80) % 2 == 0, 4)
    score = np.repeat(generator.random(80), 4) + 0.3 * truth
    groups = np.repeat([f"p{number}" for number in range(80)], 4)
    alone, together = (read_at(truth, score, 0.6, prevalence=0.1, groups=own) for own in (None, groups))
    assert together.num_groups == 80
    for key in ("sensitivity", "specificity", "ppv"):
        one, other = getattr(alone, key), getattr(together, key)
        assert one.value == other.value
        assert other.high - other.low > 1.5 * (one.high - one.low)
        assert other.low <= other.value <= other.high


def test_a_share_that_no_draw_can_move_has_an_interval_over_patients():
    groups = np.repeat([f"p{number}" for number in range(20)], 2)
    truth = np.repeat(np.arange(20) % 2 == 0, 2)
    found = read_at(truth, truth.astype(float), 0.5, prevalence=0.1, groups=groups)
    assert found.sensitivity.value == 1.0
    assert (found.sensitivity.low, found.sensitivity.high) == pytest.approx(wilson_interval(10, 10))
    assert found.ppv.value == 1.0
    assert found.ppv.low < 0.6
    assert found.ppv.high == 1.0


def test_nobody_called_has_no_ppv():
    found = read_at(TRUTH, SCORE, 2.0, prevalence=0.1)
    assert (found.sensitivity.value, found.specificity.value) == (0.0, 1.0)
    assert math.isnan(found.ppv.value)
    assert found.npv.value == pytest.approx(0.9)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1])
def test_a_prevalence_lies_between_nobody_and_everybody(prevalence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        read_at(TRUTH, SCORE, 0.5, prevalence=prevalence)


def test_one_kind_of_image_has_no_operating_point():
    with pytest.raises(ValueError, match="positive and other images"):
        read_at(np.ones(4, bool), np.arange(4.0), 0.5, prevalence=0.1)
