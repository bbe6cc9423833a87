"""Grades by the expected grade: where its limits lie is fitted on answers in validation, never on test images.

The most probable class ignores that grades have an order; the mean grade sum(k * p_k), cut at fitted limits, can agree
better with the true grades as quadratic kappa counts (as in the 2015 retinopathy competition).
"""

import numpy as np

from lib.evaluation.metrics import quadratic_weighted_kappa

_MAX_CANDIDATES = 64
_MAX_ROUNDS = 10


def expected_grade(probabilities: np.ndarray) -> np.ndarray:
    """The mean grade (N,) of probabilities (N, K), from 0 to K - 1."""
    return np.asarray(probabilities) @ np.arange(np.asarray(probabilities).shape[1], dtype=np.float64)


def grades_by_thresholds(probabilities: np.ndarray, thresholds: np.ndarray | list[float]) -> np.ndarray:
    """Grades (N,): how many of the K - 1 rising limits the expected grade has reached.

    Raises:
        ValueError: another number of limits, or limits that fall.
    """
    limits = np.asarray(thresholds, dtype=np.float64)
    if len(limits) != np.asarray(probabilities).shape[1] - 1 or (np.diff(limits) < 0).any():
        raise ValueError(f"{np.asarray(probabilities).shape[1]} grades need one rising limit less, received {limits}.")
    return np.searchsorted(limits, expected_grade(probabilities), side="right")


def fit_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Limits (K - 1,) that maximise quadratic kappa on these images, found one after the other until none moves.

    They start halfway between the grades, and a limit moves only if the kappa rises, so that images which say nothing
    about it leave it there.

    Args:
        targets: true grades of images that validate, (N,).
        probabilities: of the same images, (N, K).
    """
    num_grades = probabilities.shape[1]
    limits = np.arange(num_grades - 1) + 0.5
    values = np.unique(expected_grade(probabilities))
    between = (values[1:] + values[:-1]) / 2
    if len(between) > _MAX_CANDIDATES:
        between = np.quantile(between, np.linspace(0, 1, _MAX_CANDIDATES))
    best = kappa_by_thresholds(targets, probabilities, limits)
    for _ in range(_MAX_ROUNDS):
        before = limits.copy()
        for index in range(num_grades - 1):
            low = limits[index - 1] if index else -np.inf
            high = limits[index + 1] if index + 2 < num_grades else np.inf
            for candidate in between[(between >= low) & (between <= high)]:
                tried = limits.copy()
                tried[index] = candidate
                kappa = kappa_by_thresholds(targets, probabilities, tried)
                if kappa > best + 1e-12 or np.isnan(best):
                    best, limits = kappa, tried
        if np.array_equal(before, limits):
            break
    return limits


def kappa_by_thresholds(targets: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray | list[float]) -> float:
    """Quadratic kappa of the grades that the limits give."""
    graded = np.eye(probabilities.shape[1])[grades_by_thresholds(probabilities, thresholds)]
    return quadratic_weighted_kappa(targets, graded)
