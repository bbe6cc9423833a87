"""Intervals of every metric: whose method, in which cases there is none, and what is said then."""

import math

import numpy as np
import pytest

from lib.evaluation.intervals import BOOTSTRAP, FOLDS, WILSON, metric_interval
from lib.evaluation.metric_table import ACCURACY, KAPPA, METRICS
from lib.evaluation.metrics import fold_interval, wilson_interval


def graded(num, *, share_wrong=0.3, seed=0, images_each=1):
    """Grades and answers of `num` patients, whose images are right or wrong together; and the patients' names."""
    random = np.random.default_rng(seed)
    targets = random.integers(5, size=num)
    answers = np.where(random.random(num) < share_wrong, (targets + 1) % 5, targets)
    names = np.array([f"patient {number}" for number in range(num)])
    targets, answers, names = (np.repeat(one, images_each) for one in (targets, answers, names))
    return targets, 0.9 * np.eye(5)[answers] + 0.02, names


def test_accuracy_of_images_by_themselves_has_wilsons_interval():
    targets, probabilities, names = graded(40)
    right = int((probabilities.argmax(1) == targets).sum())
    for groups in (None, names, [""] * 40):  # a group of one is no group
        found = metric_interval(ACCURACY, targets, probabilities, groups=groups)
        assert (found.low, found.high, found.method) == (*wilson_interval(right, 40), WILSON)
    few = metric_interval(ACCURACY, targets[:3], probabilities[:3])
    assert few.method == WILSON


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_photographs_of_a_patient_add_no_certainty_to_any_metric(metric):
    alone = metric_interval(metric, *graded(150)[:2])
    targets, probabilities, names = graded(150, images_each=3)
    together = metric_interval(metric, targets, probabilities, groups=names)
    apart = metric_interval(metric, targets, probabilities)
    assert together.method == BOOTSTRAP
    assert together.num_units == 150
    assert together.low <= together.value <= together.high
    assert together.value == pytest.approx(metric.compute(targets, probabilities))
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert apart.high - apart.low < 0.8 * (together.high - together.low)


def test_the_seed_fixes_the_interval():
    targets, probabilities, _ = graded(60)
    first, again, other = (metric_interval(KAPPA, targets, probabilities, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first.low == pytest.approx(other.low, abs=0.05)


def test_too_few_patients_are_said_instead_of_an_interval():
    targets, probabilities, names = graded(20, images_each=5)
    for metric in METRICS.values():
        found = metric_interval(metric, targets, probabilities, groups=names)
        assert not found.is_known
        assert found.reason.startswith("too few patients or groups (20; ")
        assert math.isfinite(found.value)
    images = metric_interval(KAPPA, targets[:25], probabilities[:25])
    assert images.reason == "too few images (25; 30 are needed)"
    assert metric_interval(KAPPA, *graded(30)[:2]).is_known
    assert metric_interval(METRICS["macro_f1"], *graded(49)[:2]).reason == "too few images (49; 50 are needed)"


def test_one_patient_and_undefined_values_are_not_defined():
    targets, probabilities, _ = graded(60)
    found = metric_interval(ACCURACY, targets, probabilities, groups=["somebody"] * 60)
    assert found.reason == "not defined: all images are of one patient or group"
    one_class = metric_interval(METRICS["auroc"], np.zeros(60, int), probabilities)
    assert (math.isnan(one_class.value), one_class.reason) == (True, "not defined on these images")
    nothing = metric_interval(KAPPA, np.zeros(60, int), np.tile(np.eye(5)[0], (60, 1)))
    assert nothing.reason == "not defined on these images"


def test_what_never_varies_has_no_percentiles():
    targets, _, names = graded(40, images_each=2)
    perfect = np.eye(5)[targets]
    assert metric_interval(METRICS["balanced_accuracy"], targets, perfect, groups=names).reason == (
        "not defined: every resample gives the same value"
    )
    # Each patient to come could still be one whose images are wrong: as many as there are patients.
    found = metric_interval(ACCURACY, targets, perfect, groups=names)
    assert (found.low, found.high) == pytest.approx(wilson_interval(40, 40))
    constant = metric_interval(KAPPA, targets, np.tile(np.eye(5)[2], (80, 1)), groups=names)
    assert constant.value == pytest.approx(0)
    assert not constant.is_known


def test_accuracy_over_patients_is_wilsons_interval_of_so_many_images_as_they_are_worth():
    # Three images a patient that are right or wrong together are worth one.
    targets, probabilities, names = graded(200, images_each=3)
    found = metric_interval(ACCURACY, targets, probabilities, groups=names)
    assert (found.low, found.high) == pytest.approx(wilson_interval(found.value * 200, 200), abs=0.005)


def test_folds_have_the_interval_over_their_test_sets():
    targets, probabilities, names = graded(60, images_each=2)
    folds = np.arange(120) // 24
    for metric in METRICS.values():
        values = [metric.compute(targets[folds == fold], probabilities[folds == fold]) for fold in range(5)]
        found = metric_interval(metric, targets, probabilities, groups=names, folds=folds)
        assert (found.value, found.low, found.high) == pytest.approx(fold_interval(values, limits=metric.limits))
        assert found.method == FOLDS
    two = metric_interval(ACCURACY, targets, probabilities, folds=np.zeros(120))
    assert "fewer than two folds" in two.reason


@pytest.mark.parametrize("boast", [0.0, 0.15])
def test_the_calibration_error_is_told_with_what_chance_alone_adds(boast):
    """Of a classifier that is right as often as it says, the error that is seen is chance alone."""
    random = np.random.default_rng(0)
    confidences = random.uniform(0.5, 0.85, 300)
    targets = (random.random(300) > confidences).astype(int)
    stated = confidences + boast
    found = metric_interval(METRICS["calibration_error"], targets, np.stack([stated, 1 - stated], 1))
    assert found.low <= boast <= found.high or (boast == 0 and found.low == 0)
    assert found.low < found.value <= found.high
    assert (found.low > 0.03) == (boast > 0)
