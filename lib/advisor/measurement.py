"""Reads a data set through a network: images per class, distance to the source domain per stage, quick scores.

Only images of the training part are looked at, so that the test images have no say in the choice of a strategy.
"""

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.advisor.guide import Advice, Readings, StageReading, recommend
from lib.checked_rows import Rows
from lib.data.augmentation import AS_IT_IS
from lib.data.enhancement import EnhancementChain, fit_chain, named_images
from lib.data.input_transform import to_batch
from lib.data.splits import group_numbers, held_out_folds
from lib.data.subset import RowsOfPixels
from lib.features.engine import TITLES, EngineChoice, FrozenPart, recorded_choices
from lib.features.extraction import FeatureRequest
from lib.features.onnx_session import EngineUnavailable, OnnxSession
from lib.models.backbones import BACKBONES
from lib.models.classifier import stage_poolings
from lib.models.folding import share_module_tree
from lib.models.head_layers import pool_features
from lib.models.stages import Backbone, build_backbone
from lib.progress import Progress, ignore_progress
from lib.training.config import TrainConfig
from lib.training.estimation.estimator import pixels_after
from lib.training.preparation import fit_splits

NUM_SAMPLED = 128  # images that run through the network for the statistics of its stages
NUM_SCORED = 512  # images whose features are scored, where they are in the cache already; else the sampled ones
_BY_TORCH = EngineChoice()
_MIN_PER_CLASS = 8  # where there are many classes, only so many that each has that many images in the sample


@dataclass(frozen=True, eq=False)
class ChannelMoments:
    """Means and variances (C,) of the channels of a stage here, and of the images that the network learned from."""

    mean: np.ndarray
    variance: np.ndarray
    source_mean: np.ndarray
    source_variance: np.ndarray

    @property
    def distance(self) -> float:
        """See `feature_distance`."""
        return feature_distance(self.mean, self.variance, self.source_mean, self.source_variance)


def advise(
    dataset: Any,
    config: TrainConfig,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    progress: Progress = ignore_progress,
) -> Advice:
    """Measure the images and classes that a training would use against a pretrained network, and apply the guide.

    Args:
        dataset: what takes part (lib/data/subset.py, `apply_protocol`); only the training part of the config's split is
            read, with folds that of the first.
        config: whose backbone, split and preprocessing count; the backbone's pretrained weights must be at hand.
        device: where to compute.
        dtype: that a training would compute features in, to find those in the cache.
        progress: called after each batch.

    Raises:
        WeightsUnavailable: the pretrained weights are not at hand.
        UserError: an unknown network, or a data set too small to be split.
    """
    started, spec = time.perf_counter(), BACKBONES.get(config.backbone)
    targets = dataset.table["target"].to_numpy()
    units = group_numbers(dataset.table["group_id"].to_numpy(), len(targets))
    train_rows, order = sampling_order(dataset, config)
    chain = fit_chain(config.preprocessing, dataset.pixels, train_rows)
    counts = np.bincount(targets[train_rows], minlength=dataset.spec.num_classes)
    rows = np.sort(order[:NUM_SAMPLED])
    backbone = build_backbone(config.backbone, feature_only=True).to(device)
    outputs, distances = stage_statistics(
        backbone, RowsOfPixels(pixels_after(dataset, chain), rows), progress=progress,
        engine=engine_for(config.backbone, device, dtype),
    )  # fmt: skip
    features, scored, was_cached = outputs[spec.feature_stage], rows, False
    kept = _cached_features(dataset, chain, config.backbone, dtype)
    if kept is not None:
        scored, was_cached = np.sort(order[:NUM_SCORED]), True
        features = kept[scored].reshape(len(scored), -1)
    progress(len(rows), len(rows), "scoring features")
    readings = Readings(
        least_per_class=int(counts.min()),
        num_classes=int((np.unique(targets[scored], return_counts=True)[1] > 1).sum()),
        stages=tuple(
            StageReading(name, distances[name], logme(values, targets[rows])) for name, values in outputs.items()
        ),
        nearest_centroid=nearest_centroid_accuracy(features, targets[scored], units[scored]),
        logme=logme(features, targets[scored]),
        num_train=len(train_rows),
        num_sampled=len(rows),
        num_scored=len(scored),
        was_cached=was_cached,
        seconds=time.perf_counter() - started,
    )
    return recommend(readings, {stage.name: stage.label for stage in spec.stages})


