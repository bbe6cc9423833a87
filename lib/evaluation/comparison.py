"""Whether one run is better than another on the same images, with the uncertainty of that difference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.evaluation.intervals import LEVEL, Z, bootstrap_interval, group_members

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class PairedComparison:
    """The accuracy of A minus that of B on the same `n` images, its 95 % interval and an exact two-sided p value.

    `only_a` and `only_b` count the images that one got right and the other wrong: all that a paired test looks at.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n: int
    only_a: int
    only_b: int
    sentence: str

    @property
    def is_shown(self) -> bool:
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
) -> PairedComparison:
    """Compare two runs image by image.

    Test: exact McNemar (binomial on the images that only one run got right). Interval: Bonett and Price (2012), the
    adjusted Wald interval of a paired difference. With `groups` (N,), such as patients, whose images are not
    independent: signs are flipped for whole groups (exact; the same as McNemar when every group has one image) and the
    interval is a bootstrap over groups.

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
    if len(members) == len(targets):
        low, high = _bonett_price(only_a, only_b, len(targets))
    else:
        low, high = bootstrap_interval(lambda drawn, _: float(drawn.mean()), gains, gains[:, None], groups, n=2000)
    p_value = _sign_flip_p(np.array([gains[rows].sum() for rows in members]))
    difference = float(gains.mean())
    sentence = _sentence(name_a, name_b, difference, (low, high), p_value, n=len(targets))
    return PairedComparison(difference, low, high, p_value, len(targets), only_a, only_b, sentence)


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


def _p_text(p_value: float) -> str:
    return f"= {p_value:.3f}" if p_value >= 0.001 else "below 0.001"
