import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lib.training.optimization import (
    OPTIMIZERS,
    SCHEDULES,
    build_optimizer,
    class_weights,
    gradient_norm,
    learning_rate_at,
    set_learning_rate,
    soft_targets,
    weighted_loss,
)
from tests.training.tiny import TinyNetwork


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


def test_stages_learn_the_slower_the_earlier_they_are() -> None:
    network = TinyNetwork()
    optimizer = build_optimizer(
        network, learning_rate=0.1, weight_decay=0.0, head=network.head, head_rate_factor=10.0, stage_rate_decay=0.5
    )
    factors = {id(p): group["rate_factor"] for group in optimizer.param_groups for p in group["params"]}
    assert len(factors) == len(list(network.parameters()))
    assert factors[id(network.stages["low"][0].weight)] == 0.5
    assert factors[id(network.stages["high"][0].weight)] == 1.0
    assert factors[id(network.head[1].weight)] == 10.0


@pytest.mark.parametrize("name", OPTIMIZERS.names)
def test_every_optimizer_descends(name: str) -> None:
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    rate = OPTIMIZERS.get(name).usual_learning_rate
    optimizer = build_optimizer(layer, learning_rate=rate, weight_decay=0.0, optimizer=name)
    for _ in range(5):
        optimizer.zero_grad()
        (layer(torch.ones(1, 1)) ** 2).sum().backward()
        optimizer.step()
    assert layer.weight.item() < 2.0


def test_l2_enters_the_gradient_and_decoupled_decay_does_not() -> None:
    found = {}
    for name in ("sgd", "adamw"):
        layer = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            layer.weight.fill_(2.0)
        optimizer = build_optimizer(layer, learning_rate=0.1, weight_decay=0.5, optimizer=name, momentum=0.0)
        layer(torch.zeros(1, 1)).sum().backward()
        optimizer.step()
        found[name] = layer.weight.item()
    # No gradient of the loss. L2: 2 - 0.1 * 0.5 * 2; decoupled: 2 * (1 - 0.1 * 0.5).
    assert found["sgd"] == pytest.approx(1.9)
    assert found["adamw"] == pytest.approx(1.9)


def test_gradient_norm_by_hand() -> None:
    network = torch.nn.Linear(2, 1)
    assert gradient_norm(network) == 0.0
    network.weight.grad, network.bias.grad = torch.tensor([[2.0, 1.0]]), torch.tensor([2.0])
    assert gradient_norm(network) == pytest.approx(3.0)


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


@pytest.mark.parametrize("schedule", SCHEDULES.names)
def test_no_schedule_leaves_zero_to_the_peak(schedule: str) -> None:
    rates = [
        learning_rate_at(step, num_steps=60, peak=0.5, warmup_fraction=0.1, schedule=schedule) for step in range(60)
    ]
    assert min(rates) > 0
    assert max(rates) == pytest.approx(0.5, rel=1e-2)


def test_steps_are_a_tenth_after_each_third() -> None:
    rates = [
        learning_rate_at(s, num_steps=9, peak=1.0, warmup_fraction=0.0, schedule="step") for s in (0, 2, 3, 5, 6, 8)
    ]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_one_cycle_rises_and_falls_by_hand() -> None:
    at = {s: learning_rate_at(s, num_steps=10, peak=1.0, warmup_fraction=0.5, schedule="one_cycle") for s in (0, 3, 9)}
    assert at[0] == pytest.approx(1 / 25)
    assert at[3] == pytest.approx(1.0)
    assert at[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 6 / 7)))


def test_a_plateau_lowers_the_rate_once_for_three_idle_epochs() -> None:
    def rate(losses: list[float]) -> float:
        return learning_rate_at(5, num_steps=9, peak=1.0, warmup_fraction=0.0, schedule="plateau", val_losses=losses)

    assert rate([3.0, 2.0, 1.0]) == 1.0
    assert rate([1.0, 2.0, 2.0]) == 1.0
    assert rate([1.0, 2.0, 2.0, 2.0]) == pytest.approx(0.3)
    assert rate([1.0, 2.0, 2.0, 2.0, 0.5, 0.4]) == pytest.approx(0.3)
    assert rate([1.0, 2, 2, 2, 2, 2, 2]) == pytest.approx(0.09)


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
