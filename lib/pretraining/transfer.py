"""What the bundled backbone is worth on other images: a linear probe on its frozen features against random weights."""

from dataclasses import dataclass

import numpy as np

from lib.checked_rows import Rows
from lib.evaluation.metrics import bootstrap_interval
from lib.progress import Progress, ignore_progress

NUM_FOLDS = 5
NUM_REPEATS = 5  # ways to cut the folds: an image near the border is right in some and wrong in others
NUM_RANDOM = 5
_BATCH = 64
_STATISTICS_IMAGES = 256


@dataclass(frozen=True)
class TransferGain:
    """5-fold accuracies of both probes, and their difference with its 95 % interval (bootstrap over images)."""

    pretrained: float
    random: float
    gain: float
    low: float
    high: float
    num_images: int


def measure_gain(
    pixels: Rows, targets: np.ndarray, *, backbone_name: str, progress: Progress = ignore_progress
) -> TransferGain:
    """Probe a pretrained backbone and five random ones on the same folds.

    `pixels` are uint8 (N, S, S, 3), `targets` (N,) count from 0. Whether an image is recognised is averaged over the
    ways to cut the folds and, for random weights, over the initialisations.
    """
    arms = [("pretrained", 0), *(("random", number) for number in range(NUM_RANDOM))]
    correct = []
    for number, (weights, seed) in enumerate(arms):
        features = frozen_features(pixels, backbone_name, weights=weights, seed=seed)
        repeats = [probe_correct(features, targets, seed=repeat) for repeat in range(NUM_REPEATS)]
        correct.append(np.mean(repeats, axis=0))
        progress(number + 1, len(arms), "probing")
    pretrained, random = correct[0], np.mean(correct[1:], axis=0)
    difference = (pretrained - random)[:, None]
    low, high = bootstrap_interval(lambda _, drawn: float(drawn.mean()), targets, difference, seed=0, n=4000)
    return TransferGain(
        float(pretrained.mean()), float(random.mean()), float(difference.mean()), low, high, len(targets)
    )


def frozen_features(
    pixels: Rows, backbone_name: str, *, weights: str, seed: int = 0, size_px: int | None = None
) -> np.ndarray:
    """Features (N, D) of the table's feature stage; a random network's BatchNorm sees the same images first."""
    import torch

    from lib.data.input_transform import to_batch
    from lib.models.head_layers import pool_features
    from lib.models.stages import build_backbone, set_batchnorm_statistics

    backbone = build_backbone(backbone_name, weights=weights, seed=seed)
    spec = backbone.spec

    def batch(rows: np.ndarray) -> torch.Tensor:
        return to_batch(
            rows, size_px=size_px or spec.input_size_px, mean=spec.mean, std=spec.std, resizing=spec.resizing
        )

    if weights == "random":
        chosen = np.random.default_rng(seed).permutation(len(pixels))[:_STATISTICS_IMAGES]
        set_batchnorm_statistics(backbone, batch(pixels[np.sort(chosen)]))
    found = []
    with torch.inference_mode():
        for start in range(0, len(pixels), _BATCH):
            hidden = backbone.forward_until(batch(pixels[start : start + _BATCH]), spec.feature_stage)
            found.append(pool_features(hidden, spec.pooling).numpy())
    return np.concatenate(found)


def probe_correct(features: np.ndarray, targets: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Whether each image is recognised, (N,) 0 or 1, by a linear probe that was fitted on the other folds."""
    from sklearn.model_selection import StratifiedKFold

    from lib.training.preparation import development_within
    from lib.training.sklearn_heads import fit_linear_probe

    correct = np.zeros(len(targets))
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    for rest, test in folds.split(features, targets):
        development = development_within(targets, rest, seed=seed)
        probe = fit_linear_probe(features, targets, development=development, num_classes=int(targets.max()) + 1)
        weight, bias = probe.head.weight.detach().numpy(), probe.head.bias.detach().numpy()
        correct[test] = (features[test] @ weight.T + bias).argmax(1) == targets[test]
    return correct
