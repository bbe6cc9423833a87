"""Whether one run is better than another on the same images, with the uncertainty of that difference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.evaluation.metric_table import ACCURACY, KAPPA, Metric
from lib.evaluation.metrics import LEVEL, Z, bootstrap_interval, group_members, quadratic_kappas

SIGNIFICANCE = 0.05
_NUM_DRAWS = 2000
# Both kappas, their difference, its interval, the p value.
_KappaComparison = tuple[tuple[float, float], float, tuple[float, float], float]


@dataclass(frozen=True)
class PairedComparison:
    """The headline metric of A minus that of B on the same `n` images, its 95 % interval and a two-sided p value.

    `only_a` and `only_b` count the images that one got right and the other wrong. All but `n`, those and the sentence
    is NaN where the metric is not defined for one of the two.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int
    only_a: int
    only_b: int
    sentence: str
    metric: str = ACCURACY.key

    @property
    def is_significant(self) -> bool:
        """Whether the difference is more than chance at the 5 % level."""
        return self.p_value < SIGNIFICANCE


def compare_paired(
    targets: np.ndarray,
    probabilities_a: np.ndarray,
    probabilities_b: np.ndarray,
    *,
    name_a: str = "A",
    name_b: str = "B",
    groups: np.ndarray | Sequence[str] | None = None,
    metric: Metric = ACCURACY,
) -> PairedComparison:
    """Compare two runs image by image, by the metric that results of these classes are judged by.

    Accuracy: exact McNemar (binomial on the images that only one run got right), with the adjusted Wald interval of a
    paired difference (Bonett and Price 2012). With `groups` (N,), such as patients, whose images are not independent:
    signs are flipped for whole groups (exact; the same as McNemar when every group has one image) and the interval is
    a bootstrap over groups.

    Kappa: the interval is a paired bootstrap over images or groups; for the test, the two runs' answers to an image
    (to all images of a group) are swapped at random, 2,000 times.

    Raises:
        ValueError: if the three arrays do not have the same number of rows, or none.
    """
    targets = np.asarray(targets)
    if not len(targets) or not len(targets) == len(probabilities_a) == len(probabilities_b):
        raise ValueError(f"Cannot pair {len(probabilities_a)} with {len(probabilities_b)} of {len(targets)} targets.")
    right_a = np.asarray(probabilities_a).argmax(1) == targets
    right_b = np.asarray(probabilities_b).argmax(1) == targets
    gains = right_a.astype(np.int64) - right_b
    only_a, only_b = int((gains > 0).sum()), int((gains < 0).sum())
    members = group_members(groups, len(targets))
    if metric is KAPPA:
        found = _compare_kappa(targets, (np.asarray(probabilities_a), np.asarray(probabilities_b)), members)
        sentence = _kappa_sentence((name_a, name_b), found, len(targets))
        _, difference, (low, high), p_value = found
        return PairedComparison(difference, low, high, p_value, len(targets), only_a, only_b, sentence, KAPPA.key)
    if len(members) == len(targets):
        low, high = _bonett_price(only_a, only_b, len(targets))
    else:
        low, high = bootstrap_interval(lambda drawn, _: float(drawn.mean()), gains, gains[:, None], groups, n=2000)
    p_value = _sign_flip_p(np.array([gains[rows].sum() for rows in members]))
    difference = float(gains.mean())
    sentence = _sentence(name_a, name_b, difference, (low, high), p_value, n=len(targets))
    return PairedComparison(difference, low, high, p_value, len(targets), only_a, only_b, sentence)


def _compare_kappa(
    targets: np.ndarray, answers: tuple[np.ndarray, np.ndarray], members: list[np.ndarray]
) -> _KappaComparison:
    """Both kappas, their difference, its interval and the p value.

    All that counts of a group is its two confusion matrices; they are counted once, and drawn or swapped as a whole.
    """
    matrices = np.stack([_group_matrices(targets, answer, members) for answer in answers])  # (2, G, K, K)
    kappas = quadratic_kappas(matrices.sum(1))
    difference = float(kappas[0] - kappas[1])
    if not math.isfinite(difference):
        return (float(kappas[0]), float(kappas[1])), math.nan, (math.nan, math.nan), math.nan
    random, num_groups = np.random.default_rng(0), len(members)
    flat = matrices.reshape(2, num_groups, -1).astype(np.float64)
    weights = random.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=_NUM_DRAWS).astype(np.float64)
    drawn = [quadratic_kappas((weights @ own).reshape(-1, *matrices.shape[2:])) for own in flat]
    differences = drawn[0] - drawn[1]
    differences = differences[np.isfinite(differences)]
    ends = (math.nan, math.nan)
    if len(differences) > _NUM_DRAWS / 2:
        low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        ends = (float(low), float(high))
    swaps = random.integers(0, 2, size=(_NUM_DRAWS, num_groups)).astype(np.float64)
    total, apart = flat.sum((0, 1)), flat[1] - flat[0]
    first = flat[0].sum(0) + swaps @ apart
    pair = [quadratic_kappas(own.reshape(-1, *matrices.shape[2:])) for own in (first, total - first)]
    # A swap that leaves a kappa undefined says nothing against chance: it counts as one at least as far apart.
    num_as_far = int((~(np.abs(pair[0] - pair[1]) < abs(difference) - 1e-12)).sum())
    return (float(kappas[0]), float(kappas[1])), difference, ends, (num_as_far + 1) / (_NUM_DRAWS + 1)


