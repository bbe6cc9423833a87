"""Metrics of many resamples at once: each unit (an image, or a patient with all images) counts as often as it weighs.

A builder takes targets (N,), probabilities (N, K), the unit of each image (N,) and the number of units G. What it
returns scores weights (M, G) to values (M,), NaN where a value is not defined. With weights of one it is the metric
itself: a test holds the two together.
"""

from collections.abc import Callable

import numpy as np

from lib.evaluation.metrics import LEAST_PROBABILITY, NUM_BINS

Scorer = Callable[[np.ndarray], np.ndarray]
Builder = Callable[[np.ndarray, np.ndarray, np.ndarray, int], Scorer]
# Of each class: right answers, images, answers (M, K); and the sum of squared distances (M,).
Formula = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]

_FEW_POSITIVES = 48  # up to so many, a product of matrices is quicker than running sums
_CELLS_AT_ONCE = 4_000_000  # of an array (draws, images), 32 MB


def from_counts(formula: Formula) -> Builder:
    """The builder of a metric that the confusion matrix decides; its margins, diagonal and distances are enough."""

    def build(targets: np.ndarray, probabilities: np.ndarray, unit: np.ndarray, num_units: int) -> Scorer:
        from scipy.sparse import csr_array

        num_classes, answers = probabilities.shape[1], probabilities.argmax(1)
        right = np.flatnonzero(answers == targets)
        wrong = np.flatnonzero(answers != targets)
        rows = np.concatenate([targets[right], num_classes + targets, 2 * num_classes + answers,
                               np.full(len(wrong), 3 * num_classes)])  # fmt: skip
        columns = np.concatenate([unit[right], unit, unit, unit[wrong]])
        distances = ((targets - answers)[wrong] ** 2).astype(np.float64)
        values = np.concatenate([np.ones(len(right) + 2 * len(targets)), distances])
        sums = csr_array((values, (rows, columns)), shape=(3 * num_classes + 1, num_units))
        table = sums if sums.nnz < 0.1 * sums.shape[0] * sums.shape[1] else sums.toarray()

        def score(weights: np.ndarray) -> np.ndarray:
            counts = (table @ weights.T).T
            hits, true, predicted = (counts[:, k * num_classes : (k + 1) * num_classes] for k in range(3))
            with np.errstate(invalid="ignore", divide="ignore"):
                return formula(hits, true, predicted, counts[:, -1])

        return score

    return build


