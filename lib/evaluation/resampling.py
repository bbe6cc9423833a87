"""Scores of several sets of answers to the same images, drawn again together, so that their differences are paired.

A bootstrap of one set of answers is `metrics.bootstrap_interval`. Here all sets meet the same draws: images, or whole
groups (patients) where images share one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.evaluation.metric_table import KAPPA, Metric
from lib.evaluation.metrics import LEVEL, Z, group_members, quadratic_kappas, wilson_interval

_AT_A_TIME = 64


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and standard error; NaN where it is not defined."""

    value: float
    low: float
    high: float
    error: float = math.nan


def as_plain(value: Any) -> Any:
    """A value as JSON can hold it: tuples as lists, numbers that are not finite as None."""
    if isinstance(value, Mapping):
        return {key: as_plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number_of(value: float | None) -> float:
    """A number as it was before `as_plain`."""
    return math.nan if value is None else float(value)


def estimate_of(content: Mapping[str, Any]) -> Estimate:
    """An estimate as it was before `as_plain`."""
    return Estimate(**{key: number_of(value) for key, value in content.items()})


@dataclass(frozen=True, eq=False)
class DrawnScores:
    """Scores (S,) of S sets of answers to n images in `num_units` groups, and of each draw (S, draws)."""

    metric: Metric
    scores: np.ndarray
    draws: np.ndarray
    num_images: int
    num_units: int

    def estimate(self, index: int) -> Estimate:
        """The score of one set.

        Accuracy on images that stand alone has Wilson's interval, as everywhere; so has accuracy on groups where all
        or no answers are right, since no draw can show any spread there.
        """
        score, drawn = float(self.scores[index]), self.draws[index]
        is_alone, is_constant = self.num_units == self.num_images, bool(np.ptp(drawn) == 0)
        if self.metric is not KAPPA and (is_alone or is_constant):
            low, high = wilson_interval(score * self.num_units, self.num_units)
            return Estimate(score, low, high, (high - low) / (2 * Z))
        return _estimate(score, drawn)

    def difference(self, index: int, other: int) -> Estimate:
        """The score of one set minus that of another on the same images."""
        return _estimate(float(self.scores[index] - self.scores[other]), self.draws[index] - self.draws[other])


def draw_scores(
    metric: Metric,
    targets: np.ndarray,
    answers: np.ndarray,
    *,
    num_classes: int,
    groups: np.ndarray | Sequence[str] | None = None,
    seed: int = 0,
    num_draws: int = 1000,
) -> DrawnScores:
    """Score S sets of answers (S, n), class numbers, against targets (n,), and again on each of the draws.

    Args:
        metric: accuracy, or quadratic weighted kappa.
        targets: true class numbers (n,).
        answers: one row a set of answers.
        num_classes: K.
        groups: names (n,) of patients or the like, which are drawn whole; "" for an image by itself.
        seed: of the draws.
        num_draws: how many.
    """
    members = group_members(groups, len(targets))
    unit = np.empty(len(targets), dtype=np.int64)
    for number, rows in enumerate(members):
        unit[rows] = number
    random, num_units = np.random.default_rng(seed), len(members)
    counts = [_counts(metric, targets, own, unit, num_classes=num_classes) for own in answers]  # each (G, cells)
    scores = np.array([_scores(metric, own.sum(0)[None], num_classes)[0] for own in counts])
    draws = np.empty((len(answers), num_draws))
    for start in range(0, num_draws, _AT_A_TIME):
        size = min(_AT_A_TIME, num_draws - start)
        chosen = random.integers(num_units, size=(size, num_units))
        weights = np.stack([np.bincount(one, minlength=num_units) for one in chosen]).astype(np.float64)
        for row, own in enumerate(counts):
            draws[row, start : start + size] = _scores(metric, weights @ own, num_classes)
    return DrawnScores(metric, scores, draws, len(targets), num_units)


def _counts(
    metric: Metric, targets: np.ndarray, answers: np.ndarray, unit: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """All that counts of each group, float (G, cells): its confusion matrix, or how many are right and how many."""
    num_units = int(unit.max()) + 1
    if metric is KAPPA:
        cells = (unit * num_classes + targets) * num_classes + answers
        return np.bincount(cells, minlength=num_units * num_classes**2).reshape(num_units, -1).astype(np.float64)
    right = np.bincount(unit, weights=answers == targets, minlength=num_units)
    return np.stack([right, np.bincount(unit, minlength=num_units)], axis=1)


def _scores(metric: Metric, counts: np.ndarray, num_classes: int) -> np.ndarray:
    """Scores (M,) of summed counts (M, cells)."""
    if metric is KAPPA:
        return quadratic_kappas(counts.reshape(-1, num_classes, num_classes))
    return counts[:, 0] / counts[:, 1]


def _estimate(value: float, drawn: np.ndarray) -> Estimate:
    """With the percentiles of the draws; draws that are not defined are left out, unless they are more than half."""
    kept = drawn[np.isfinite(drawn)]
    if len(kept) <= len(drawn) / 2 or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), float(kept.std()))
