"""What a set of predictions is worth, and how sure that is: pure functions of targets (N,) and probabilities (N, K).

Every metric is a fraction of `(targets, probabilities)`, so that `bootstrap_interval` takes each. An undefined value is
NaN, never a number that looks like a result. Kappa, confusion, log loss and Wilson's interval are computed here: to
check their input, scikit-learn and SciPy take 30 to 400 times as long, which a bootstrap or a search of limits repeats
a thousand times. A test compares them.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

# A nearest-neighbour head says 0.0 of classes it did not meet: the logarithm is cut where float64 ends (as in sklearn).
LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
LEVEL = 0.95
Z = 1.959963984540054  # the normal distribution's 97.5 % point
Statistic = Callable[[np.ndarray, np.ndarray], float]
NUM_BINS = 10  # of the calibration error


def evaluate_predictions(targets: np.ndarray, probabilities: np.ndarray, *, is_ordinal: bool) -> dict[str, float]:
    """All metrics of a run on one split.

    Args:
        targets: true class numbers, (N,).
        probabilities: one row an image, (N, K), K at least 2.
        is_ordinal: whether the classes are grades. Quadratic weights need an order: for three or more unordered classes
            the kappa is NaN; for two classes it is Cohen's plain kappa, order or not.

    Raises:
        ValueError: no images, shapes that do not fit, targets outside 0 .. K-1, or probabilities that are not finite.
    """
    targets, probabilities = _checked(targets, probabilities)
    has_order = is_ordinal or probabilities.shape[1] == 2
    return {
        "accuracy": accuracy(targets, probabilities),
        "balanced_accuracy": balanced_accuracy(targets, probabilities),
        "quadratic_weighted_kappa": quadratic_weighted_kappa(targets, probabilities) if has_order else float("nan"),
        "macro_f1": macro_f1(targets, probabilities),
        "auroc": auroc(targets, probabilities),
        "log_loss": log_loss(targets, probabilities),
        "calibration_error": calibration_error(targets, probabilities),
        "num": float(len(targets)),
    }


def accuracy(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Share of images whose most probable class is the true one."""
    targets, probabilities = _checked(targets, probabilities)
    return float((probabilities.argmax(1) == targets).mean())


