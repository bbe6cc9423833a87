"""A threshold on a score, and what referring by it is worth: sensitivity, specificity, and at a prevalence PPV and NPV.

PPV = sens p / (sens p + (1 - spec)(1 - p)) and NPV = spec (1 - p) / (spec (1 - p) + (1 - sens) p) are Bayes' theorem at
the prevalence p of those who are to be examined, which is hardly ever the share of positive images in a test set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.evaluation.metrics import wilson_interval
from lib.evaluation.resampling import Estimate
from lib.evaluation.roc import NUM_DRAWS, estimate, few_units, group_of_each


@dataclass(frozen=True)
class Reading:
    """What a threshold does on a set of images, with 95 % intervals.

    Attributes:
        threshold: a score at or above it is called positive.
        prevalence: that PPV and NPV are stated at.
        sensitivity: share of the positive images that are called so.
        specificity: share of the others that are not.
        ppv: share of those called positive that are, at that prevalence; NaN if nobody is.
        npv: share of those called negative that are, at that prevalence; NaN if nobody is.
        num_positive: positive images.
        num_negative: the others.
        num_groups: patients or the like that the intervals are drawn over; 0 where every image stands alone.
    """

    threshold: float
    prevalence: float
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    num_positive: int
    num_negative: int
    num_groups: int = 0


def intervals_over(reading: Reading, groups: np.ndarray | Sequence[str] | None) -> str:
    """What the intervals of a reading are drawn over, as a sentence; `groups` (N,) as `read_at` had them."""
    if not reading.num_groups:
        return "95 % intervals over images."
    over = f"{reading.num_groups:,} {'patient or group' if reading.num_groups == 1 else 'patients or groups'}"
    few = few_units(groups, reading.num_positive + reading.num_negative)
    return f"95 % intervals over {over}{f' by Wilson{chr(39)}s formula: {few}' if few else ''}."


def choose_threshold(truth: np.ndarray, score: np.ndarray, sensitivity: float) -> float:
    """The highest threshold that calls at least that share of the positive images (N,) positive.

    It lies halfway between the score that must be in and the next lower one, so that a score computed anew, with
    another rounding, falls on the same side.

    Raises:
        ValueError: a sensitivity outside (0, 1], or no positive image.
    """
    if not 0 < sensitivity <= 1:
        raise ValueError(f"A sensitivity lies above 0 and up to 1, got {sensitivity}.")
    positive = np.sort(score[np.asarray(truth, dtype=bool)])[::-1]
    if not len(positive):
        raise ValueError("No image is positive, so no threshold has a sensitivity.")
    needed = math.ceil(round(sensitivity * len(positive), 9))
    last = float(positive[max(needed, 1) - 1])
    below = score[score < last]
    return (last + float(below.max())) / 2 if len(below) else last / 2


def predictive_values(sensitivity: float, specificity: float, prevalence: float) -> tuple[float, float]:
    """PPV and NPV by Bayes' theorem; NaN where nobody is called so."""
    ppv, npv = _predictive(np.array([sensitivity]), np.array([specificity]), prevalence)
    return float(ppv[0]), float(npv[0])


