"""Reads a data set through a network: images per class, distance to the source domain per stage, quick scores.

Only images of the training part are looked at, so that the test images have no say in the choice of a strategy.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
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
from lib.features.engine import TITLES, EngineChoice, FrozenPart, recorded_choices
from lib.features.onnx_session import EngineUnavailable, OnnxSession
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
_BY_TORCH = EngineChoice()
_MIN_PER_CLASS = 8  # where there are many classes, only so many that each has that many images in the sample


@dataclass
class StageStatistics:
    """What one pass yields: pooled outputs (N, D) and the distance to the source of each stage.

    The distance is None in stages without BatchNorm: such a network keeps no statistics of the images that it learned.
    """

    outputs: dict[str, np.ndarray]
    distances: dict[str, float | None]


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
    part = FrozenPart(config.backbone, "pretrained", 0, spec.feature_stage, spec.input_size_px, dtype)
    found = stage_statistics(
        backbone, RowsOfPixels(pixels_after(dataset, chain), rows), progress=progress,
        engine=recorded_choices().get(part.key, _BY_TORCH) if device == "cpu" else _BY_TORCH,
    )  # fmt: skip
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
    backbone: "Backbone",
    pixels: np.ndarray | RowsOfPixels,
    *,
    engine: EngineChoice = _BY_TORCH,
    progress: Progress = ignore_progress,
) -> StageStatistics:
    """Run images (N, S, S, 3) uint8 once through a network; returns outputs and distances by stage.

    The source's statistics are the running means and variances of the BatchNorm layers: those of the images that the
    network was trained on, at the place where the same channels of these images are measured. That place is gone where
    BatchNorm is folded away, so it is not here; ONNX Runtime puts out means and variances beside the pooled outputs.
    """
    import torch

    from lib.data.preprocessing import to_batch
    from lib.models.stage_reader import StageReader

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
    moments = iter(found[len(outputs) :])
    distances = {
        name: _distance([(norm, next(moments), next(moments)) for norm in norms])
        for name, norms in reader.norms.items()
    }
    return StageStatistics(outputs, distances)


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


def _distance(layers: "list[tuple[nn.Module, np.ndarray, np.ndarray]]") -> float | None:
    """Over all channels of a stage's BatchNorm layers, each with means and variances (N, C) by image; None without."""
    parts = []
    for norm, means, variances in layers:
        mean = means.mean(0, dtype=np.float64)
        # Images have equally many places: within images, and between their means.
        variance = variances.mean(0, dtype=np.float64) + means.var(0, dtype=np.float64)
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