def _group_matrices(targets: np.ndarray, probabilities: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    num_classes = probabilities.shape[1]
    group = np.empty(len(targets), dtype=np.int64)
    for number, rows in enumerate(members):
        group[rows] = number
    cells = (group * num_classes + targets) * num_classes + probabilities.argmax(1)
    counts = np.bincount(cells, minlength=len(members) * num_classes**2)
    return counts.reshape(len(members), num_classes, num_classes)


def _bonett_price(only_a: int, only_b: int, n: int) -> tuple[float, float]:
    share_a, share_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    centre = share_a - share_b
    half = Z * math.sqrt((share_a + share_b - centre**2) / (n + 2))
    return max(-1.0, centre - half), min(1.0, centre + half)


def _sign_flip_p(gains: np.ndarray) -> float:
    """P(|sum of +-gains| >= |sum of gains|) with fair signs: exact, by building the sum's distribution step by step."""
    sizes = np.abs(gains[gains != 0])
    reach = int(sizes.sum())
    if not reach:
        return 1.0
    if sizes.max() == 1:
        from scipy.stats import binomtest

        return float(binomtest(int((gains > 0).sum()), len(sizes), 0.5).pvalue)
    distribution = np.zeros(2 * reach + 1)
    distribution[reach] = 1.0
    for size in sizes:
        shifted = np.zeros_like(distribution)
        shifted[size:] += 0.5 * distribution[:-size]
        shifted[:-size] += 0.5 * distribution[size:]
        distribution = shifted
    sums = np.abs(np.arange(-reach, reach + 1))
    return min(1.0, float(distribution[sums >= abs(int(gains.sum()))].sum()))


def _sentence(a: str, b: str, difference: float, interval: tuple[float, float], p_value: float, *, n: int) -> str:
    better, worse = (a, b) if difference >= 0 else (b, a)
    low, high = interval if difference >= 0 else (-interval[1], -interval[0])
    low, high = (round(100 * end, 1) + 0.0 for end in (low, high))  # + 0.0: never "-0.0"
    numbers = f"{100 * LEVEL:.0f} % interval {low} to {high}, exact p {_p_text(p_value)}, n = {n}"
    if difference == 0:
        return f"No difference: {a} and {b} are right on equally many images ({numbers})."
    points = f"{100 * abs(difference):.1f} percentage points"
    if p_value < SIGNIFICANCE:
        return f"{better} is {points} more accurate than {worse} ({numbers})."
    return f"Not shown: {better} is {points} ahead of {worse}, which could be chance at n = {n} ({numbers})."


def _kappa_sentence(names: tuple[str, str], found: _KappaComparison, n: int) -> str:
    (a, b), (kappas, difference, interval, p_value) = names, found
    if not math.isfinite(difference):
        without = " and ".join(name for name, kappa in zip((a, b), kappas, strict=True) if not math.isfinite(kappa))
        return f"Not compared: the kappa of {without} is not defined on these {n} images."
    better, worse = (a, b) if difference >= 0 else (b, a)
    low, high = interval if difference >= 0 else (-interval[1], -interval[0])
    ends = f"95 % interval {low + 0.0:.2f} to {high + 0.0:.2f}" if math.isfinite(low) else "no interval"
    numbers = f"{max(kappas):.2f} and {min(kappas):.2f}, {ends}, p {_p_text(p_value)} by swapping answers, n = {n}"
    if difference == 0:
        return f"No difference: {a} and {b} agree equally well with the true grades (kappa {numbers})."
    if p_value < SIGNIFICANCE:
        return f"{better} has a kappa {abs(difference):.2f} higher than {worse} ({numbers})."
    return (
        f"Not shown: the kappa of {better} is {abs(difference):.2f} ahead of {worse}, which could be chance at n = {n} "
        f"({numbers})."
    )


def _p_text(p_value: float) -> str:
    return f"= {p_value:.3f}" if p_value >= 0.001 else "below 0.001"
