"""The table of metrics: each agrees with scikit-learn and with numbers worked out by hand, and says its values."""

import copy
import math
import pickle

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from lib.evaluation.metric_table import ACCURACY, KAPPA, METRICS
from lib.evaluation.metrics import evaluate_predictions

NUM = 200


def of_scikit_learn(targets, probabilities):
    predicted = probabilities.argmax(1)
    confidence, is_right = probabilities.max(1), probabilities.argmax(1) == targets
    # Ten bins of twenty images: no confidence occurs twice, so that quantiles cut between two images.
    shares, means = calibration_curve(is_right, confidence, n_bins=10, strategy="quantile")
    return {
        "accuracy": sklearn_metrics.accuracy_score(targets, predicted),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(targets, predicted),
        "quadratic_weighted_kappa": sklearn_metrics.cohen_kappa_score(targets, predicted, weights="quadratic"),
        "macro_f1": sklearn_metrics.f1_score(targets, predicted, average="macro", zero_division=0),
        "auroc": np.mean(
            [sklearn_metrics.roc_auc_score(targets == k, probabilities[:, k]) for k in np.unique(targets)]
        ),
        "log_loss": sklearn_metrics.log_loss(targets, probabilities, labels=range(probabilities.shape[1])),
        "calibration_error": np.abs(shares - means).mean(),
    }


@pytest.mark.parametrize("num_classes", [2, 5, 101])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_metric_agrees_with_scikit_learn(num_classes, seed):
    random = np.random.default_rng(seed)
    # Of 101 classes some have no image, and some are never predicted.
    targets = random.integers(num_classes, size=NUM)
    probabilities = random.dirichlet(np.full(num_classes, 0.5), NUM) + 0.3 * np.eye(num_classes)[targets]
    probabilities /= probabilities.sum(1, keepdims=True)
    expected = of_scikit_learn(targets, probabilities)
    assert set(expected) == set(METRICS)
    got = evaluate_predictions(targets, probabilities, is_ordinal=True)
    for key, metric in METRICS.items():
        assert metric.compute(targets, probabilities) == pytest.approx(expected[key], abs=1e-12, rel=1e-12), key
        assert got[key] == metric.compute(targets, probabilities)


def test_macro_f1_counts_a_class_that_is_only_predicted_as_nought_and_leaves_an_absent_one_out():
    # True 0 0 1, predicted 0 2 1: F1 2/3, 1, 0; class 3 occurs nowhere.
    assert METRICS["macro_f1"].compute(np.array([0, 0, 1]), np.eye(4)[[0, 2, 1]]) == pytest.approx(5 / 9)


def calibration_error(confidences, rights):
    confidences = np.array(confidences)
    return METRICS["calibration_error"].compute(1 - np.array(rights), np.stack([confidences, 1 - confidences], 1))


def test_calibration_error_by_hand():
    # Twenty images, two a bin: ten sure ones (0.9) of which eight are right, ten of 0.6 of which five are right. All of
    # one confidence are spread over its five bins: |0.8 - 0.9| and |0.5 - 0.6|.
    rights = [1] * 8 + [0] * 2 + [1] * 5 + [0] * 5
    confidences = [0.9] * 10 + [0.6] * 10
    assert calibration_error(confidences, rights) == pytest.approx(0.1)
    order = np.random.default_rng(0).permutation(20)
    assert calibration_error(np.array(confidences)[order], np.array(rights)[order]) == pytest.approx(0.1)
    # Fewer images than bins: each is a bin (or several) by itself.
    assert calibration_error([0.9, 0.7], [1, 0]) == pytest.approx((0.1 + 0.7) / 2)


def test_a_calibrated_and_a_boastful_classifier():
    random = np.random.default_rng(3)
    confidences = random.uniform(0.5, 1, 20_000)
    rights = random.random(20_000) < confidences
    assert calibration_error(confidences, rights) < 0.02
    assert calibration_error(np.minimum(confidences + 0.2, 1), rights) > 0.1


def test_values_in_words_and_which_way_is_better():
    assert ACCURACY.text(0.48) == "48.0\u00a0%"
    assert (KAPPA.text(0.731), KAPPA.text(-0.001), KAPPA.text(math.nan)) == ("0.73", "0.00", "not defined")
    assert METRICS["calibration_error"].text(0.034) == "3.4\u00a0%"
    assert {key for key, metric in METRICS.items() if metric.is_lower_better} == {"log_loss", "calibration_error"}
    assert METRICS["log_loss"].worth(0.2) > METRICS["log_loss"].worth(0.4) > METRICS["log_loss"].worth(math.nan)
    assert ACCURACY.worth(0.4) > ACCURACY.worth(0.2)
    assert KAPPA.difference_text(-0.204) == "0.20"
    assert ACCURACY.difference_text(-0.204) == "20.4 percentage points"


def test_kappa_alone_needs_an_order():
    assert [key for key, metric in METRICS.items() if not metric.fits(is_ordinal=False, num_classes=5)] == [KAPPA.key]
    assert all(metric.fits(is_ordinal=False, num_classes=2) for metric in METRICS.values())
    assert all(metric.fits(is_ordinal=True, num_classes=5) for metric in METRICS.values())


def test_a_metric_that_was_kept_is_the_one_of_the_table():
    assert pickle.loads(pickle.dumps(KAPPA)) is KAPPA  # noqa: S301
    assert copy.deepcopy(ACCURACY) is ACCURACY
