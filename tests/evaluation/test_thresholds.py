import numpy as np
import pytest

from lib.evaluation.metrics import quadratic_weighted_kappa
from lib.evaluation.thresholds import expected_grade, fit_thresholds, grades_by_thresholds, kappa_by_thresholds


def spread(grades: np.ndarray) -> np.ndarray:
    """Probabilities of three grades whose mean is the given number."""
    low = np.clip(1 - grades, 0, 1)
    high = np.clip(grades - 1, 0, 1)
    return np.stack([low, 1 - low - high, high], axis=1)


def test_expected_grade_and_its_limits_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    assert expected_grade(probabilities) == pytest.approx([0.5, 1.6, 0.0])
    assert grades_by_thresholds(probabilities, [0.5, 1.7]).tolist() == [1, 1, 0]


def test_fitted_limits_separate_grades_that_the_halves_mix_up() -> None:
    means = np.array([0.1, 0.2, 0.3, 0.4, 0.45, 0.6, 0.7, 0.8, 1.3])
    targets = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    probabilities = spread(means)
    limits = fit_thresholds(targets, probabilities)
    assert 0.3 < limits[0] < 0.4
    assert 0.6 < limits[1] < 0.7
    assert kappa_by_thresholds(targets, probabilities, limits) == 1.0
    assert quadratic_weighted_kappa(targets, probabilities) < 0.7


def test_limits_stay_halfway_where_they_are_right_or_nothing_is_known() -> None:
    assert fit_thresholds(np.array([0, 1, 2]), np.eye(3)).tolist() == [0.5, 1.5]
    assert fit_thresholds(np.array([1, 1]), np.tile([0.0, 1.0, 0.0], (2, 1))).tolist() == [0.5, 1.5]


def test_wrong_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="one rising limit less"):
        grades_by_thresholds(np.eye(3), [0.5])
    with pytest.raises(ValueError, match="one rising limit less"):
        grades_by_thresholds(np.eye(3), [1.5, 0.5])
