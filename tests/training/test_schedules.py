import math

import pytest

from lib.training.schedules import SCHEDULES, learning_rate_at


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
