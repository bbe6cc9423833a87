"""The 95 % interval of any metric of the table, of any answers, or why there is none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.evaluation.metric_table import ACCURACY, Metric
from lib.evaluation.metrics import fold_interval, wilson_interval
from lib.evaluation.resampling import NUM_DRAWS, Units, draws_of, interval_ends, scorer_of

WILSON, BOOTSTRAP, FOLDS = "Wilson", "bootstrap", "folds"


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; NaN where it is not defined, and then `reason` says why.

    `method` is "Wilson", "bootstrap" (over `num_units` patients or images) or "folds"; "" where there is no interval.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    method: str = ""
    reason: str = ""
    num_units: int = 0

    @property
    def is_known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def metric_interval(
    metric: Metric,
    targets: np.ndarray,
    probabilities: np.ndarray,
    *,
    groups: np.ndarray | Sequence[str] | None = None,
    folds: np.ndarray | None = None,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
) -> Interval:
    """The value of a metric and its 95 % interval.

    Accuracy of images that stand alone has Wilson's interval. All else is a bootstrap that draws whole patients where
    images share one. The result of folds is the mean over their test sets, whose interval is that of `fold_interval`:
    it holds the chance of the training too, which a bootstrap of the answers would not show.

    Args:
        metric: of the table; that it fits the classes is the caller's business.
        targets: true class numbers (N,).
        probabilities: (N, K).
        groups: patients or the like (N,), "" for an image by itself.
        folds: the fold that tested each image (N,).
        seed: of the bootstrap.
        num_draws: of the bootstrap.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities, dtype=np.float64)
    units = Units.of(groups, len(targets))
    if folds is not None:
        return _of_folds(metric, targets, probabilities, folds, units.num)
    value = metric.compute(targets, probabilities)
    if not math.isfinite(value):
        return Interval(value, reason="not defined on these images", num_units=units.num)
    if metric is ACCURACY and not units.is_grouped:
        return _wilson(value, len(targets), units.num)
    if reason := too_few(metric, units):
        return Interval(value, reason=reason, num_units=units.num)
    settings: dict[str, int] = {"seed": seed, "num_draws": num_draws}
    found = _of_draws(
        metric, value, draws_of(scorer_of(metric, targets, probabilities, units), units.num, **settings), units
    )
    if metric.noise is None or not found.is_known:
        return found
    # Chance adds to it, so that draws lie above the value as the value lies above the truth: down it reaches farther.
    noise = draws_of(metric.noise(targets, probabilities, units.of_image, units.num), units.num, **settings)
    low = max(metric.limits[0], value - interval_ends(noise, units.num)[1])
    return replace(found, low=low, high=max(value, found.high))


def _wilson(share: float, num: float, num_units: int, method: str = WILSON) -> Interval:
    low, high = wilson_interval(min(share * num, num), num)
    return Interval(share, low, high, method, num_units=num_units)


def _of_draws(metric: Metric, value: float, drawn: np.ndarray, units: Units) -> Interval:
    kept = drawn[np.isfinite(drawn)]
    if len(kept) <= len(drawn) / 2:
        return Interval(value, reason="not defined in most resamples", num_units=units.num)
    is_constant = kept.min() == kept.max()
    if metric is ACCURACY:
        # The draws tell how many images by themselves these are worth; percentiles hold the true share too seldom where
        # few answers are wrong. Where all or none are, each patient counts as one.
        num = units.num if is_constant else min(len(units.of_image), value * (1 - value) / float(kept.var()))
        return _wilson(value, num, units.num, BOOTSTRAP)
    if is_constant:
        return Interval(value, reason="not defined: every resample gives the same value", num_units=units.num)
    low, high = interval_ends(drawn, units.num)
    return Interval(value, low, high, BOOTSTRAP, num_units=units.num)


def too_few(metric: Metric, units: Units) -> str:
    """Why these units allow no bootstrap; "" where they do."""
    if units.num >= metric.min_units:
        return ""
    if units.is_grouped and units.num == 1:
        return "not defined: all images are of one patient or group"
    return (
        f"too few {'patients or groups' if units.is_grouped else 'images'} ({units.num}; {metric.min_units} are needed)"
    )


def _of_folds(
    metric: Metric, targets: np.ndarray, probabilities: np.ndarray, folds: np.ndarray, num_units: int
) -> Interval:
    values = [metric.compute(targets[folds == fold], probabilities[folds == fold]) for fold in np.unique(folds)]
    mean, low, high = fold_interval(values, limits=metric.limits)
    if not math.isfinite(low):
        return Interval(mean, reason="not defined: fewer than two folds have a value", num_units=num_units)
    return Interval(mean, low, high, FOLDS, num_units=num_units)
