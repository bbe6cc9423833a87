"""Whether one run is better than another on the same images, with the uncertainty of that difference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np

from lib.evaluation.intervals import too_few
from lib.evaluation.metric_table import ACCURACY, METRICS, Metric
from lib.evaluation.metrics import LEVEL, Z
from lib.evaluation.resampling import NUM_DRAWS, Units, draws_of, interval_ends, scorer_of
from lib.evaluation.weighted import Scorer

SIGNIFICANCE = 0.05
_TESTS_OF_ONE_ROUND = 28  # the smallest p value of 2,000 swaps survives the correction for so many


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A metric of A minus that of B, its 95 % interval and a two-sided p value; NaN where not defined.

    Attributes:
        metric: its key in the table of metrics.
        names: what A and B are called.
        values: the metric of A and of B.
        difference: A minus B.
        low: of the interval.
        high: of the interval.
        p_value: of this comparison by itself.
        p_holm: the p value corrected for all comparisons that were made at once; NaN where this is the only one.
        num_tests: how many those are.
    """

    metric: str
    names: tuple[str, str]
    values: tuple[float, float]
    difference: float
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan
    p_holm: float = math.nan
    num_tests: int = 1

    @property
    def is_significant(self) -> bool:
        """Whether the difference is more than chance at the 5 % level, after the correction where there is one."""
        return (self.p_value if math.isnan(self.p_holm) else self.p_holm) < SIGNIFICANCE

    @property
    def is_first_better(self) -> bool:
        """Whether A is better than B, or equal."""
        metric = METRICS[self.metric]
        return metric.worth(self.values[0]) >= metric.worth(self.values[1])

    @property
    def advantage(self) -> tuple[float, float, float]:
        """By how much the better one is ahead, 0 or more, and the ends of that, of which the lower may be below 0."""
        sign = 1.0 if self.difference >= 0 else -1.0
        low, high = sorted((sign * self.low, sign * self.high)) if math.isfinite(self.low) else (math.nan, math.nan)
        return abs(self.difference), low, high

    @property
    def sentence(self) -> str:
        """All of it in words."""
        raise NotImplementedError

    def _words(self, numbers: str, *, chance: str) -> str:
        """Who is better and by how much, or that it is not shown; `chance` says among what it could be chance."""
        metric, (a, b) = METRICS[self.metric], self.names
        if self.difference == 0:
            same = "are right on equally many images" if metric is ACCURACY else f"have the same {metric.word}"
            return f"No difference: {a} and {b} {same} ({numbers})."
        better, worse = (a, b) if self.is_first_better else (b, a)
        by = metric.difference_text(self.difference)
        if self.is_significant:
            if metric is ACCURACY:
                return f"{better} is {by} more accurate than {worse} ({numbers})."
            way = "lower" if metric.is_lower_better else "higher"
            return f"The {metric.word} of {better} is {by} {way} than that of {worse} ({numbers})."
        who = better if metric is ACCURACY else f"the {metric.word} of {better}"
        ahead = f"below that of {worse}" if metric.is_lower_better else f"ahead of {worse}"
        return f"Not shown: {who} is {by} {ahead}, which could be chance {chance} ({numbers})."

    def _interval_words(self) -> str:
        metric, (_, low, high) = METRICS[self.metric], self.advantage
        if not math.isfinite(low):
            return "no interval"
        scale, places = (100, 1) if metric.is_share else (1, 2)
        low, high = (round(scale * end, places) + 0.0 for end in (low, high))  # + 0.0: never "-0.0"
        return f"{100 * LEVEL:.0f} % interval {low:.{places}f} to {high:.{places}f}"

    def _p_words(self, test: str) -> str:
        words = f"{test} {p_text(self.p_value)}"
        if math.isfinite(self.p_holm):
            words += f", {p_text(self.p_holm)} after Holm's correction for {self.num_tests} tests"
        return words


