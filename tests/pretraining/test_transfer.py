"""The measurement of what the bundled backbone is worth, on features whose answer is known."""

import numpy as np
import pytest

from lib.pretraining import transfer

TARGETS = np.arange(60) % 2


@pytest.mark.slow
def test_separable_features_are_all_right_and_noise_is_not():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 4))
    telling = noise + 8 * TARGETS[:, None]
    assert transfer.probe_correct(telling, TARGETS).mean() == 1.0
    assert 0.2 < transfer.probe_correct(noise, TARGETS).mean() < 0.8


def test_the_gain_is_pretrained_minus_the_mean_of_the_random_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transfer, "frozen_features", lambda pixels, name, weights, seed: (weights, seed))
    right = {("pretrained", 0): 0.9, **{("random", seed): 0.5 + 0.02 * seed for seed in range(5)}}
    monkeypatch.setattr(transfer, "probe_correct", lambda arm, targets, seed: np.full(60, right[arm]))
    gain = transfer.measure_gain(np.zeros((60, 8, 8, 3), np.uint8), TARGETS, backbone_name="bundled_vgg")
    assert gain.pretrained == pytest.approx(0.9)
    assert gain.random == pytest.approx(0.54)  # the mean of 0.50, 0.52, 0.54, 0.56, 0.58
    assert (gain.low, gain.gain, gain.high) == pytest.approx((0.36, 0.36, 0.36))
