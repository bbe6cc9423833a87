"""The headline metric, its baseline and the order of results, against numbers worked out by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lib.evaluation.headline import (
    Score,
    best_of,
    binary_auroc,
    headline_metric,
    in_order,
    key_of_tested_images,
    score_figures,
)
from lib.evaluation.metric_table import ACCURACY, KAPPA, METRICS

GRADES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
ALPHABET = ("mild", "moderate", "no_dr", "proliferative", "severe")


def score(value, test_set="a", metric=KAPPA):
    return Score(metric=metric, value=value, test_set=test_set)


@pytest.mark.parametrize(
    ("is_ordinal", "num_classes", "metric"),
    [(True, 5, KAPPA), (True, 3, KAPPA), (True, 2, ACCURACY), (False, 5, ACCURACY), (False, 2, ACCURACY)],
)
def test_grades_are_judged_by_kappa_and_all_else_by_accuracy(is_ordinal, num_classes, metric):
    assert headline_metric(is_ordinal=is_ordinal, num_classes=num_classes) is metric


def test_the_baseline_is_the_share_of_the_commonest_class_of_the_same_images():
    targets = np.array([1, 1, 1, 0, 2])
    found = score_figures(targets, np.eye(3)[targets], ("a", "b", "c"), is_ordinal=True)
    assert (found["baseline_class"], found["baseline_accuracy"]) == ("b", 0.6)
    assert found["headline"] == "quadratic_weighted_kappa"
    assert "referable_auroc" not in found  # three grades are not the five


def test_the_baseline_of_folds_is_the_mean_over_the_folds():
    # "b" is commonest of all (4 of 7); it has 3 of 4 in the first fold, 1 of 3 in the second: (0.75 + 1/3) / 2.
    targets, folds = np.array([1, 1, 1, 0, 1, 0, 0]), np.array([0, 0, 0, 0, 1, 1, 1])
    found = score_figures(targets, np.eye(2)[targets], ("a", "b"), is_ordinal=False, folds=folds)
    assert found["baseline_class"] == "b"
    assert found["baseline_accuracy"] == pytest.approx((0.75 + 1 / 3) / 2)


@pytest.mark.parametrize("names", [GRADES, ALPHABET], ids=["in order", "by alphabet"])
def test_the_referable_area_is_that_of_moderate_and_above_by_grade(names):
    order = {name: grade for grade, name in enumerate(GRADES)}
    order |= {"no_dr": 0, "mild": 1, "moderate": 2, "severe": 3, "proliferative": 4}
    # Grades 0, 1, 2, 4; chances of referable 0.1, 0.6, 0.5, 0.9: of four pairs only (2 before 1) is wrong: 3 / 4.
    by_grade = np.array([[0.9, 0, 0.1, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2], [0, 0.5, 0, 0.5, 0], [0, 0.1, 0.3, 0.3, 0.3]])
    columns = [order[name] for name in names]
    targets = np.array([columns.index(grade) for grade in (0, 1, 2, 4)])
    found = score_figures(targets, by_grade[:, columns], names, is_ordinal=True, groups=np.array(["p", "p", "q", "r"]))
    assert found["referable_auroc"] == pytest.approx(0.75)
    assert 0 <= found["referable_auroc_low"] <= 0.75 <= found["referable_auroc_high"] <= 1


def test_the_referable_area_counts_patients_whole_and_folds_apart():
    random = np.random.default_rng(0)
    targets = np.repeat(np.arange(5), 20)
    probabilities = random.dirichlet(np.ones(5), 100) + 0.6 * np.eye(5)[targets]
    probabilities /= probabilities.sum(1, keepdims=True)
    folds = np.tile([0, 1], 50)
    chance = probabilities[:, 2:].sum(1)
    found = score_figures(targets, probabilities, GRADES, is_ordinal=True, folds=folds)
    areas = [roc_auc_score(targets[folds == fold] >= 2, chance[folds == fold]) for fold in (0, 1)]
    assert found["referable_auroc"] == pytest.approx(np.mean(areas))
    alone = score_figures(targets, probabilities, GRADES, is_ordinal=True)
    pairs = score_figures(np.repeat(targets, 2), np.repeat(probabilities, 2, axis=0), GRADES, is_ordinal=True,
                          groups=np.repeat(np.arange(100), 2))  # fmt: skip
    assert pairs["referable_auroc"] == pytest.approx(alone["referable_auroc"])
    widths = [one["referable_auroc_high"] - one["referable_auroc_low"] for one in (alone, pairs)]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)  # a second photograph of an eye is no second eye


@pytest.mark.parametrize("is_ordinal", [False, True])
def test_codes_of_unordered_classes_have_no_referable_area(is_ordinal):
    targets = np.arange(5)
    found = score_figures(targets, np.eye(5), ("0", "1", "2", "3", "4"), is_ordinal=is_ordinal)
    assert ("referable_auroc" in found) == is_ordinal


def test_the_referable_area_of_one_kind_is_not_defined():
    found = score_figures(np.array([0, 1, 0]), np.eye(5)[[0, 1, 0]], GRADES, is_ordinal=True)
    assert math.isnan(found["referable_auroc"])
    assert "referable_auroc_low" not in found


def test_area_equals_scikit_learn_with_ties():
    random = np.random.default_rng(1)
    truth, chance = random.integers(0, 2, 60), random.integers(0, 5, 60) / 4
    assert binary_auroc(truth, chance) == pytest.approx(roc_auc_score(truth, chance))


def test_an_undefined_kappa_never_wins_and_comes_last():
    scores = {"nan": score(math.nan), "low": score(-0.2), "high": score(0.4)}
    assert in_order(scores) == ["high", "low", "nan"]
    assert best_of(scores) == ("high", 2)
    assert best_of({"nan": score(math.nan)}) is None


def test_results_are_never_put_in_order_over_test_sets():
    scores = {
        "running": None,
        "a1": score(0.5), "b1": score(0.9, "b"), "a2": score(0.7), "unknown": score(1.0, ""), "b2": score(0.1, "b"),
        "a3": score(0.99, metric=ACCURACY),
    }  # fmt: skip
    assert in_order(scores) == ["running", "a2", "a1", "b1", "b2", "unknown", "a3"]
    assert best_of(scores) == ("a2", 2)  # as many as of the other set, and the first of them
    assert best_of(scores, preferred=["b2"]) == ("b1", 2)
    assert best_of({**scores, "b3": score(0.2, "b")}) == ("b1", 3)


def test_a_better_kappa_by_limits_does_not_win_over_the_headline():
    figures = {"headline": KAPPA.key, "test_accuracy": 0.5, "test_set": "a"}
    plain = Score.of({**figures, "test_quadratic_weighted_kappa": 0.6})
    limits = Score.of(
        {**figures, "test_quadratic_weighted_kappa": 0.5, "test_quadratic_weighted_kappa_by_thresholds": 0.9}
    )
    assert best_of({"plain": plain, "limits": limits}) == ("plain", 2)


def test_a_result_in_words():
    figures = {
        "headline": "quadratic_weighted_kappa", "test_quadratic_weighted_kappa": 0.731, "test_accuracy": 0.6,
        "test_quadratic_weighted_kappa_low": 0.65, "test_quadratic_weighted_kappa_high": 0.8, "baseline_class": "No DR",
        "test_baseline_accuracy": 0.74, "test_referable_auroc": 0.88, "num_test": 200,
    }  # fmt: skip
    assert Score.of(figures).words == (
        "kappa 0.73 (0.65 to 0.80); accuracy 60.0\u00a0%; always the commonest class (No DR): accuracy 74.0\u00a0%; "
        "referable (moderate and above) AUC 0.88"
    )
    old = Score.of({"test_accuracy": 0.5, "test_accuracy_low": None, "num_test": 4})
    assert (old.words, old.num) == ("accuracy 50.0\u00a0%", 4)
    assert Score.of({"state": "stopped"}) is None
    undefined = Score.of({**figures, "test_quadratic_weighted_kappa": None})
    assert undefined.headline_words.startswith("kappa not defined")


def test_a_test_set_is_its_images_with_their_classes():
    key = key_of_tested_images(["x", "y"], [0, 1])
    assert key_of_tested_images(["y", "x"], [1, 0]) == key
    assert key_of_tested_images(["x", "y"], [1, 1]) != key
    assert key_of_tested_images(["x", "z"], [0, 1]) != key


def test_of_a_loss_the_lowest_comes_first():
    losses = {
        name: score(value, metric=METRICS["log_loss"]) for name, value in zip("abc", (0.9, 0.2, 0.4), strict=True)
    }
    assert in_order({**losses, "nan": score(math.nan, metric=METRICS["log_loss"])}) == ["b", "c", "a", "nan"]
    assert best_of(losses) == ("b", 3)