@dataclass(frozen=True, kw_only=True)
class PairedComparison(Difference):
    """Two runs on the same `n` images; the p value is NaN where all of them are of one patient.

    Attributes:
        n: images.
        num_units: patients or groups, or images where they stand alone.
        only_a: images that A alone got right.
        only_b: images that B alone got right.
        no_interval: why there is no interval.
    """

    n: int
    num_units: int = 0
    only_a: int = 0
    only_b: int = 0
    no_interval: str = ""

    @property
    def sentence(self) -> str:
        """All of it in words."""
        metric, (a, b) = METRICS[self.metric], self.names
        if not math.isfinite(self.difference):
            without = " and ".join(
                name for name, value in zip(self.names, self.values, strict=True) if not math.isfinite(value)
            )
            return f"Not compared: the {metric.word} of {without} is not defined on these {self.n} images."
        if not math.isfinite(self.p_value):
            return (
                f"Not compared: all {self.n} images are of one patient or group, so that a test of {a} against {b} is "
                "not defined."
            )
        return self._words(self._numbers, chance=f"at n = {self.n}")

    @property
    def _numbers(self) -> str:
        metric = METRICS[self.metric]
        both = "" if metric is ACCURACY else f"{metric.text(self.values[0])} and {metric.text(self.values[1])}, "
        interval = f"no interval: {self.no_interval}" if self.no_interval else self._interval_words()
        p_words = self._p_words("exact p" if metric is ACCURACY else "p by swapping answers")
        patients = f" of {self.num_units} patients or groups" if 0 < self.num_units < self.n else ""
        return f"{both}{interval}, {p_words}, n = {self.n}{patients}"


@dataclass(frozen=True, kw_only=True)
class SeriesComparison(Difference):
    """Two series of seeds on the same test images: means over the seeds; `num_seeds` of each."""

    num_seeds: tuple[int, int]

    @property
    def sentence(self) -> str:
        """All of it in words."""
        metric, welch = METRICS[self.metric], self._p_words("Welch's p")
        numbers = (
            f"means {metric.text(self.values[0])} and {metric.text(self.values[1])}, {self._interval_words()}, "
            f"{welch}, {self.num_seeds[0]} and {self.num_seeds[1]} seeds"
        )
        return self._words(numbers, chance="of the seed")


MIN_SEEDS = 3


def compare_series(
    values_a: Sequence[float], values_b: Sequence[float], *, names: tuple[str, str], metric: Metric
) -> SeriesComparison | str:
    """Compare two series of seeds by Welch's t test of their values on the same test images, or say why not.

    It tells whether other seeds would give the same order on these images; the images' own chance is not in it.
    """
    from scipy.stats import ttest_ind

    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if min(len(a), len(b)) < MIN_SEEDS:
        return f"Not tested: {names[0]} against {names[1]} needs {MIN_SEEDS} seeds each, and has {len(a)} and {len(b)}."
    if not np.isfinite([*a, *b]).all():
        return f"Not compared: the {metric.word} of {names[0]} or {names[1]} is not defined for every seed."
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return (
            f"Not tested: every seed of {names[0]} and of {names[1]} gives the same {metric.word}, so that seeds say "
            "nothing of chance; compare two single runs."
        )
    found = ttest_ind(a, b, equal_var=False)
    ends = found.confidence_interval(LEVEL)
    return SeriesComparison(
        metric=metric.key, names=names, values=(float(a.mean()), float(b.mean())),
        difference=float(a.mean() - b.mean()), low=float(ends.low), high=float(ends.high), p_value=float(found.pvalue),
        num_seeds=(len(a), len(b)),
    )  # fmt: skip


