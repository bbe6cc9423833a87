"""Do intervals and tests keep their word? Simulated test sets of 100 patients with two photographs each.

The photographs of a patient share grade and part of their error, so that they are correlated. Small numbers of sets run
always, large ones with the slow tests; each test prints the rates that it measured.
"""

from itertools import combinations

import numpy as np
import pytest

from lib.evaluation.comparison import compare_paired, holm
from lib.evaluation.intervals import metric_interval
from lib.evaluation.metric_table import ACCURACY, KAPPA, METRICS

NUM_GRADES = 5
SMALL, LARGE = 250, pytest.param(2000, marks=pytest.mark.slow)


def photographs(random, num_patients, *, spread=0.7, num_runs=1):
    """Targets (N,), answers (num_runs, N) of runs that are equally good, and the patient of each photograph."""
    groups = np.repeat(np.arange(num_patients), 2)
    targets = np.repeat(random.integers(NUM_GRADES, size=num_patients), 2)
    # What makes a photograph hard is the same for all runs: half of the variance; the rest is each run's own.
    hard = np.repeat(random.normal(0, 0.6, num_patients), 2) + random.normal(0, 0.4, 2 * num_patients)
    own = np.repeat(random.normal(0, 0.6, (num_runs, num_patients)), 2, axis=1)
    own = own + random.normal(0, 0.4, (num_runs, 2 * num_patients))
    return targets, np.clip(np.rint(targets + spread * (hard + own)), 0, NUM_GRADES - 1).astype(int), groups


def sure(answers):
    return np.eye(NUM_GRADES)[answers]


@pytest.mark.parametrize("num_sets", [SMALL, LARGE])
@pytest.mark.parametrize(("metric", "spread"), [(ACCURACY, 0.7), (ACCURACY, 0.3), (KAPPA, 0.7)])
def test_intervals_hold_the_true_value_as_often_as_they_say(metric, spread, num_sets):
    random = np.random.default_rng(0)
    targets, answers, _ = photographs(random, 400_000, spread=spread)
    truth = metric.compute(targets, sure(answers[0]))
    num_held = 0
    for _ in range(num_sets):
        targets, answers, groups = photographs(random, 100, spread=spread)
        found = metric_interval(metric, targets, sure(answers[0]), groups=groups)
        num_held += found.low <= truth <= found.high
    rate = num_held / num_sets
    print(f"{metric.word} {truth:.3f}: {rate:.3%} of {num_sets} intervals hold it")
    margin = 0.0 if num_sets >= 2000 else 0.03  # two standard errors of so few sets
    assert 0.93 - margin <= rate <= 0.97 + margin


@pytest.mark.parametrize("num_sets", [60, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("num_patients", ["fewest", 100])
@pytest.mark.parametrize(
    "metric", [METRICS[key] for key in ("balanced_accuracy", "macro_f1", "log_loss")], ids=lambda metric: metric.key
)
def test_intervals_of_other_metrics_from_the_fewest_patients_on(metric, num_patients, num_sets):
    num_patients = metric.min_units if num_patients == "fewest" else num_patients
    random = np.random.default_rng(4)
    targets, answers, _ = photographs(random, 400_000)
    truth = metric.compute(targets, 0.8 * sure(answers[0]) + 0.04)
    num_held = 0
    for _ in range(num_sets):
        targets, answers, groups = photographs(random, num_patients)
        found = metric_interval(metric, targets, 0.8 * sure(answers[0]) + 0.04, groups=groups)
        num_held += found.low <= truth <= found.high
    rate = num_held / num_sets
    print(f"{metric.word} {truth:.3f}, {num_patients} patients: {rate:.3%} of {num_sets} intervals hold it")
    assert rate >= (0.92 if num_sets >= 1000 else 0.86)


@pytest.mark.parametrize("num_sets", [SMALL, LARGE])
@pytest.mark.parametrize("metric", [ACCURACY, KAPPA])
def test_two_equal_runs_are_seldom_called_different(metric, num_sets):
    random = np.random.default_rng(1)
    num_called = 0
    for _ in range(num_sets):
        targets, answers, groups = photographs(random, 100, num_runs=2)
        found = compare_paired(targets, *map(sure, answers), groups=groups, metric=metric)
        num_called += found.is_significant
    rate = num_called / num_sets
    print(f"{metric.word}: {rate:.3%} of {num_sets} pairs of equal runs are called different")
    assert rate <= 0.06 + (0.0 if num_sets >= 2000 else 0.03)


@pytest.mark.parametrize("num_sets", [25, LARGE])
@pytest.mark.parametrize("metric", [ACCURACY, pytest.param(KAPPA, marks=pytest.mark.slow)])
def test_among_six_equal_runs_any_difference_is_seldom_found(metric, num_sets):
    random = np.random.default_rng(2)
    num_called = 0
    for _ in range(num_sets):
        targets, answers, groups = photographs(random, 100, num_runs=6)
        p_values = [
            compare_paired(targets, sure(answers[a]), sure(answers[b]), groups=groups, metric=metric).p_value
            for a, b in combinations(range(6), 2)
        ]
        num_called += min(holm(p_values)) < 0.05
    rate = num_called / num_sets
    print(f"{metric.word}: in {rate:.3%} of {num_sets} sets of six equal runs a difference is found")
    assert rate <= 0.06 + (0.0 if num_sets >= 2000 else 0.08)


def test_a_real_difference_is_found():
    random = np.random.default_rng(3)
    found = 0
    for _ in range(40):
        targets, answers, groups = photographs(random, 100)
        worse = np.clip(targets + np.rint(random.normal(0, 1.2, len(targets))), 0, NUM_GRADES - 1).astype(int)
        found += compare_paired(targets, sure(answers[0]), sure(worse), groups=groups, metric=KAPPA).is_significant
    assert found >= 30
