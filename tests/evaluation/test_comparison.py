"""Paired comparisons against hand-worked binomials."""

import itertools

import numpy as np
import pytest

from lib.evaluation.comparison import compare_paired


def rights(flags):
    flags = np.asarray(flags)
    return np.stack([flags, 1 - flags], 1).astype(float)


def pair(both, only_a, only_b, neither):
    a = [1] * both + [1] * only_a + [0] * only_b + [0] * neither
    b = [1] * both + [0] * only_a + [1] * only_b + [0] * neither
    return np.zeros(len(a), int), rights(a), rights(b)


def test_exact_mcnemar_by_hand():
    # Seven discordant images, one against: two-sided p = 2 * (1 + 7) / 2^7 = 0.125.
    got = compare_paired(*pair(40, 6, 1, 3))
    assert got.p_value == pytest.approx(0.125)
    assert got.difference == pytest.approx(5 / 50)
    assert (got.n, got.only_a, got.only_b) == (50, 6, 1)
    # Bonett and Price: (7 - 2) / 52 +- 1.96 sqrt((9/52 - (5/52)^2) / 52) = 0.0962 +- 0.1101
    assert (got.low, got.high) == pytest.approx((-0.01393, 0.20624), abs=1e-4)
    assert not got.is_shown
    assert got.sentence.startswith("Not shown: A is 10.0 percentage points ahead of B, which could be chance at n = 50")


def test_a_clear_difference_names_the_better_run():
    got = compare_paired(*pair(40, 0, 10, 0), name_a="From scratch", name_b="Linear probe")
    assert got.p_value == pytest.approx(2 / 2**10)
    assert got.is_shown
    assert got.high < 0
    assert got.sentence.startswith(
        "Linear probe is 20.0 percentage points more accurate than From scratch (95 % interval"
    )


def test_no_discordant_image_is_no_difference():
    got = compare_paired(*pair(10, 0, 0, 2))
    assert got.p_value == 1.0
    assert got.difference == 0.0
    assert got.low < 0 < got.high
    assert got.sentence.startswith("No difference")


def test_groups_of_one_give_mcnemar():
    data = pair(40, 9, 1, 3)
    alone = compare_paired(*data)
    assert compare_paired(*data, groups=np.arange(53)) == alone


def test_groups_flip_together():
    data = pair(0, 8, 2, 0)
    groups = [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]
    gains = np.array([3, 3, 2, -2])
    sums = [abs(np.dot(signs, gains)) for signs in itertools.product((-1, 1), repeat=4)]
    expected = np.mean([value >= 6 for value in sums])
    got = compare_paired(*data, groups=groups)
    assert got.p_value == pytest.approx(expected)
    assert got.p_value > compare_paired(*data).p_value


def test_pairs_must_fit():
    targets, a, b = pair(3, 1, 1, 0)
    with pytest.raises(ValueError, match="Cannot pair"):
        compare_paired(targets, a[:-1], b)