def compare_paired(
    targets: np.ndarray,
    probabilities_a: np.ndarray,
    probabilities_b: np.ndarray,
    *,
    name_a: str = "A",
    name_b: str = "B",
    groups: np.ndarray | Sequence[str] | None = None,
    folds: np.ndarray | None = None,
    metric: Metric = ACCURACY,
    num_tests: int = 1,
) -> PairedComparison:
    """Compare two runs image by image, by any metric of the table.

    Accuracy: exact McNemar (binomial on the images that only one run got right), with the adjusted Wald interval of a
    paired difference (Bonett and Price 2012). With `groups` (N,), such as patients, whose images are not independent:
    signs are flipped for whole groups (exact; the same as McNemar when every group has one image) and the interval is
    a bootstrap over groups.

    Every other metric: the interval is a paired bootstrap over images or groups; for the test, the two runs' answers to
    an image (to all images of a group) are swapped at random, 2,000 times. For AUROC the ranks of the answers are
    swapped, since two classifiers need not speak on one scale (Bandos, Rockette and Gur 2005).

    With `folds` (N,), the fold that tested each image, the values are means over the folds. Where the p value will be
    corrected for many tests (`num_tests`), small ones are made of more swaps, so that they can survive it.

    Raises:
        ValueError: if the three arrays do not have the same number of rows, or none.
    """
    targets = np.asarray(targets)
    if not len(targets) or not len(targets) == len(probabilities_a) == len(probabilities_b):
        raise ValueError(f"Cannot pair {len(probabilities_a)} with {len(probabilities_b)} of {len(targets)} targets.")
    pair = tuple(np.asarray(one, dtype=np.float64) for one in (probabilities_a, probabilities_b))
    gains = (pair[0].argmax(1) == targets).astype(np.int64) - (pair[1].argmax(1) == targets)
    units = Units.of(groups, len(targets))
    scorers = [scorer_of(metric, targets, one, units, folds) for one in pair]
    ones = np.ones((1, units.num))
    value_a, value_b = (float(scorer(ones)[0]) for scorer in scorers)
    found = PairedComparison(
        metric=metric.key, names=(name_a, name_b), values=(value_a, value_b), difference=value_a - value_b,
        n=len(targets), num_units=units.num, only_a=int((gains > 0).sum()), only_b=int((gains < 0).sum()),
    )  # fmt: skip
    if not math.isfinite(found.difference) or (units.is_grouped and units.num == 1):
        return found
    low, high, reason = math.nan, math.nan, too_few(metric, units)
    if metric is ACCURACY and not units.is_grouped and folds is None:
        (low, high), reason = _bonett_price(found.only_a, found.only_b, len(targets)), ""
    elif not reason:
        low, high = interval_ends(draws_of(scorers[0], units.num) - draws_of(scorers[1], units.num), units.num)
    if metric is ACCURACY:
        p_value = _sign_flip_p(np.bincount(units.of_image, gains, units.num).astype(np.int64))
    else:
        p_value = _swap_p(metric, targets, pair, units, folds=folds, difference=found.difference,
                         num_tests=num_tests)  # fmt: skip
    return replace(found, low=low, high=high, p_value=p_value, no_interval=reason)


def holm(p_values: Sequence[float], num_tests: int = 0) -> list[float]:
    """P values corrected for being several (Holm 1979): the k-th smallest of m times m - k + 1, rising and at most 1.

    Those that are not defined (NaN) are no tests. Where only some of `num_tests` were looked at, m is that number: a
    rank among some is at most the rank among all, so that the correction errs on the safe side.
    """
    corrected = [math.nan] * len(p_values)
    known = sorted((p, place) for place, p in enumerate(p_values) if math.isfinite(p))
    largest = 0.0
    for rank, (p_value, place) in enumerate(known):
        largest = max(largest, min(1.0, (max(num_tests, len(known)) - rank) * p_value))
        corrected[place] = largest
    return corrected


Compared = TypeVar("Compared", bound=Difference)


def corrected(pairs: Sequence[Compared], num_tests: int = 0) -> list[Compared]:
    """The same comparisons, corrected for having been made at once (or chosen of `num_tests`); one alone needs none."""
    num_tests = max(num_tests, sum(math.isfinite(pair.p_value) for pair in pairs))
    if num_tests < 2:
        return list(pairs)
    p_values = holm([pair.p_value for pair in pairs], num_tests)
    return [replace(pair, p_holm=p, num_tests=num_tests) for pair, p in zip(pairs, p_values, strict=True)]


