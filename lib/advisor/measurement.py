"""Reads a data set through a network: images per class, distance to the source domain per stage, quick scores.

Only images of the training part are looked at, so that the test images have no say in the choice of a strategy.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.advisor.guide import Advice, Readings, StageReading, recommend
from lib.advisor.scores import feature_distance, logme, nearest_centroid_accuracy
from lib.checked_rows import Rows
from lib.data.augmentation import AS_IT_IS
from lib.data.enhanced_pixels import named_images
from lib.data.enhancement import EnhancementChain, fit_chain
from lib.data.splits import group_numbers
from lib.data.subset import RowsOfPixels
from lib.features.engine import TITLES
from lib.features.request import FeatureRequest
from lib.models.backbones import BACKBONES
from lib.progress import Progress, ignore_progress
from lib.training.config import TrainConfig
from lib.training.estimation.cache_plan import pixels_after
from lib.training.fit_splits import fit_splits

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lib.models.stages import Backbone

NUM_SAMPLED = 128  # images that run through the network for the statistics of its stages
NUM_SCORED = 512  # images whose features are scored, where they are in the cache already; else the sampled ones
_MIN_PER_CLASS = 8  # where there are many classes, only so many that each has that many images in the sample
_BATCH = 16


@dataclass
class _Moments:
    """Running sums over images and places of the channels (C,) that enter one BatchNorm layer."""

    count: int = 0
    total: Any = 0.0
    squares: Any = 0.0

    def add(self, values: "Tensor") -> None:
        places = [axis for axis in range(values.ndim) if axis != 1]
        variance, mean = values.detach().float().var(places, correction=0), values.detach().float().mean(places)
        own_mean, own_variance = mean.double().cpu().numpy(), variance.double().cpu().numpy()
        count = values.numel() // values.shape[1]
        self.count += count
        self.total = self.total + count * own_mean
        self.squares = self.squares + count * (own_variance + own_mean**2)

    def mean_and_variance(self) -> tuple[np.ndarray, np.ndarray]:
        mean = self.total / self.count
        return mean, np.maximum(self.squares / self.count - mean**2, 0.0)


@dataclass
class StageStatistics:
    """What one pass yields: pooled outputs (N, D) and the distance to the source of each stage.

    The distance is None in stages without BatchNorm: such a network keeps no statistics of the images that it learned.
    """

    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    distances: dict[str, float | None] = field(default_factory=dict)


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
        dataset: what takes part (lib/data/subset.py, `take_part`); only the training part of the config's split is
            read, with folds that of the first.
        config: whose backbone, split and preprocessing count; the backbone's pretrained weights must be at hand.
        device: where to compute.
        dtype: that a training would compute features in, to find those in the cache.
        progress: called after each batch.

    Raises:
        WeightsUnavailable: the pretrained weights are not at hand.
        UserError: an unknown network, or a data set too small to be split.
    """
    from lib.models.stages import build_backbone

    started, spec = time.perf_counter(), BACKBONES.get(config.backbone)
    targets = dataset.table["target"].to_numpy()
    units = group_numbers(dataset.table["group_id"].to_numpy(), len(targets))
    train_rows = np.flatnonzero(fit_splits(dataset, config)[0] == "train")
    chain = fit_chain(config.preprocessing, dataset.pixels, train_rows)
    counts = np.bincount(targets[train_rows], minlength=dataset.spec.num_classes)
    order = balanced_order(train_rows, targets)
    rows = np.sort(order[:NUM_SAMPLED])
    backbone = build_backbone(config.backbone, feature_only=True).to(device)
    found = stage_statistics(backbone, RowsOfPixels(pixels_after(dataset, chain), rows), progress=progress)
    stages = tuple(
        StageReading(name, found.distances[name], logme(values, targets[rows]) if _is_telling(targets[rows]) else None)
        for name, values in found.outputs.items()
    )
    features, scored, was_cached = found.outputs[spec.feature_stage], rows, False
    kept = _cached_features(dataset, chain, config.backbone, dtype)
    if kept is not None:
        scored, was_cached = np.sort(order[:NUM_SCORED]), True
        features = kept[scored].reshape(len(scored), -1)
    progress(len(rows), len(rows), "scoring features")
    readings = Readings(
        least_per_class=int(counts.min()),
        num_classes=int((np.unique(targets[scored], return_counts=True)[1] > 1).sum()),
        stages=stages,
        nearest_centroid=nearest_centroid_accuracy(features, targets[scored], units[scored]),
        logme=logme(features, targets[scored]) if _is_telling(targets[scored]) else None,
        num_train=len(train_rows),
        num_sampled=len(rows),
        num_scored=len(scored),
        was_cached=was_cached,
        seconds=time.perf_counter() - started,
    )
    return recommend(readings, {stage.name: stage.label for stage in spec.stages})


