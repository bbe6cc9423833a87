"""Metrics against numbers worked out by hand (and against scikit-learn on random data)."""

import math

import numpy as np
import pytest

from lib.evaluation.metric_table import METRICS
from lib.evaluation.metrics import (
    accuracy,
    auroc,
    balanced_accuracy,
    bootstrap_interval,
    confusion_matrix,
    evaluate_predictions,
    fold_interval,
    group_members,
    log_loss,
    per_class_report,
    quadratic_weighted_kappa,
    wilson_interval,
)


def one_hot(predicted, num_classes):
    return np.eye(num_classes)[np.asarray(predicted)]


# Six images of three grades; true 0 0 0 1 1 2, predicted 0 0 1 1 2 2.
TARGETS = np.array([0, 0, 0, 1, 1, 2])
PROBABILITIES = one_hot([0, 0, 1, 1, 2, 2], 3)


def test_accuracy_counts_hits():
    assert accuracy(TARGETS, PROBABILITIES) == pytest.approx(4 / 6)


def test_balanced_accuracy_is_the_mean_recall():
    # recalls 2/3, 1/2, 1/1
    assert balanced_accuracy(TARGETS, PROBABILITIES) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_balanced_accuracy_leaves_absent_classes_out():
    assert balanced_accuracy(np.array([0, 0, 1]), one_hot([0, 2, 1], 3)) == pytest.approx((1 / 2 + 1) / 2)


def test_quadratic_weighted_kappa_by_hand():
    # Observed disagreement: two images one grade off = 2. Row sums 3 2 1, column sums 2 2 2, expected = row * col / 6:
    # (0,1) 1, (0,2) 1 * 4, (1,0) 2/3, (1,2) 2/3, (2,0) 1/3 * 4, (2,1) 1/3  ->  1 + 4 + 4/3 + 4/3 + 1/3 = 8.
    assert quadratic_weighted_kappa(TARGETS, PROBABILITIES) == pytest.approx(1 - 2 / 8)


def test_kappa_of_a_constant_predictor_is_zero_and_undefined_without_any_variation():
    assert quadratic_weighted_kappa(TARGETS, one_hot([1] * 6, 3)) == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(quadratic_weighted_kappa(np.zeros(4, int), one_hot([0] * 4, 3)))


def test_auroc_by_hand():
    # Positives score 0.9 and 0.4, negatives 0.5 and 0.1: of four pairs three are in order.
    scores = np.array([0.9, 0.4, 0.5, 0.1])
    probabilities = np.stack([1 - scores, scores], 1)
    assert auroc(np.array([1, 1, 0, 0]), probabilities) == pytest.approx(3 / 4)


def test_auroc_leaves_absent_classes_out_and_is_undefined_for_one_class():
    scores = np.array([0.9, 0.4, 0.5, 0.1])
    probabilities = np.stack([1 - scores, scores, np.zeros(4)], 1)
    assert auroc(np.array([1, 1, 0, 0]), probabilities) == pytest.approx(3 / 4)
    assert math.isnan(auroc(np.array([1, 1]), np.array([[0.1, 0.9], [0.8, 0.2]])))


def test_log_loss_by_hand():
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]])
    assert log_loss(np.array([0, 1]), probabilities) == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2)


def test_log_loss_of_an_impossible_class_is_large_but_finite():
    assert log_loss(np.array([1]), np.array([[1.0, 0.0]])) == pytest.approx(-math.log(np.finfo(float).eps))


def test_confusion_matrix_rows_are_true_classes():
    assert confusion_matrix(TARGETS, PROBABILITIES).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]


def test_per_class_report_by_hand():
    report = per_class_report(TARGETS, PROBABILITIES, ("none", "mild", "severe"))
    assert report["class_name"].tolist() == ["none", "mild", "severe"]
    assert report["precision"].tolist() == pytest.approx([1, 1 / 2, 1 / 2])
    assert report["recall"].tolist() == pytest.approx([2 / 3, 1 / 2, 1])
    assert report["f1"].tolist() == pytest.approx([4 / 5, 1 / 2, 2 / 3])
    assert report["count"].tolist() == [3, 2, 1]