def _swap_p(
    metric: Metric,
    targets: np.ndarray,
    pair: Sequence[np.ndarray],
    units: Units,
    *,
    folds: np.ndarray | None,
    difference: float,
    num_tests: int,
) -> float:
    """How often swapping the answers of random units leaves the two at least as far apart.

    Both runs' answers stand in one table of 2 G units: a swap is a choice between the two rows of each.
    """
    if metric.is_of_ranks:
        pair = [_ranked(one, folds) for one in pair]
    both = Units(np.concatenate([units.of_image, units.of_image + units.num]), 2 * units.num)
    twice = None if folds is None else np.concatenate([folds, folds])
    scorer = scorer_of(metric, np.concatenate([targets, targets]), np.concatenate(pair), both, twice)
    num_as_far = num_swaps = 0
    while num_swaps < NUM_DRAWS * max(1, math.ceil(num_tests / _TESTS_OF_ONE_ROUND)):
        if num_as_far > SIGNIFICANCE * num_swaps:
            break  # no correction makes it smaller
        apart = np.abs(_swapped(scorer, units.num, num_swaps))
        # A swap that leaves a value undefined says nothing against chance: it counts as one at least as far apart.
        num_as_far += int((~(apart < abs(difference) - 1e-12)).sum())
        num_swaps += len(apart)
    return (num_as_far + 1) / (num_swaps + 1)


def _swapped(scorer: Scorer, num_units: int, first: int) -> np.ndarray:
    size = max(1, 2_000_000 // num_units)
    found = []
    for start in range(first, first + NUM_DRAWS, size):
        own = _swaps(num_units, start, min(size, first + NUM_DRAWS - start))
        found.append(scorer(np.hstack([1 - own, own])) - scorer(np.hstack([own, 1 - own])))
    return np.concatenate(found)


@lru_cache(maxsize=4)
def _swaps(num_units: int, start: int, num: int) -> np.ndarray:
    return np.random.default_rng([0, start]).integers(0, 2, size=(num, num_units)).astype(np.float64)


def _ranked(probabilities: np.ndarray, folds: np.ndarray | None) -> np.ndarray:
    """Every class's column as ranks, in each fold by itself."""
    from scipy.stats import rankdata

    ranks = np.empty_like(probabilities)
    for own in [np.ones(len(ranks), bool)] if folds is None else [folds == fold for fold in np.unique(folds)]:
        ranks[own] = rankdata(probabilities[own], axis=0)
    return ranks


def _bonett_price(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    share_a, share_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    centre = share_a - share_b
    half = Z * math.sqrt((share_a + share_b - centre**2) / (n + 2))
    return max(-1.0, centre - half), min(1.0, centre + half)


def _sign_flip_p(gains: np.ndarray) -> float:
    """P(|sum of +-gains| >= |sum of gains|) with fair signs: exact, the sum's distribution size by size of the gains.

    Of c gains of size s the signed sum is s (2 B - c) with B binomial.
    """
    from scipy.special import gammaln

    sizes, counts = np.unique(np.abs(gains[gains != 0]), return_counts=True)
    distribution = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        k = np.arange(count + 1)
        chances = np.exp(gammaln(count + 1) - gammaln(k + 1) - gammaln(count - k + 1) - count * math.log(2))
        spread = np.zeros(2 * size * count + 1)
        spread[:: 2 * size] = chances
        distribution = np.convolve(distribution, spread)
    reach = len(distribution) // 2
    sums = np.abs(np.arange(-reach, reach + 1))
    return min(1.0, float(distribution[sums >= abs(int(gains.sum()))].sum()))


def p_text(p_value: float) -> str:
    """Such as "= 0.031" or "below 0.001"."""
    return f"= {p_value:.3f}" if p_value >= 0.001 else "below 0.001"
