import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from lib.training.losses import class_weights, soft_targets, weighted_loss

TARGETS = torch.tensor([0, 2, 1])
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.1, 0.3], [0.0, 3.0, 0.0]])


def test_cross_entropy_is_torchs_own_with_smoothing_and_weights() -> None:
    weights = torch.tensor([1.0, 2.0, 0.5])
    found, total = weighted_loss(LOGITS, soft_targets(TARGETS, 3), class_weights=weights)
    assert torch.allclose(found, functional.cross_entropy(LOGITS, TARGETS, weights))
    assert total == pytest.approx(3.5)
    smoothed, total = weighted_loss(LOGITS, soft_targets(TARGETS, 3, smoothing=0.1))
    assert torch.allclose(smoothed, functional.cross_entropy(LOGITS, TARGETS, label_smoothing=0.1))
    assert total == 3


def test_the_earth_mover_counts_how_far_the_mass_has_to_go() -> None:
    sure = 30.0 * torch.eye(3)
    loss, _ = weighted_loss(sure[[0]], soft_targets(torch.tensor([2]), 3), loss="earth_mover")
    # Cumulative sums 1, 1, 1 against 0, 0, 1: squares 1 + 1 + 0; a neighbour's would be 1.
    assert float(loss) == pytest.approx(2.0, abs=1e-6)
    loss, _ = weighted_loss(sure[[1]], soft_targets(torch.tensor([2]), 3), loss="earth_mover")
    assert float(loss) == pytest.approx(1.0, abs=1e-6)


def test_smoothed_targets_are_probabilities() -> None:
    soft = soft_targets(TARGETS, 3, smoothing=0.3)
    assert soft[0].tolist() == pytest.approx([0.8, 0.1, 0.1])
    assert math.isclose(float(soft.sum()), 3.0, rel_tol=1e-6)


def test_class_weights_by_hand() -> None:
    targets = [0] * 8 + [1] * 2
    # N / (K * N_k): 10 / (2 * 8) and 10 / (2 * 2).
    assert class_weights(targets, 2, "auto") == pytest.approx(np.array([0.625, 2.5]))
    assert class_weights(targets, 2, "none") is None
    assert class_weights([0, 0, 0, 1], 2, "auto") is None  # three times is not over three times
    assert class_weights([0, 0, 0, 1], 2, "balanced") == pytest.approx(np.array([4 / 6, 2.0]))


def test_class_that_nobody_has_weighs_nothing() -> None:
    assert class_weights([0] * 4 + [2], 3, "auto") == pytest.approx(np.array([5 / 8, 0.0, 2.5]))