def test_per_class_report_says_nan_where_nothing_can_be_said():
    report = per_class_report(np.array([0, 1]), one_hot([0, 0], 3), ("a", "b", "c"))
    assert math.isnan(report["precision"][1])
    assert math.isnan(report["recall"][2])
    assert math.isnan(report["f1"][2])


def test_evaluate_predictions_holds_every_key_and_kappa_only_where_there_is_an_order():
    ordinal = evaluate_predictions(TARGETS, PROBABILITIES, is_ordinal=True)
    nominal = evaluate_predictions(TARGETS, PROBABILITIES, is_ordinal=False)
    keys = {*METRICS, "num"}
    assert set(ordinal) == set(nominal) == keys
    assert ordinal["quadratic_weighted_kappa"] == pytest.approx(0.75)
    assert math.isnan(nominal["quadratic_weighted_kappa"])
    assert ordinal["num"] == 6
    two = evaluate_predictions(np.array([0, 0, 1, 1]), one_hot([0, 1, 1, 1], 2), is_ordinal=False)
    assert two["quadratic_weighted_kappa"] == pytest.approx(0.5)  # p_o 3/4, p_e 1/2


def test_metrics_agree_with_scikit_learn_on_random_predictions():
    from sklearn import metrics

    generator = np.random.default_rng(0)
    targets = generator.integers(5, size=200)
    probabilities = generator.dirichlet(np.ones(5), size=200)
    predicted = probabilities.argmax(1)
    got = evaluate_predictions(targets, probabilities, is_ordinal=True)
    assert got["accuracy"] == pytest.approx(metrics.accuracy_score(targets, predicted))
    assert got["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(targets, predicted))
    kappa = metrics.cohen_kappa_score(targets, predicted, weights="quadratic")
    assert got["quadratic_weighted_kappa"] == pytest.approx(kappa)
    assert got["auroc"] == pytest.approx(metrics.roc_auc_score(targets, probabilities, multi_class="ovr"))
    assert got["log_loss"] == pytest.approx(metrics.log_loss(targets, probabilities))


@pytest.mark.parametrize(
    ("targets", "probabilities", "message"),
    [
        ([], np.empty((0, 2)), "an image"),
        ([0, 1], [[0.5, 0.5]], r"targets \(N,\)"),
        ([2], [[0.5, 0.5]], "do not fit 2 classes"),
        ([0], [[1.0]], "two classes"),
        ([0], [[float("nan"), 1.0]], "diverged"),
    ],
)
def test_impossible_input_is_refused(targets, probabilities, message):
    with pytest.raises(ValueError, match=message):
        evaluate_predictions(np.array(targets, dtype=int), np.array(probabilities), is_ordinal=False)


def test_log_loss_by_class_weights_by_hand() -> None:
    targets, probabilities = np.array([0, 0, 1]), np.array([[0.5, 0.5], [0.25, 0.75], [0.2, 0.8]])
    losses = [math.log(2), math.log(4), math.log(1.25)]
    assert log_loss(targets, probabilities) == pytest.approx(sum(losses) / 3)
    weighted = (0.75 * losses[0] + 0.75 * losses[1] + 1.5 * losses[2]) / 3
    assert log_loss(targets, probabilities, np.array([0.75, 1.5])) == pytest.approx(weighted)


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


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_are_those_of_scikit_learn_and_scipy(seed):
    from scipy.stats import binomtest
    from sklearn import metrics as sklearn_metrics

    random = np.random.default_rng(seed)
    targets, probabilities = random.integers(0, 4, 50), random.dirichlet(np.ones(4), 50)
    answers, labels = probabilities.argmax(1), range(4)
    assert (confusion_matrix(targets, probabilities) == sklearn_metrics.confusion_matrix(targets, answers)).all()
    kappa = sklearn_metrics.cohen_kappa_score(targets, answers, weights="quadratic", labels=labels)
    assert quadratic_weighted_kappa(targets, probabilities) == pytest.approx(kappa, abs=1e-12)
    loss = sklearn_metrics.log_loss(targets, probabilities, labels=labels)
    assert log_loss(targets, probabilities) == pytest.approx(loss, abs=1e-12)
    right = int((answers == targets).sum())
    interval = binomtest(right, 50).proportion_ci(method="wilson")
    assert wilson_interval(right, 50) == pytest.approx((interval.low, interval.high), abs=1e-12)