def balanced_accuracy(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean recall over the classes that occur among the targets."""
    matrix = confusion_matrix(targets, probabilities)
    counts = matrix.sum(1)
    present = counts > 0
    return float((matrix.diagonal()[present] / counts[present]).mean())


def macro_f1(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean F1 of the classes that occur among targets or predictions, as scikit-learn's `f1_score(average="macro")`."""
    matrix = confusion_matrix(targets, probabilities)
    found = matrix.sum(0) + matrix.sum(1)
    return float((2 * matrix.diagonal()[found > 0] / found[found > 0]).mean())


def quadratic_weighted_kappa(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Agreement of grades beyond chance (Cohen 1968): 1 - sum(w O) / sum(w E) with w_ij = (i - j)^2.

    A constant predictor of varied targets scores exactly 0, no better than chance. Where targets and predictions are
    all of one class the formula is 0 / 0: NaN.
    """
    return float(quadratic_kappas(confusion_matrix(targets, probabilities)[None])[0])


def quadratic_kappas(matrices: np.ndarray) -> np.ndarray:
    """Quadratic weighted kappa (M,) of many confusion matrices (M, K, K); NaN where it is 0 / 0."""
    grades = np.arange(matrices.shape[-1])
    weights = np.subtract.outer(grades, grades) ** 2
    expected = matrices.sum(2)[:, :, None] * matrices.sum(1)[:, None] / matrices.sum((1, 2))[:, None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - (weights * matrices).sum((1, 2)) / (weights * expected).sum((1, 2))


def auroc(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve, one class against the rest, macro average.

    A class that no image or every image has is left out of the average; NaN if that leaves none.
    """
    from sklearn.metrics import roc_auc_score

    targets, probabilities = _checked(targets, probabilities)
    areas = [
        float(roc_auc_score(targets == target, probabilities[:, target]))
        for target in range(probabilities.shape[1])
        if 0 < np.count_nonzero(targets == target) < len(targets)
    ]
    return float(np.mean(areas)) if areas else float("nan")


def log_loss(targets: np.ndarray, probabilities: np.ndarray, class_weights: np.ndarray | None = None) -> float:
    """Mean negative natural logarithm of the true class's probability (rows are scaled to sum to one).

    With `class_weights` (K,) each image counts as much as its class does.
    """
    targets, probabilities = _checked(targets, probabilities)
    total = probabilities.sum(1)
    chosen = probabilities[np.arange(len(targets)), targets] / np.where(total > 0, total, 1.0)
    weights = None if class_weights is None else np.asarray(class_weights)[targets]
    return float(np.average(-np.log(np.clip(chosen, LEAST_PROBABILITY, 1.0)), weights=weights))


def calibration_error(targets: np.ndarray, probabilities: np.ndarray, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error of the most probable class (Guo et al. 2017, arXiv 1706.04599), bins of equal mass.

    Images in the order of their confidence are cut into bins of N / `num_bins` images; the error is the mean over the
    bins of |share of right answers - mean confidence|. Images of the same confidence at an edge count in both bins, in
    proportion, so that the order of the images does not matter.
    """
    targets, probabilities = _checked(targets, probabilities)
    total = probabilities.sum(1)
    confidence = probabilities.max(1) / np.where(total > 0, total, 1.0)
    _, place = np.unique(confidence, return_inverse=True)
    gaps = np.bincount(place, weights=(probabilities.argmax(1) == targets) - confidence)
    edges = np.linspace(0, len(targets), num_bins + 1)
    reached = np.interp(edges, np.append(0, np.cumsum(np.bincount(place))), np.append(0, np.cumsum(gaps)))
    return float(np.abs(np.diff(reached)).sum() / len(targets))


def confusion_matrix(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts (K, K): row = true class, column = predicted class."""
    targets, probabilities = _checked(targets, probabilities)
    num_classes = probabilities.shape[1]
    cells = targets * num_classes + probabilities.argmax(1)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def per_class_report(
    targets: np.ndarray, probabilities: np.ndarray, class_names: tuple[str, ...] | list[str]
) -> pd.DataFrame:
    """One row a class: class_name, precision, recall, f1, count (true images).

    NaN where a fraction has no denominator: precision of a class never predicted, recall of one without images.
    """
    return class_report(confusion_matrix(targets, probabilities), class_names)


def class_report(matrix: np.ndarray, class_names: tuple[str, ...] | list[str]) -> pd.DataFrame:
    """`per_class_report` of counts (K, K), row = true class, column = predicted."""
    if len(class_names) != len(matrix):
        raise ValueError(f"{len(class_names)} class names for {len(matrix)} columns of probabilities.")
    hits, counts, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall, f1 = hits / predicted, hits / counts, 2 * hits / (counts + predicted)
    return pd.DataFrame(
        {"class_name": list(class_names), "precision": precision, "recall": recall, "f1": f1, "count": counts}
    )


def _checked(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    targets, probabilities = np.asarray(targets), np.asarray(probabilities, dtype=np.float64)
    if targets.ndim != 1 or probabilities.ndim != 2 or len(targets) != len(probabilities):
        raise ValueError(f"Expected targets (N,) and probabilities (N, K), got {targets.shape}, {probabilities.shape}.")
    if not len(targets) or probabilities.shape[1] < 2:
        raise ValueError(f"Metrics need an image and two classes at least, got probabilities {probabilities.shape}.")
    targets = targets.astype(np.int64, copy=False)
    if targets.min() < 0 or targets.max() >= probabilities.shape[1]:
        raise ValueError(f"Targets {targets.min()} .. {targets.max()} do not fit {probabilities.shape[1]} classes.")
    if not np.isfinite(probabilities).all():
        raise ValueError("The probabilities hold NaN or infinity: the classifier that made them has diverged.")
    return targets, probabilities


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
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
    fn: Statistic,
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


def fold_mean(fn: Statistic, targets: np.ndarray, probabilities: np.ndarray, folds: np.ndarray | None = None) -> float:
    """A metric, as the mean over the test sets of the folds (N,) where there are any; folds without a value left out.

    The classifiers of two folds are two classifiers: their answers are not mixed in one ranking or calibration.
    """
    if folds is None:
        return fn(targets, probabilities)
    values = np.array([fn(targets[folds == fold], probabilities[folds == fold]) for fold in np.unique(folds)])
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else float("nan")


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
