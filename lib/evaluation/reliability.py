"""Whether stated probabilities come true: equal-mass bins of a reliability diagram, and the calibration error."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.evaluation.metrics import wilson_interval
from lib.evaluation.resampling import Estimate
from lib.evaluation.roc import NUM_DRAWS, draw_weights, estimate, few_units, group_of_each

NUM_BINS = 10
_LEAST_IN_BIN = 10  # images; fewer say nothing of a share


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of a stated probability and how often it came true.

    Attributes:
        stated: mean stated probability of each bin (B,), rising.
        observed: share of images that were so (B,), with `low` and `high`, the ends of its 95 % interval.
        low: (B,).
        high: (B,).
        counts: images of each bin (B,).
        error: the calibration error as the board has it (`metrics.calibration_error`), in ten bins.
        gap: mean stated probability minus mean share: above 0 the run is too sure.
    """

    stated: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    error: Estimate
    gap: float

    @property
    def num(self) -> int:
        """Images in all bins."""
        return int(self.counts.sum())


def answer_confidence(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether the most probable class (N,) is right, and its probability (N,); rows are scaled to sum to one."""
    total = probabilities.sum(1)
    confidence = probabilities.max(1) / np.where(total > 0, total, 1.0)
    return probabilities.argmax(1) == targets, confidence


def reliability(
    truth: np.ndarray,
    stated: np.ndarray,
    groups: np.ndarray | Sequence[str] | None = None,
    *,
    num_bins: int = NUM_BINS,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
) -> Reliability:
    """Hold stated probabilities (N,) against what came true (N,), in bins of equally many images.

    There are at most `num_bins` bins of ten images at least; images of one probability are never in two bins, so a
    constant predictor has one. Intervals are Wilson's, or, with `groups`, from draws of whole groups (of too few for
    that, Wilson's over the groups); the error's is from draws in any case.

    Raises:
        ValueError: no images.
    """
    truth, stated = np.asarray(truth, dtype=np.float64), np.asarray(stated, dtype=np.float64)
    if not len(truth):
        raise ValueError("A reliability diagram needs an image.")
    place = _bins(stated, max(1, min(num_bins, len(stated) // _LEAST_IN_BIN)))
    counts = np.bincount(place).astype(np.float64)
    observed, mean = np.bincount(place, truth) / counts, np.bincount(place, stated) / counts
    if few_units(groups, len(truth)):
        num_draws = 0
    shares, errors = _drawn(truth, stated, place, groups, seed=seed, num_draws=num_draws)
    value = float(_error(truth, stated, np.ones((1, len(stated))))[0])
    unit = group_of_each(groups, len(truth))
    is_alone = len(np.unique(unit)) == len(unit)
    ends = [
        _wilson(observed[bin], len(np.unique(unit[place == bin])))
        if is_alone or (found := estimate(float(observed[bin]), shares[:, bin])) is None or math.isnan(found.low)
        else (found.low, found.high)
        for bin in range(len(counts))
    ]
    low, high = np.array(ends).T
    gap = float(stated.mean() - truth.mean())
    return Reliability(mean, observed, low, high, counts.astype(np.int64), estimate(value, errors), gap)


def _wilson(share: float, num: int) -> tuple[float, float]:
    return wilson_interval(min(float(share) * num, num), num)


def _bins(stated: np.ndarray, num_bins: int) -> np.ndarray:
    """The bin of each image (N,), 0 to B-1 in rising order; a probability that an edge would cut goes to one bin."""
    _, inverse, counts = np.unique(stated, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2
    wanted = np.minimum((middle * num_bins / len(stated)).astype(np.int64), num_bins - 1)
    return np.unique(wanted, return_inverse=True)[1][inverse]


def _drawn(
    truth: np.ndarray, stated: np.ndarray, place: np.ndarray, groups: np.ndarray | Sequence[str] | None, *,
    seed: int, num_draws: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The share of each bin (draws, B), and the calibration error (draws,)."""
    num_bins = int(place.max()) + 1
    is_in = np.equal.outer(place, np.arange(num_bins)).astype(np.float64)  # (N, B)
    shares, errors = np.full((num_draws, num_bins), math.nan), np.full(num_draws, math.nan)
    for rows, weights in draw_weights(groups, len(truth), seed=seed, num_draws=num_draws):
        with np.errstate(invalid="ignore", divide="ignore"):
            shares[rows] = (weights * truth) @ is_in / (weights @ is_in)
        errors[rows] = _error(truth, stated, weights)
    return shares, errors


def _error(truth: np.ndarray, stated: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Calibration error (M,) of images that count `weights` (M, N) times, as `metrics.calibration_error` has it."""
    order = np.argsort(stated, kind="stable")
    starts = np.flatnonzero(np.diff(stated[order], prepend=-np.inf))
    ordered = weights[:, order]
    counts = np.add.reduceat(ordered, starts, axis=1).cumsum(1)
    gaps = np.add.reduceat(ordered * (truth - stated)[order], starts, axis=1).cumsum(1)
    errors = np.empty(len(weights))
    for row, (count, gap) in enumerate(zip(counts, gaps, strict=True)):
        edges = np.linspace(0, count[-1], NUM_BINS + 1)
        reached = np.interp(edges, np.append(0, count), np.append(0, gap))
        errors[row] = np.abs(np.diff(reached)).sum() / count[-1]
    return errors


def reliability_words(found: Reliability) -> str:
    """The calibration error, and which way the stated probabilities are off on average."""
    error = found.error
    ends = f" ({100 * error.low:.1f} to {100 * error.high:.1f})" if math.isfinite(error.low) else ""
    words = f"error {100 * error.value:.1f}\u00a0%{ends}"
    if len(found.counts) == 1:
        return f"{words}, one probability for every image"
    if abs(found.gap) < 0.005:
        return words
    return f"{words}, too {'high' if found.gap > 0 else 'low'} by {100 * abs(found.gap):.1f}"
