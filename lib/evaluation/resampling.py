"""Scores of several sets of answers to the same images, drawn again together, so that their differences are paired.

A bootstrap of one set of answers is `metrics.bootstrap_interval`. Here all sets meet the same draws: images, or whole
groups (patients) where images share one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from lib.evaluation.metric_table import KAPPA, Metric
from lib.evaluation.metrics import LEVEL, Z, group_members, wilson_interval
from lib.evaluation.weighted import Scorer, in_parts, mean_of_known

NUM_DRAWS = 2000
_MOST_KEPT = 4_000_000  # numbers of a block of weights, 32 MB


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
        return _estimate(score, drawn, self.num_units)

    def difference(self, index: int, other: int) -> Estimate:
        """The score of one set minus that of another on the same images."""
        return _estimate(
            float(self.scores[index] - self.scores[other]), self.draws[index] - self.draws[other], self.num_units
        )


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
        metric: one that answers alone decide, such as accuracy or quadratic weighted kappa.
        targets: true class numbers (n,).
        answers: one row a set of answers.
        num_classes: K.
        groups: names (n,) of patients or the like, which are drawn whole; "" for an image by itself.
        seed: of the draws.
        num_draws: how many.
    """
    units = Units.of(groups, len(targets))
    scorers = [scorer_of(metric, targets, np.eye(num_classes, dtype=np.float32)[own], units) for own in answers]
    scores = np.array([scorer(np.ones((1, units.num)))[0] for scorer in scorers])
    draws = np.stack([draws_of(scorer, units.num, seed=seed, num_draws=num_draws) for scorer in scorers])
    return DrawnScores(metric, scores, draws, len(targets), units.num)


@dataclass(frozen=True, eq=False)
class Units:
    """What is drawn whole: the number of the unit of each image (N,), and how many units there are."""

    of_image: np.ndarray
    num: int

    @classmethod
    def of(cls, groups: np.ndarray | Sequence[str] | None, num_images: int) -> "Units":
        """Patients or the like, "" for an image by itself; without groups every image is a unit."""
        if groups is None:
            return cls(np.arange(num_images), num_images)
        members = group_members(groups, num_images)
        unit = np.empty(num_images, dtype=np.int64)
        for number, rows in enumerate(members):
            unit[rows] = number
        return cls(unit, len(members))

    @property
    def is_grouped(self) -> bool:
        """Whether any unit has more than one image."""
        return self.num < len(self.of_image)


def scorer_of(
    metric: Metric, targets: np.ndarray, probabilities: np.ndarray, units: Units, folds: np.ndarray | None = None
) -> Scorer:
    """Scores weights of the units (M, G) to values (M,): with folds (N,), the mean over the folds that have a value."""
    if folds is None:
        return in_parts(metric.build(targets, probabilities, units.of_image, units.num), len(targets))
    scorers = [
        scorer_of(metric, targets[own], probabilities[own], Units(units.of_image[own], units.num))
        for own in (folds == fold for fold in np.unique(folds))
    ]

    def score(weights: np.ndarray) -> np.ndarray:
        return mean_of_known(np.stack([scorer(weights) for scorer in scorers], axis=1))

    return score


def draws_of(scorer: Scorer, num_units: int, *, seed: int = 0, num_draws: int = NUM_DRAWS) -> np.ndarray:
    """Values (num_draws,) of bootstrap draws: the same units for every scorer of as many units and the same seed."""
    return np.concatenate([scorer(weights) for weights in _blocks(num_units, num_draws, seed)])


def _blocks(num_units: int, num_draws: int, seed: int) -> Iterable[np.ndarray]:
    """How often each unit was drawn (M, G), some draws at a time; few units stay in memory for the next one."""
    if num_units * num_draws <= _MOST_KEPT:
        return (_weights(num_units, num_draws, seed),)
    random, size = np.random.default_rng(seed), max(1, _MOST_KEPT // num_units)
    starts = range(0, num_draws, size)
    return (_drawn(random, num_units, min(size, num_draws - start)) for start in starts)


@lru_cache(maxsize=4)
def _weights(num_units: int, num_draws: int, seed: int) -> np.ndarray:
    return _drawn(np.random.default_rng(seed), num_units, num_draws)


def _drawn(random: np.random.Generator, num_units: int, num_draws: int) -> np.ndarray:
    chosen = random.integers(num_units, size=(num_draws, num_units)) + num_units * np.arange(num_draws)[:, None]
    return np.bincount(chosen.ravel(), minlength=num_draws * num_units).reshape(num_draws, -1).astype(np.float64)


def interval_ends(drawn: np.ndarray, num_units: int) -> tuple[float, float]:
    """The percentiles of draws that hold the middle 95 %, widened as Student's t widens the normal interval.

    Plain percentiles of few units are too narrow by about sqrt((G - 1) / G) and the difference of t and z
    (Hesterberg 2015, "What teachers should know about the bootstrap", expanded percentile interval). Draws that are not
    defined are left out; if they are half or more, or there is one unit, the ends are NaN.
    """
    from scipy.special import ndtr, stdtrit

    kept = drawn[np.isfinite(drawn)]
    if num_units < 2 or len(kept) <= len(drawn) / 2:
        return math.nan, math.nan
    tail = float(ndtr(stdtrit(num_units - 1, (1 - LEVEL) / 2) * math.sqrt(num_units / (num_units - 1))))
    low, high = np.quantile(kept, [tail, 1 - tail])
    return float(low), float(high)


def _estimate(value: float, drawn: np.ndarray, num_units: int) -> Estimate:
    """With the percentiles of the draws."""
    low, high = interval_ends(drawn, num_units) if math.isfinite(value) else (math.nan, math.nan)
    kept = drawn[np.isfinite(drawn)]
    return Estimate(value, low, high, float(kept.std()) if math.isfinite(low) else math.nan)
