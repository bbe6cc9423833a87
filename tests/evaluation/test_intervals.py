"""Intervals against published or hand-worked numbers, and their coverage."""

import math

import numpy as np
import pytest

from lib.evaluation.intervals import bootstrap_interval, fold_interval, group_members, wilson_interval
from lib.evaluation.metrics import accuracy, quadratic_weighted_kappa


def test_wilson_interval_of_published_example():
    # Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_interval_knows_nothing_without_images():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="between 0 and n"):
        wilson_interval(5, 4)


def right_or_wrong(flags):
    """Targets of class 0 and probabilities that are right where the flag is set."""
    flags = np.asarray(flags)
    return np.zeros(len(flags), int), np.stack([flags, 1 - flags], 1).astype(float)


def test_bootstrap_interval_of_a_share_is_near_wilsons():
    targets, probabilities = right_or_wrong([1] * 80 + [0] * 20)
    low, high = bootstrap_interval(accuracy, targets, probabilities)
    assert (low, high) == pytest.approx(wilson_interval(80, 100), abs=0.02)
    assert (low, high) == bootstrap_interval(accuracy, targets, probabilities)


def test_bootstrap_over_groups_is_wider_where_groups_agree():
    flags = np.repeat(np.random.default_rng(0).random(30) < 0.7, 10)
    targets, probabilities = right_or_wrong(flags)
    groups = np.repeat(np.arange(30), 10)
    low, high = bootstrap_interval(accuracy, targets, probabilities)
    group_low, group_high = bootstrap_interval(accuracy, targets, probabilities, groups)
    # Ten copies of each image: the true n is 30, the interval sqrt(10) times as wide.
    assert (group_high - group_low) / (high - low) == pytest.approx(math.sqrt(10), rel=0.2)


def test_bootstrap_interval_is_undefined_where_the_metric_is():
    targets, probabilities = right_or_wrong([1, 1, 1])
    assert all(math.isnan(bound) for bound in bootstrap_interval(quadratic_weighted_kappa, targets, probabilities))


def test_fold_interval_by_hand():
    # Mean 0.8, standard deviation 0.1, K = 3: t(2) = 4.3027, sqrt(1/3 + 1/2) = 0.91287 -> half 0.39278.
    assert fold_interval([0.7, 0.8, 0.9], limits=(-1, 2)) == pytest.approx((0.8, 0.40722, 1.19278), abs=1e-4)
    assert fold_interval([0.7, 0.8, 0.9]) == pytest.approx((0.8, 0.40722, 1.0), abs=1e-4)


def test_fold_interval_needs_two_values():
    mean, low, high = fold_interval([0.5, float("nan")])
    assert mean == 0.5
    assert math.isnan(low)
    assert math.isnan(high)


def test_images_without_a_group_stand_alone():
    members = group_members(["a", "", "a", ""], 4)
    assert [rows.tolist() for rows in members] == [[0, 2], [1], [3]]
    with pytest.raises(ValueError, match="one group for each"):
        group_members(["a"], 2)
