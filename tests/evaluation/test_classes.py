"""Figures of each class with their intervals, and the sentence that names the commonest confusion."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from lib.evaluation.classes import Confusion, class_intervals, commonest_confusion, confusion_sentence
from lib.evaluation.metrics import wilson_interval

# Study 1, logistic regression: grades of 300 photographs.
MATRIX = np.array(
    [[15, 19, 17, 9, 0], [20, 24, 10, 5, 1], [12, 13, 13, 12, 10], [7, 4, 11, 24, 14], [4, 2, 11, 10, 33]]
)


def pairs(matrix):
    true, predicted = np.nonzero(np.ones_like(matrix))
    return np.repeat(true, matrix.ravel()), np.repeat(predicted, matrix.ravel())


def test_the_figures_are_those_of_scikit_learn():
    targets, answers = pairs(MATRIX)
    found = class_intervals(targets, answers, list("01234"))
    expected = precision_recall_fscore_support(targets, answers)
    for name, own in zip(("precision", "recall", "f1", "count"), expected, strict=True):
        np.testing.assert_allclose(found[name], own, atol=1e-12)


def test_intervals_of_single_images_are_wilsons():
    found = class_intervals(*pairs(MATRIX), list("01234"))
    assert (found["recall_low"][4], found["recall_high"][4]) == pytest.approx(wilson_interval(33, 60))
    assert (found["precision_low"][4], found["precision_high"][4]) == pytest.approx(wilson_interval(33, 58))
    # F1 = 66 / 118; J = 33 of 33 + 27 + 25 = 85.
    low, high = wilson_interval(33, 85)
    assert (found["f1_low"][4], found["f1_high"][4]) == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))
    assert found["f1_low"][4] < 66 / 118 < found["f1_high"][4]


def test_a_class_without_images_and_one_never_called_have_no_figures_there():
    found = class_intervals(np.array([0, 0, 1]), np.array([0, 1, 1]), ["a", "b", "c"])
    assert found.loc[2, ["precision", "recall", "f1"]].isna().all()
    assert found.loc[2, [name for name in found if name.endswith(("low", "high"))]].isna().all()
    assert found["count"].tolist() == [2, 1, 0]
    assert found.loc[0, "precision_low"] == pytest.approx(wilson_interval(1, 1)[0])


def test_two_alike_images_of_each_patient_widen_the_interval_as_half_as_many_images_do():
    targets, answers = pairs(MATRIX)
    doubled = np.repeat(targets, 2), np.repeat(answers, 2)
    patients = np.repeat([f"p{number}" for number in range(300)], 2)
    alone, together = (class_intervals(*doubled, list("01234"), groups=groups) for groups in (None, patients))
    single = class_intervals(targets, answers, list("01234"))
    for name in ("precision", "recall", "f1"):
        widths = [(one[f"{name}_high"] - one[f"{name}_low"]).to_numpy() for one in (alone, together, single)]
        assert (widths[0] < widths[1]).all()
        np.testing.assert_allclose(widths[1], widths[2], rtol=0.12)
    np.testing.assert_allclose(together["recall"], single["recall"])


def test_few_groups_have_wilsons_interval_of_the_groups():
    targets, groups = np.repeat([0, 1], 20), [f"p{number // 2}" for number in range(40)]
    answers = np.where(np.arange(40) % 4 == 0, 1 - targets, targets)
    found = class_intervals(targets, answers, ["a", "b"], groups=groups)  # ten patients of each class, 15 of 20 right
    assert (found["recall_low"][0], found["recall_high"][0]) == pytest.approx(wilson_interval(7.5, 10))


def test_groups_that_are_all_right_have_wilsons_interval_of_the_groups():
    targets, groups = np.repeat([0, 1], 10), [f"p{number // 2}" for number in range(20)]
    found = class_intervals(targets, targets, ["a", "b"], groups=groups)
    assert (found["recall_low"][0], found["recall_high"][0]) == pytest.approx(wilson_interval(5, 5))


def test_the_commonest_confusion_is_named_with_its_way_back():
    assert commonest_confusion(MATRIX) == Confusion(1, 0, 20, pytest.approx(20 / 60))
    assert confusion_sentence(MATRIX, ["No DR", "Mild", "c", "d", "e"]) == (
        "Most often, Mild was called No DR: 20 images, 33\u00a0% of the class; the other way round 19. "
        "In all 191 of 300 images are wrong."
    )
    assert confusion_sentence(np.diag([2, 3]), ["a", "b"]) == "No error: all 5 images are in their class."
    # Of two equal cells the one of the smaller class.
    assert commonest_confusion(np.array([[9, 1], [1, 2]])) == Confusion(1, 0, 1, pytest.approx(1 / 3))
