"""Paired comparisons against hand-worked binomials."""

import itertools

import numpy as np
import pytest

from lib.evaluation.comparison import compare_paired, holm
from lib.evaluation.metric_table import KAPPA
from lib.evaluation.metrics import quadratic_weighted_kappa


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
    assert not got.is_significant
    assert got.sentence.startswith("Not shown: A is 10.0 percentage points ahead of B, which could be chance at n = 50")


def test_a_clear_difference_names_the_better_run():
    got = compare_paired(*pair(40, 0, 10, 0), name_a="From scratch", name_b="Linear probe")
    assert got.p_value == pytest.approx(2 / 2**10)
    assert got.is_significant
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
    assert str(compare_paired(*data, groups=np.arange(53))) == str(alone)


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


GRADED = np.repeat(np.arange(5), 12)


def near(seed, spread):
    """Answers that miss by a grade or two."""
    misses = np.random.default_rng(seed).integers(-spread, spread + 1, len(GRADED))
    return np.eye(5)[np.clip(GRADED + misses, 0, 4)]


def test_grades_are_compared_by_kappa():
    # By hand: targets 0 1 2, A answers 0 1 2 (kappa 1); B answers 0 0 2. w O = 1 (one miss by one grade);
    # w E: rows 1 1 1, columns 2 0 1: (0 + 4 + 2*1 + 1 + 2*4 + 0) / 3 = 15 / 3 = 5, so kappa 1 - 1/5 = 0.8.
    targets, a, b = np.array([0, 1, 2]), np.eye(3), np.eye(3)[[0, 0, 2]]
    got = compare_paired(targets, a, b, metric=KAPPA)
    assert got.difference == pytest.approx(0.2)
    assert got.metric == "quadratic_weighted_kappa"
    assert got.sentence.startswith("Not shown: the kappa of A is 0.20 ahead of B, which could be chance at n = 3 (1.00")


def test_the_kappa_of_a_comparison_is_the_metric_itself():
    a, b = near(0, 1), near(1, 2)
    got = compare_paired(GRADED, a, b, metric=KAPPA)
    kappas = [quadratic_weighted_kappa(GRADED, answer) for answer in (a, b)]
    assert got.difference == pytest.approx(kappas[0] - kappas[1])
    assert got.low < got.difference < got.high
    assert got.is_significant
    assert got.low > 0
    assert got.sentence.startswith(f"The kappa of A is {got.difference:.2f} higher than that of B (")
    back = compare_paired(GRADED, b, a, metric=KAPPA)
    assert back.difference == pytest.approx(-got.difference)
    assert back.sentence.startswith(f"The kappa of B is {got.difference:.2f} higher than that of A (")


def test_more_right_answers_do_not_win_over_a_higher_kappa():
    # A is right more often, but where it errs it errs by four grades.
    a = np.eye(5)[np.where(np.arange(60) % 5 == 0, 4 - GRADED, GRADED)]
    b = np.eye(5)[np.clip(GRADED + (np.arange(60) % 2), 0, 4)]
    assert compare_paired(GRADED, a, b).difference > 0
    got = compare_paired(GRADED, a, b, metric=KAPPA)
    assert got.difference < 0
    assert "kappa" in got.sentence
    assert "accurate" not in got.sentence


def test_photographs_of_a_patient_are_swapped_together():
    a, b = near(0, 1), near(1, 2)
    alone = compare_paired(GRADED, a, b, metric=KAPPA)
    twice = [np.repeat(array, 2, axis=0) for array in (GRADED, a, b)]
    together = compare_paired(*twice, groups=np.repeat(np.arange(60), 2), metric=KAPPA)
    apart = compare_paired(*twice, metric=KAPPA)
    assert together.difference == pytest.approx(alone.difference)
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert apart.high - apart.low < 0.85 * (together.high - together.low)


def test_a_kappa_that_is_not_defined_is_not_compared():
    targets = np.zeros(4, int)
    got = compare_paired(targets, np.eye(3)[targets], np.eye(3)[[0, 1, 0, 0]], name_a="First", metric=KAPPA)
    assert np.isnan(got.difference)
    assert not got.is_significant
    assert got.sentence == "Not compared: the kappa of First is not defined on these 4 images."


def test_equal_answers_are_no_difference_of_kappa():
    a = near(0, 1)
    got = compare_paired(GRADED, a, a, metric=KAPPA)
    assert (got.difference, got.p_value) == (0.0, 1.0)
    assert got.sentence.startswith("No difference: A and B have the same kappa")


def test_holms_correction_by_hand():
    # 0.01 * 3, then 0.02 * 2 = 0.04, then 0.04 * 1 = 0.04; the one that is not defined is no test.
    assert holm([0.04, 0.01, float("nan"), 0.02]) == pytest.approx([0.04, 0.03, float("nan"), 0.04], nan_ok=True)
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.01, 0.02], num_tests=10) == pytest.approx([0.1, 0.18])
