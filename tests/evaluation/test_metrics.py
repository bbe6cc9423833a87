"""Metrics against numbers worked out by hand (and against scikit-learn on random data)."""

import math

import numpy as np
import pytest

from lib.evaluation.metrics import (
    accuracy,
    auroc,
    balanced_accuracy,
    confusion_matrix,
    evaluate_predictions,
    log_loss,
    per_class_report,
    quadratic_weighted_kappa,
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
    keys = {"accuracy", "balanced_accuracy", "quadratic_weighted_kappa", "auroc", "log_loss", "num"}
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
