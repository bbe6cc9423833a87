"""How sure a number is: 95 % intervals for shares, for any metric and for means over folds."""

import math
from collections.abc import Callable, Sequence

import numpy as np

LEVEL = 0.95
Z = 1.959963984540054  # the normal distribution's 97.5 % point

Metric = Callable[[np.ndarray, np.ndarray], float]


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """Interval of a share of independent images (Wilson 1927), also sound at 0 %, 100 % and small n.

    centre = (p + z^2 / 2n) / (1 + z^2 / n); without images (n = 0) nothing is known: (0, 1).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"Successes must lie between 0 and n, got {successes} of {n}.")
    if n == 0:
        return 0.0, 1.0
    share, spread = successes / n, Z**2 / n
    centre = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_interval(
    fn: Metric,
    targets: np.ndarray,
    probabilities: np.ndarray,
    groups: np.ndarray | Sequence[str] | None = None,
    *,
    seed: int = 0,
    n: int = 1000,
) -> tuple[float, float]:
    """Percentile interval of a metric over resampled images, or over resampled groups where images share one.

    Two photographs of one patient are not two independent observations: with `groups` (N,) whole patients are drawn.
    Resamples where the metric is undefined are left out; if that is more than half of them the interval is (nan, nan).
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    members = group_members(groups, len(targets))
    generator = np.random.default_rng(seed)
    values = np.empty(n)
    for draw in range(n):
        chosen = generator.integers(len(members), size=len(members))
        rows = chosen if groups is None else np.concatenate([members[index] for index in chosen])
        values[draw] = fn(targets[rows], probabilities[rows])
    values = values[np.isfinite(values)]
    if len(values) <= n / 2:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def fold_interval(values: Sequence[float], *, limits: tuple[float, float] = (0.0, 1.0)) -> tuple[float, float, float]:
    """Mean and interval over the K values of a K-fold cross-validation: (mean, low, high), cut to `limits`.

    Folds share training images, so the plain t interval is too narrow; the variance is multiplied by
    1/K + 1/(K - 1) instead of 1/K (Nadeau and Bengio 2003, test to training images = 1 : K - 1).
    Folds without a value (NaN) are left out; with fewer than two the interval is NaN.
    """
    from scipy.stats import t

    kept = np.asarray(values, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    num = len(kept)
    if num < 2:
        return (float(kept[0]) if num else float("nan")), float("nan"), float("nan")
    half = float(t.ppf((1 + LEVEL) / 2, num - 1)) * math.sqrt(kept.var(ddof=1) * (1 / num + 1 / (num - 1)))
    mean = float(kept.mean())
    return mean, max(limits[0], mean - half), min(limits[1], mean + half)


def group_members(groups: np.ndarray | Sequence[str] | None, num: int) -> list[np.ndarray]:
    """The rows of each group; without groups every image is its own. An empty group name is a group of one."""
    if groups is None:
        return [np.array([row]) for row in range(num)]
    names = np.asarray(groups).astype(str)
    if names.shape != (num,):
        raise ValueError(f"Expected one group for each of {num} images, got {names.shape}.")
    rows: dict[object, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(str(name) or row, []).append(row)
    return [np.array(members) for members in rows.values()]
