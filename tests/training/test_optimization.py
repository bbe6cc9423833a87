import math

import numpy as np
import pytest
import torch
from torch import nn

from lib.training.optimization import build_optimizer, class_weights, learning_rate_at, set_learning_rate


def test_learning_rate_rises_then_falls_along_half_a_cosine() -> None:
    rates = [learning_rate_at(step, num_steps=10, peak=1.0, warmup_fraction=0.2) for step in range(10)]
    # Two steps of warm-up: 1/2, 1; then (1 + cos(pi * s / 8)) / 2 for s = 0 ... 7.
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)  # s = 4: half way
    assert rates[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))
    assert min(rates) == rates[9] > 0


def test_learning_rate_without_warm_up_and_of_a_single_step() -> None:
    assert learning_rate_at(0, num_steps=1, peak=0.3, warmup_fraction=0.0) == 0.3
    assert learning_rate_at(0, num_steps=1, peak=0.3, warmup_fraction=0.1) == 0.3


def test_groups_decay_only_matrices_and_let_the_head_learn_faster() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    network[0].weight.requires_grad_(False)
    optimizer = build_optimizer(network, learning_rate=0.1, weight_decay=0.01, head=network[2], head_rate_factor=10.0)
    found = {(len(g["params"]), g["weight_decay"], g["rate_factor"]) for g in optimizer.param_groups}
    # Body: the frozen weight is left out; bias of the first layer and both of BatchNorm do not decay.
    assert found == {(3, 0.0, 1.0), (1, 0.01, 10.0), (1, 0.0, 10.0)}
    set_learning_rate(optimizer, 0.5)
    assert sorted({g["lr"] for g in optimizer.param_groups}) == [0.5, 5.0]


def test_one_step_of_adamw_by_hand() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    optimizer = build_optimizer(layer, learning_rate=0.1, weight_decay=0.5)
    layer(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    # Decay: 2 * (1 - 0.1 * 0.5) = 1.9; the first step of Adam has length lr: 1.9 - 0.1 = 1.8.
    assert layer.weight.item() == pytest.approx(1.8, abs=1e-6)


def test_class_weights_by_hand() -> None:
    targets = [0] * 8 + [1] * 2
    # N / (K * N_k): 10 / (2 * 8) and 10 / (2 * 2).
    assert class_weights(targets, 2, "auto") == pytest.approx(np.array([0.625, 2.5]))
    assert class_weights(targets, 2, "none") is None
    assert class_weights([0, 0, 0, 1], 2, "auto") is None  # three times is not over three times
    assert class_weights([0, 0, 0, 1], 2, "balanced") == pytest.approx(np.array([4 / 6, 2.0]))


def test_class_that_nobody_has_weighs_nothing() -> None:
    assert class_weights([0] * 4 + [2], 3, "auto") == pytest.approx(np.array([5 / 8, 0.0, 2.5]))
