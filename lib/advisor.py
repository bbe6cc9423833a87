"""Which strategy for which data: the guide of four scenarios, small or large by similar or different, made measurable.

The guide is the one of study 2 and of the Stanford course CS231n (https://cs231n.github.io/transfer-learning/).
Small and similar: a linear classifier on the features; large and similar: fine-tune the whole network; small and
different: a linear classifier on earlier activations; large and different: start from the pretrained weights and
fine-tune all of it.
Where "small" ends and "different" begins, the guide does not say: the thresholds below are this program's own.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SMALL_PER_CLASS = 100  # training images of the rarest class: below, "small"
TINY_PER_CLASS = 10  # below, nothing but a linear probe can be fitted soundly
DIFFERENT_DISTANCE = 1.0  # in deviations of the source's own features, median over stages
SOURCE = "four scenarios by size and similarity (study 2; CS231n, Transfer Learning)"


@dataclass(frozen=True)
class StageReading:
    """What was measured at one stage; None where it could not be: distance to the source domain, and LogME."""

    stage: str
    distance: float | None
    logme: float | None


@dataclass(frozen=True)
class Advice:
    """A recommended strategy with the settings that go with it, its reason, and the readings that it rests on."""

    strategy: str
    feature_stage: str | None
    epochs: int | None
    scenario: str
    reason: str
    source: str
    least_per_class: int
    distance: float | None
    stages: tuple[StageReading, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)


def recommend(least_per_class: int, stages: tuple[StageReading, ...]) -> Advice:
    """Apply the guide to `least_per_class` training images of the rarest class and readings in the stages' order.

    An unknown distance counts as different: then nothing is promised about the last features.
    """
    known = [reading.distance for reading in stages if reading.distance is not None]
    distance = float(np.median(known)) if known else None
    is_similar = distance is not None and distance < DIFFERENT_DISTANCE
    how_far = "of unknown distance" if distance is None else f"at a distance of {distance:.2f}"
    facts = f"{least_per_class} training images in the rarest class, features {how_far} from the source domain"
    strategy, stage, epochs = "full_finetuning", None, None
    if least_per_class < TINY_PER_CLASS:
        strategy, scenario = "linear_probe", "very small"
        reason = f"{facts}: too few to train more than a linear classifier on frozen features."
    elif least_per_class < SMALL_PER_CLASS and is_similar:
        strategy, scenario = "linear_probe", "small and similar"
        reason = f"{facts}: the frozen features should hold, and fine-tuning would overfit."
    elif least_per_class < SMALL_PER_CLASS:
        strategy, scenario, stage = "linear_probe", "small and different", _earlier_stage(stages)
        where = f"features of the earlier stage {stage}" if stage else "frozen features"
        reason = f"{facts}: late features are specific to the source, so a linear classifier on {where}."
    elif is_similar:
        scenario, epochs = "large and similar", 8
        reason = f"{facts}: enough images to fine-tune the whole network without overfitting."
    else:
        scenario, epochs = "large and different", 15
        reason = f"{facts}: every stage has to adapt, and the pretrained weights are still the better start."
    return Advice(strategy, stage, epochs, scenario, reason, SOURCE, least_per_class, distance, stages)


def _earlier_stage(stages: tuple[StageReading, ...]) -> str | None:
    """The stage before the last with the highest LogME; the middle one where none was measured."""
    earlier = stages[:-1]
    scored = [reading for reading in earlier if reading.logme is not None]
    if scored:
        return max(scored, key=lambda reading: reading.logme or 0.0).stage
    return earlier[len(earlier) // 2].stage if earlier else None


def feature_distance(features: np.ndarray, source_mean: np.ndarray, source_variance: np.ndarray) -> float:
    """Root mean square, over channels, of the Fréchet distance of two Gaussians in the source's deviations.

    `features` (M, C); per channel ((mean - mean')² + (deviation - deviation')²) / variance'.
    """
    deviation = np.sqrt(np.maximum(source_variance, 1e-12))
    shift = (features.mean(axis=0) - source_mean) / deviation
    spread = features.std(axis=0) / deviation - 1
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