def read_at(
    truth: np.ndarray,
    score: np.ndarray,
    threshold: float,
    *,
    prevalence: float,
    groups: np.ndarray | Sequence[str] | None = None,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
) -> Reading:
    """What a threshold does on images with truth (N,) and score (N,).

    With groups that hold several images: percentiles over draws of whole groups. Where every image stands alone:
    Wilson's interval of sensitivity and specificity, and for PPV and NPV, which follow from the ratio of two shares,
    the interval of that ratio from theirs (MOVER-R: Donner and Zou, Stat Methods Med Res 2012; 21:347-359). A share
    that no draw can move (all are right) has these over the groups, and so have all where the groups are too few.

    Raises:
        ValueError: one kind of image only, or a prevalence outside (0, 1).
    """
    truth = np.asarray(truth, dtype=bool)
    if not 0 < prevalence < 1:
        raise ValueError(f"A prevalence lies between 0 and 1, got {prevalence}.")
    if truth.all() or not truth.any():
        raise ValueError("Sensitivity and specificity need positive and other images.")
    called = score >= threshold
    unit = group_of_each(groups, len(truth))
    num_units = int(unit.max()) + 1
    cells = [truth & called, truth & ~called, ~truth & called, ~truth & ~called]
    counts = np.stack([np.bincount(unit, cell, minlength=num_units) for cell in cells], axis=1)  # (G, 4)
    is_grouped = num_units < len(truth)
    sensitivity, specificity = _shares(counts.sum(0)[None])
    values = _predictive(sensitivity, specificity, prevalence)
    # Units that have such an image: of independent images their number, of groups no more than the groups.
    sizes = [int((counts[:, :2].sum(1) > 0).sum()), int((counts[:, 2:].sum(1) > 0).sum())]
    shares = [float(share[0]) for share in (sensitivity, specificity)]
    ends = [_wilson(share, size) for share, size in zip(shares, sizes, strict=True)]
    ends += _predictive_intervals((shares[0], *ends[0]), (shares[1], *ends[1]), prevalence)
    found = [_with(value, own) for value, own in zip((*shares, *(float(one[0]) for one in values)), ends, strict=True)]
    if is_grouped and not few_units(groups, len(truth)):
        weights = np.random.default_rng(seed).multinomial(num_units, np.full(num_units, 1 / num_units), size=num_draws)
        drawn = _shares(weights @ counts)
        all_drawn = (*drawn, *_predictive(*drawn, prevalence))
        with_draws = [estimate(one.value, draws) for one, draws in zip(found, all_drawn, strict=True)]
        found = [one if math.isfinite(one.low) else other for one, other in zip(with_draws, found, strict=True)]
    return Reading(
        threshold, prevalence, found[0], found[1], found[2], found[3],
        num_positive=int(truth.sum()), num_negative=int((~truth).sum()), num_groups=num_units if is_grouped else 0,
    )  # fmt: skip


def _shares(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sensitivity and specificity (M,) of counts (M, 4): called and not called of the positive, then of the others."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return counts[:, 0] / counts[:, :2].sum(1), counts[:, 3] / counts[:, 2:].sum(1)


def _predictive(sensitivity: np.ndarray, specificity: np.ndarray, prevalence: float) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(invalid="ignore", divide="ignore"):
        called, not_called = sensitivity * prevalence, (1 - sensitivity) * prevalence
        others, others_called = specificity * (1 - prevalence), (1 - specificity) * (1 - prevalence)
        return called / (called + others_called), others / (others + not_called)


def _wilson(share: float, num: int) -> tuple[float, float]:
    return wilson_interval(min(share * num, num), num)


def _predictive_intervals(
    sensitivity: tuple[float, float, float], specificity: tuple[float, float, float], prevalence: float
) -> list[tuple[float, float]]:
    """95 % intervals of PPV and NPV from (value, low, high) of both shares, through the likelihood ratios."""
    odds = prevalence / (1 - prevalence)
    missed, called = ((1 - value, 1 - high, 1 - low) for value, low, high in (sensitivity, specificity))
    ppv = [_share_of(odds * ratio) for ratio in _ratio_interval(sensitivity, called)]
    npv = [_share_of(ratio / odds) for ratio in _ratio_interval(specificity, missed)]
    return [(ppv[0], ppv[1]), (npv[0], npv[1])]


def _ratio_interval(over: tuple[float, float, float], under: tuple[float, float, float]) -> tuple[float, float]:
    """The interval of a ratio of two independent shares from theirs, (value, low, high); its end may be infinite."""
    (a, a_low, a_high), (b, b_low, b_high) = over, under

    def end(ours: float, theirs: float, sign: int) -> float:
        below = theirs * (2 * b - theirs)
        root = math.sqrt(max(0.0, (a * b) ** 2 - ours * (2 * a - ours) * below))
        return (a * b + sign * root) / below if below > 0 else math.inf

    if b == 0:  # none was missed: the ratio is infinite, and no smaller than this
        return a_low / b_high, math.inf
    return end(a_low, b_high, -1) if 2 * b > b_high else a_low / b_high, end(a_high, b_low, 1)


def _share_of(odds: float) -> float:
    return 1.0 if odds == math.inf else odds / (1 + odds)


def _with(value: float, ends: tuple[float, float]) -> Estimate:
    """The value with its interval, which reaches as far as the value itself."""
    if not math.isfinite(value):
        return Estimate(value, math.nan, math.nan)
    return Estimate(value, min(value, ends[0]), max(value, ends[1]))