def sampling_order(dataset: Any, config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the training part, and an order of them of which any beginning is a fair sample."""
    train_rows = np.flatnonzero(fit_splits(dataset, config)[0] == "train")
    return train_rows, balanced_order(train_rows, dataset.table["target"].to_numpy())


def engine_for(backbone_name: str, device: str, dtype: str) -> EngineChoice:
    """The engine that a trial found to be the fastest for the frozen network, if there was one; else torch."""
    if device != "cpu":
        return _BY_TORCH
    spec = BACKBONES.get(backbone_name)
    part = FrozenPart(backbone_name, "pretrained", 0, spec.feature_stage, spec.input_size_px, dtype)
    return recorded_choices().get(part.key, _BY_TORCH)


def stage_statistics(
    backbone: Backbone,
    pixels: np.ndarray | RowsOfPixels,
    *,
    engine: EngineChoice = _BY_TORCH,
    progress: Progress = ignore_progress,
) -> tuple[dict[str, np.ndarray], dict[str, float | None]]:
    """Run images (N, S, S, 3) uint8 once through a network: pooled outputs (N, D) and distances by stage.

    A distance is None in a stage without BatchNorm, which keeps no statistics of the images that were learned.
    """
    outputs, moments = read_stages(backbone, pixels, engine=engine, progress=progress)
    return outputs, {name: own.distance if own else None for name, own in moments.items()}


def read_stages(
    backbone: Backbone,
    pixels: np.ndarray | RowsOfPixels,
    *,
    engine: EngineChoice = _BY_TORCH,
    progress: Progress = ignore_progress,
) -> tuple[dict[str, np.ndarray], dict[str, ChannelMoments | None]]:
    """The same, with what the distances are made of: the moments of all channels that enter a BatchNorm of the stage.

    The source's statistics are the running means and variances of the BatchNorm layers: those of the images that the
    network was trained on, at the place where the same channels of these images are measured. That place is gone where
    BatchNorm is folded away, so it is not here; ONNX Runtime puts out means and variances beside the pooled outputs.
    """
    spec, device = backbone.spec, next(backbone.parameters()).device
    reader = StageReader(backbone)
    run: Callable[[Tensor], Any] = reader
    if engine.name == "onnx":
        shape = (3, spec.input_size_px, spec.input_size_px)
        with suppress(EngineUnavailable):
            run = OnnxSession(reader, shape, num_outputs=reader.num_outputs).all_outputs
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), engine.batch_size):
            batch = to_batch(
                pixels[start : start + engine.batch_size], size_px=spec.input_size_px, mean=spec.mean, std=spec.std,
                resizing=spec.resizing, device=device,
            )  # fmt: skip
            parts.append([np.asarray(torch.as_tensor(values).float().cpu()) for values in run(batch)])
            progress(min(start + engine.batch_size, len(pixels)), len(pixels), "reading images")
    found = [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]
    outputs = dict(zip(backbone.stages, found, strict=False))
    left = iter(found[len(outputs) :])
    moments = {
        name: _moments([(norm, next(left), next(left)) for norm in norms]) for name, norms in reader.norms.items()
    }
    return outputs, moments


def balanced_order(rows: np.ndarray, targets: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The training rows in an order in which classes take turns, so that any beginning of it is a fair sample.

    Where classes are many, a random part of them: each then has a few images among the first `NUM_SAMPLED`.
    """
    generator = np.random.default_rng(seed)
    present = generator.permutation(np.unique(targets[rows]))[: NUM_SAMPLED // _MIN_PER_CLASS]
    turns = []
    for target in present:
        own = generator.permutation(rows[targets[rows] == target])
        turns += [(turn, target, row) for turn, row in enumerate(own)]
    return np.array([row for _, _, row in sorted(turns)], dtype=np.int64)


def _moments(layers: list[tuple[nn.Module, np.ndarray, np.ndarray]]) -> ChannelMoments | None:
    """Of all channels of a stage's BatchNorm layers, each with means and variances (N, C) by image; None without."""
    parts = []
    for norm, means, variances in layers:
        mean = means.mean(0, dtype=np.float64)
        # Images have equally many places: within images, and between their means.
        variance = variances.mean(0, dtype=np.float64) + means.var(0, dtype=np.float64)
        # With the layer's own epsilon, as the network itself divides: channels that are nearly off stay quiet.
        source = np.asarray(norm.running_var.double().cpu()) + norm.eps  # type: ignore[operator, union-attr]
        parts.append((mean, variance + norm.eps, np.asarray(norm.running_mean.double().cpu()), source))  # type: ignore[operator, union-attr]
    return ChannelMoments(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else None


def _cached_features(dataset: Any, chain: EnhancementChain, backbone_name: str, dtype: str) -> Rows | None:
    """The features that a linear probe left in the cache, (N, D) in the order of the table."""
    spec, images = BACKBONES.get(backbone_name), named_images(dataset, chain)
    form = (spec.feature_stage, spec.pooling, spec.input_size_px, dtype, AS_IT_IS, "cpu")
    requests = (FeatureRequest(images, backbone_name, "pretrained", 0, *form, engine) for engine in TITLES)
    return next((found for request in requests if (found := request.read()) is not None), None)


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
    names, counts = np.unique(np.unique(np.stack([targets, units]), axis=1)[0], return_counts=True)
    is_scored = np.isin(targets, names[counts > 1])
    kept, rows = targets[is_scored], np.arange(is_scored.sum())
    num_folds = min(5, counts[counts > 1].min(initial=5))
    held = held_out_folds(kept, units[is_scored], rows, most=int(num_folds), seed=0) if (counts > 1).sum() > 1 else []
    if not held:
        return None
    folds = [(np.setdiff1d(rows, part), part) for part in held]
    model = make_pipeline(StandardScaler(), NearestCentroid())
    with warnings.catch_warnings():
        # Channels that are off in all images of a class; nothing is divided by their deviation here.
        warnings.filterwarnings("ignore", message="self.within_class_std_dev_")
        predicted = cross_val_predict(model, features[is_scored].astype(np.float64), kept, cv=folds)
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


def logme(features: np.ndarray, targets: np.ndarray, *, num_rounds: int = 100) -> float | None:
    """Log of maximum evidence per image, averaged over one-against-rest targets: higher transfers better.

    None where there is one class only.

    Args:
        features: (N, D).
        targets: class numbers (N,).
        num_rounds: of the fixed-point iteration, at most.

    Source: You et al., LogME, ICML 2021, arXiv 2102.11005.
    """
    if len(np.unique(targets)) < 2:
        return None
    values = features.astype(np.float64)
    u, singular, _ = np.linalg.svd(values, full_matrices=False)
    sigma, num, dim = singular**2, *values.shape
    scores = []
    for target in np.unique(targets):
        wanted = (targets == target).astype(np.float64)
        projected = (u.T @ wanted) ** 2
        outside = max(float(wanted @ wanted - projected.sum()), 0.0)
        alpha, beta, last_ratio = 1.0, 1.0, np.inf
        for round_index in range(num_rounds + 1):
            ratio = alpha / beta
            weight = float((sigma * projected / (sigma + ratio) ** 2).sum())
            error = float((projected / (1 + sigma / ratio) ** 2).sum()) + outside
            if abs(ratio - last_ratio) / last_ratio <= 1e-3 or round_index == num_rounds:
                break
            gamma, last_ratio = float((sigma / (sigma + ratio)).sum()), ratio
            alpha, beta = gamma / (weight + 1e-5), (num - gamma) / (error + 1e-5)
        # The evidence at the last alpha and beta, with log|A| over all D directions.
        log_det = float(np.log(alpha + beta * sigma).sum()) + (dim - len(sigma)) * np.log(alpha)
        evidence = dim * np.log(alpha) + num * np.log(beta) - log_det - beta * error - alpha * weight
        scores.append((evidence - num * np.log(2 * np.pi)) / (2 * num))
    return float(np.mean(scores))


class StageReader(nn.Module):
    """Pooled outputs (N, D) of all stages, then for each BatchNorm mean and variance (N, C) by image of its input.

    It shares the tensors of the backbone, which stays as it is. `norms` holds the layers of each stage that keep
    statistics, in the order in which their means and variances come.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.poolings = stage_poolings(backbone.spec, backbone.stages)
        self.stages: nn.ModuleDict = share_module_tree(backbone.stages).eval()  # type: ignore[assignment]
        self.norms = {
            name: [
                module
                for module in stage.modules()
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None
            ]
            for name, stage in self.stages.items()
        }

    def extra_repr(self) -> str:
        """What the outputs depend on besides stages and weights: an export is kept under it."""
        return str(self.poolings)

    @property
    def num_outputs(self) -> int:
        """How many tensors `forward` returns."""
        return len(self.stages) + 2 * sum(len(norms) for norms in self.norms.values())

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W), as the network reads them."""
        met: dict[nn.Module, tuple[Tensor, Tensor]] = {}

        def listen(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            places = list(range(2, inputs[0].ndim))
            variance, mean = torch.var_mean(inputs[0], places, correction=0) if places else (inputs[0] * 0, inputs[0])
            met[norm] = (mean, variance)

        all_norms = [norm for norms in self.norms.values() for norm in norms]
        handles = [norm.register_forward_pre_hook(listen) for norm in all_norms]
        outputs, hidden = [], images
        try:
            for name, stage in self.stages.items():
                hidden = stage(hidden)
                outputs.append(pool_features(hidden, *self.poolings[name]).flatten(1))
        finally:
            for handle in handles:
                handle.remove()
        return (*outputs, *(value for norm in all_norms for value in met[norm]))
