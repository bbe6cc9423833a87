import numpy as np
import pytest

from lib.evaluation.metrics import calibration_error, wilson_interval
from lib.evaluation.reliability import answer_confidence, reliability, reliability_words


def test_bins_hold_equally_many_images_and_are_worked_out_by_hand():
    # Twenty images at 0.6 of which 10 come true, twenty at 0.9 of which 18 do: gaps 0.1 and 0, error 0.05.
    stated = np.repeat([0.6, 0.9], 20)
    truth = np.r_[np.ones(10), np.zeros(10), np.ones(18), np.zeros(2)]
    found = reliability(truth, stated)
    assert found.counts.tolist() == [20, 20]
    np.testing.assert_allclose(found.stated, [0.6, 0.9])
    np.testing.assert_allclose(found.observed, [0.5, 0.9])
    assert (found.low[0], found.high[0]) == pytest.approx(wilson_interval(10, 20))
    assert found.error.value == pytest.approx(0.05)
    assert found.gap == pytest.approx(0.05)
    assert ", too high by 5.0" in reliability_words(found)


@pytest.mark.parametrize("num", [7, 95, 400])
def test_the_error_is_that_of_the_board(num):
    generator = np.random.default_rng(num)
    probabilities, targets = generator.dirichlet(np.ones(4), num).round(2), generator.integers(0, 4, num)
    right, confidence = answer_confidence(targets, probabilities)
    found = reliability(right, confidence, num_draws=50)
    assert found.error.value == pytest.approx(calibration_error(targets, probabilities), abs=1e-12)
    assert found.num == num
    assert len(found.counts) == min(10, max(1, num // 10))
    assert (np.diff(found.stated) > 0).all()


def test_patients_widen_the_intervals():
    generator = np.random.default_rng(5)
    stated = np.repeat(generator.uniform(0.3, 1.0, 100), 4)
    truth = np.repeat(generator.random(100), 4) < stated
    groups = np.repeat([f"p{number}" for number in range(100)], 4)
    alone, together = reliability(truth, stated), reliability(truth, stated, groups)
    np.testing.assert_array_equal(alone.observed, together.observed)
    assert (together.high - together.low).mean() > 1.5 * (alone.high - alone.low).mean()
    assert together.error.low < together.error.high


def test_a_constant_predictor_has_one_bin():
    found = reliability(np.r_[np.ones(30), np.zeros(10)], np.full(40, 0.5))
    assert found.counts.tolist() == [40]
    assert found.error.value == pytest.approx(0.25)
    assert "one probability for every image" in reliability_words(found)


def test_a_bin_that_every_draw_leaves_alike_has_wilsons_interval_over_patients():
    groups = np.repeat([f"p{number}" for number in range(10)], 2)
    found = reliability(np.ones(20), np.full(20, 0.8), groups)
    assert (found.low[0], found.high[0]) == pytest.approx(wilson_interval(10, 10))


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="needs an image"):
        reliability(np.zeros(0), np.zeros(0))
