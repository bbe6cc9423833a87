"""What a set of predictions is worth: pure functions of targets (N,) and probabilities (N, K), fractions throughout.

Every metric takes `(targets, probabilities)`, so that each can be handed to `bootstrap_interval` (intervals.py).
An undefined value is NaN, never a number that looks like a result.
"""

import numpy as np
import pandas as pd

# A nearest-neighbour head says 0.0 of classes it did not meet: the logarithm is cut where float64 ends (as in sklearn).
_LEAST_PROBABILITY = float(np.finfo(np.float64).eps)


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
        "auroc": auroc(targets, probabilities),
        "log_loss": log_loss(targets, probabilities),
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


def quadratic_weighted_kappa(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Agreement of grades beyond chance (Cohen 1968): 1 - sum(w O) / sum(w E) with w_ij = (i - j)^2.

    A constant predictor of varied targets scores exactly 0, no better than chance. Where targets and predictions are
    all of one class the formula is 0 / 0: NaN.
    """
    observed = confusion_matrix(targets, probabilities).astype(np.float64)
    grades = np.arange(len(observed))
    weights = np.subtract.outer(grades, grades) ** 2
    expected = np.outer(observed.sum(1), observed.sum(0)) / observed.sum()
    chance_disagreement = float((weights * expected).sum())
    if chance_disagreement == 0:
        return float("nan")
    return 1.0 - float((weights * observed).sum()) / chance_disagreement


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
    return float(np.average(-np.log(np.clip(chosen, _LEAST_PROBABILITY, 1.0)), weights=weights))


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
    matrix = confusion_matrix(targets, probabilities)
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