def accuracies(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Share of right answers."""
    return hits.sum(1) / true.sum(1)


def balanced_accuracies(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that occur."""
    return _mean_where(hits / true, true > 0)


def macro_f1s(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that occur or are predicted."""
    return _mean_where(2 * hits / (true + predicted), true + predicted > 0)


def kappas(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Quadratic weighted kappa; sum_ij r_i c_j (i - j)^2 / n = sum r i^2 + sum c j^2 - 2 (sum r i)(sum c j) / n."""
    grades = np.arange(true.shape[1], dtype=np.float64)
    expected = (true + predicted) @ grades**2 - 2 * (true @ grades) * (predicted @ grades) / true.sum(1)
    return np.where(expected > 1e-9, 1 - distances / expected, np.nan)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Means (M,) of values (M, S) without those that are not defined; NaN where none is."""
    with np.errstate(invalid="ignore"):
        return _mean_where(values, np.isfinite(values))


def _mean_where(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return np.where(counted, values, 0.0).sum(1) / counted.sum(1)


def build_log_loss(targets: np.ndarray, probabilities: np.ndarray, unit: np.ndarray, num_units: int) -> Scorer:
    """Mean negative logarithm of the true class's probability."""
    total = probabilities.sum(1)
    chosen = probabilities[np.arange(len(targets)), targets] / np.where(total > 0, total, 1.0)
    losses = -np.log(np.clip(chosen, LEAST_PROBABILITY, 1.0))
    sums, counts = np.bincount(unit, losses, num_units), np.bincount(unit, minlength=num_units).astype(np.float64)

    def score(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ sums) / (weights @ counts)

    return score


def build_auroc(targets: np.ndarray, probabilities: np.ndarray, unit: np.ndarray, num_units: int) -> Scorer:
    """Mean area over the classes that some but not all images have."""
    present = [k for k in range(probabilities.shape[1]) if 0 < np.count_nonzero(targets == k) < len(targets)]
    areas = [build_area(targets == k, probabilities[:, k], unit, num_units) for k in present]

    def score(weights: np.ndarray) -> np.ndarray:
        if not areas:
            return np.full(len(weights), np.nan)
        return mean_of_known(np.stack([area(weights) for area in areas], axis=1))

    return score


def build_area(is_positive: np.ndarray, scores: np.ndarray, unit: np.ndarray, num_units: int) -> Scorer:
    """Weighted Mann and Whitney: the share of pairs in order, equal scores counting half."""
    positive, negative = scores[is_positive], scores[~is_positive]
    order = np.argsort(negative, kind="stable")
    negative, own, others = negative[order], unit[is_positive], unit[~is_positive][order]
    below, up_to = np.searchsorted(negative, positive, "left"), np.searchsorted(negative, positive, "right")
    num_own, num_others = (np.bincount(some, minlength=num_units).astype(np.float64) for some in (own, others))
    beaten = None
    if len(positive) <= _FEW_POSITIVES:
        beaten = np.zeros((num_units, len(positive)))
        wins = (negative[:, None] < positive) + 0.5 * (negative[:, None] == positive)
        np.add.at(beaten, others, wins)

    def score(weights: np.ndarray) -> np.ndarray:
        if beaten is not None:
            ahead = weights @ beaten
        else:
            reached = np.zeros((len(weights), len(negative) + 1))
            np.cumsum(weights[:, others], axis=1, out=reached[:, 1:])
            ahead = 0.5 * (reached[:, below] + reached[:, up_to])
        pairs = (weights @ num_own) * (weights @ num_others)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights[:, own] * ahead).sum(1) / pairs

    return score


def build_calibration_error(targets: np.ndarray, probabilities: np.ndarray, unit: np.ndarray, num_units: int) -> Scorer:
    """The error over bins of equal weight of each resample by itself."""
    total = probabilities.sum(1)
    confidence = probabilities.max(1) / np.where(total > 0, total, 1.0)
    gaps = (probabilities.argmax(1) == targets) - confidence
    order = np.argsort(confidence, kind="stable")
    unit, gaps, confidence = unit[order], gaps[order], confidence[order]
    starts = np.flatnonzero(np.append(True, np.diff(confidence) > 0))

    def score(weights: np.ndarray) -> np.ndarray:
        mass = weights[:, unit]
        apart = np.add.reduceat(mass * gaps, starts, axis=1).cumsum(1)
        mass = np.add.reduceat(mass, starts, axis=1).cumsum(1)
        rows, last = np.arange(len(weights)), mass.shape[1] - 1
        before, values = np.zeros(len(weights)), np.zeros(len(weights))
        for share in np.linspace(0, 1, NUM_BINS + 1)[1:]:
            edge = share * mass[:, -1]
            place = np.minimum((mass < edge[:, None] * (1 - 1e-12)).sum(1), last)
            # Between two confidences in proportion.
            ahead, reached = apart[rows, place], mass[rows, place]
            behind = np.where(place > 0, apart[rows, place - 1], 0.0)
            start = np.where(place > 0, mass[rows, place - 1], 0.0)
            end = behind + (ahead - behind) * np.minimum((edge - start) / (reached - start), 1.0)
            values += np.abs(end - before)
            before = end
        return values / mass[:, -1]

    return score


def build_calibration_noise(targets: np.ndarray, probabilities: np.ndarray, unit: np.ndarray, num_units: int) -> Scorer:
    """How far the gaps of the bins move in a resample, added up as the error adds up the gaps themselves.

    By the triangle inequality the error seen lies no farther from the true one than this.
    """
    total = probabilities.sum(1)
    confidence = probabilities.max(1) / np.where(total > 0, total, 1.0)
    gaps = (probabilities.argmax(1) == targets) - confidence
    place = np.empty(len(targets), dtype=np.int64)
    place[np.argsort(confidence, kind="stable")] = np.arange(len(targets)) * NUM_BINS // len(targets)
    sums = np.bincount(unit * NUM_BINS + place, gaps, num_units * NUM_BINS).reshape(num_units, NUM_BINS)
    return lambda weights: np.abs(weights @ sums - sums.sum(0)).sum(1) / len(targets)


def in_parts(scorer: Scorer, num_images: int) -> Scorer:
    """The same, of so many draws at a time that the memory stays small."""
    size = max(1, _CELLS_AT_ONCE // max(num_images, 1))
    return lambda weights: np.concatenate(
        [scorer(weights[start : start + size]) for start in range(0, len(weights), size)]
    )
