"""How far features lie from those that a network was trained on, and how well they tell classes apart."""

import warnings

import numpy as np

from lib.data.splits import held_out_folds

_MOST_FOLDS = 5


def nearest_centroid_accuracy(
    features: np.ndarray, targets: np.ndarray, units: np.ndarray | None = None
) -> float | None:
    """Balanced accuracy of the nearest class centroid, cross-validated, on standardised features.

    Five folds, or as many as the rarest class has groups (patients), which stay whole; classes with a single one are
    left out.

    Args:
        features: (N, D).
        targets: class numbers (N,).
        units: group numbers (N,); None where every image stands alone.

    Returns:
        From 0 to 1; None where fewer than two classes have two groups.
    """
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.neighbors import NearestCentroid
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    units = np.arange(len(targets)) if units is None else np.asarray(units)
    pairs = np.unique(np.stack([targets, units]), axis=1)
    names, counts = np.unique(pairs[0], return_counts=True)
    rows = np.flatnonzero(np.isin(targets, names[counts > 1]))
    if (counts > 1).sum() < 2:
        return None
    num_folds = int(min(_MOST_FOLDS, counts[counts > 1].min()))
    kept, units = targets[rows], units[rows]
    held = held_out_folds(kept, units, np.arange(len(rows)), most=num_folds, seed=0)
    if not held:
        return None
    folds = [(np.setdiff1d(np.arange(len(rows)), part), part) for part in held]
    model = make_pipeline(StandardScaler(), NearestCentroid())
    with warnings.catch_warnings():
        # Channels that are off in all images of a class; nothing is divided by their deviation here.
        warnings.filterwarnings("ignore", message="self.within_class_std_dev_")
        predicted = cross_val_predict(model, features[rows].astype(np.float64), kept, cv=folds)
    return float(balanced_accuracy_score(kept, predicted))


def feature_distance(
    mean: np.ndarray, variance: np.ndarray, source_mean: np.ndarray, source_variance: np.ndarray
) -> float:
    """Root mean square, over channels, of the Fréchet distance of two Gaussians in the source's deviations.

    All arrays (C,); per channel ((mean - mean')² + (deviation - deviation')²) / variance'.
    """
    deviation = np.sqrt(np.maximum(source_variance, 1e-12))
    shift = (mean - source_mean) / deviation
    spread = np.sqrt(variance) / deviation - 1
    return float(np.sqrt(np.mean(shift**2 + spread**2)))


def logme(features: np.ndarray, targets: np.ndarray, *, num_rounds: int = 100) -> float:
    """Log of maximum evidence per image, averaged over one-against-rest targets: higher transfers better.

    Args:
        features: (N, D).
        targets: class numbers (N,).
        num_rounds: of the fixed-point iteration, at most.

    Source: You et al., LogME, ICML 2021, arXiv 2102.11005.
    """
    values = features.astype(np.float64)
    u, singular, _ = np.linalg.svd(values, full_matrices=False)
    sigma, num, dim = singular**2, *values.shape
    scores = []
    for target in np.unique(targets):
        wanted = (targets == target).astype(np.float64)
        projected = (u.T @ wanted) ** 2
        outside = max(float(wanted @ wanted - projected.sum()), 0.0)
        alpha, beta = 1.0, 1.0
        for _ in range(num_rounds):
            ratio = alpha / beta
            gamma = float((sigma / (sigma + ratio)).sum())
            weight = float((sigma * projected / (sigma + ratio) ** 2).sum())
            error = float((projected / (1 + sigma / ratio) ** 2).sum()) + outside
            alpha, beta = gamma / (weight + 1e-5), (num - gamma) / (error + 1e-5)
            if abs(alpha / beta - ratio) / ratio <= 1e-3:
                break
        # The evidence at its last alpha and beta, with log|A| over all D directions.
        log_det = float(np.log(alpha + beta * sigma).sum()) + (dim - len(sigma)) * np.log(alpha)
        ratio = alpha / beta
        weight = float((sigma * projected / (sigma + ratio) ** 2).sum())
        error = float((projected / (1 + sigma / ratio) ** 2).sum()) + outside
        evidence = dim * np.log(alpha) + num * np.log(beta) - log_det - beta * error - alpha * weight
        scores.append((evidence - num * np.log(2 * np.pi)) / (2 * num))
    return float(np.mean(scores))