def stage_statistics(
    backbone: "Backbone", pixels: np.ndarray | RowsOfPixels, *, progress: Progress = ignore_progress
) -> StageStatistics:
    """Run images (N, S, S, 3) uint8 once through a network; returns outputs and distances by stage.

    The source's statistics are the running means and variances of the BatchNorm layers: those of the images that the
    network was trained on, at the place where the same channels of these images are measured.
    """
    import torch

    from lib.data.preprocessing import to_batch
    from lib.models.classifier import pool_features

    spec, device = backbone.spec, next(backbone.parameters()).device
    moments: dict[str, dict[nn.Module, _Moments]] = {name: {} for name in backbone.stages}
    handles = [
        module.register_forward_pre_hook(_listener(moments[name], module))
        for name, stage in backbone.stages.items()
        for module in stage.modules()
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d) and module.running_mean is not None
    ]
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in backbone.stages}

    def run(batch: np.ndarray) -> None:
        h = to_batch(
            batch, size_px=spec.input_size_px, mean=spec.mean, std=spec.std, resizing=spec.resizing, device=device
        )
        for name, stage in backbone.stages.items():
            h = stage(h)
            own = spec.pooling if name == spec.feature_stage else spec.stage(name).poolings[0]
            pooled = pool_features(h, own, spec.stage(name).num_prefix_tokens).flatten(1)
            pieces[name].append(pooled.float().cpu().numpy())

    try:
        with torch.inference_mode():
            for start in range(0, len(pixels), _BATCH):
                run(pixels[start : start + _BATCH])
                progress(min(start + _BATCH, len(pixels)), len(pixels), "reading images")
    finally:
        for handle in handles:
            handle.remove()
    outputs = {name: np.concatenate(values) for name, values in pieces.items()}
    return StageStatistics(outputs, {name: _distance(layers) for name, layers in moments.items()})


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


def _is_telling(targets: np.ndarray) -> bool:
    return len(np.unique(targets)) > 1


def _listener(
    moments: "dict[nn.Module, _Moments]", module: "nn.Module"
) -> "Callable[[nn.Module, tuple[Tensor, ...]], None]":
    own = moments[module] = _Moments()

    def listen(_: "nn.Module", inputs: "tuple[Tensor, ...]") -> None:
        own.add(inputs[0])

    return listen


def _distance(layers: "dict[nn.Module, _Moments]") -> float | None:
    """Over all channels of a stage's BatchNorm layers; None without any."""
    parts = []
    for norm, moments in layers.items():
        mean, variance = moments.mean_and_variance()
        # With the layer's own epsilon, as the network itself divides: channels that are nearly off stay quiet.
        source = np.asarray(norm.running_var.double().cpu()) + norm.eps  # type: ignore[operator, union-attr]
        parts.append((mean, variance + norm.eps, np.asarray(norm.running_mean.double().cpu()), source))  # type: ignore[operator, union-attr]
    return feature_distance(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else None


def _cached_features(dataset: Any, chain: EnhancementChain, backbone_name: str, dtype: str) -> Rows | None:
    """The features that a linear probe left in the cache, (N, D) in the order of the table."""
    spec = BACKBONES.get(backbone_name)
    requests = (
        FeatureRequest(
            named_images(dataset, chain), backbone_name, "pretrained", 0, spec.feature_stage, spec.pooling,
            spec.input_size_px, dtype, AS_IT_IS, "cpu", engine,
        )
        for engine in TITLES
    )  # fmt: skip
    return next(filter(None.__ne__, (request.read() for request in requests)), None)
