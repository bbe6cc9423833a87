"""Frozen stages run once per image: their output is kept on disk under a hash of everything that it depends on."""

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.augmentation import AS_IT_IS, IDENTITY, POLICIES, View
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.errors import Stopped
from lib.memory import compute_in_parts
from lib.models.backbones import BACKBONES
from lib.progress import Progress, ignore_progress
from lib.runtime import autocast

if TYPE_CHECKING:
    import torch

    from lib.models.stages import Backbone

# Kept apart from "average", "flatten" and "none": the output of the stage as it is, for training the stages above it.
UNPOOLED = "unpooled"
_FORMAT = 1
_FIRST_BATCH, _LARGEST_BATCH = 8, 32
_SLOW_BATCH_S = 1.0  # a stop is heard between batches, so slow networks and busy machines work in smaller ones
_WHAT = "Extracting features"


@dataclass(frozen=True)
class FeatureSet:
    """Frozen outputs of all images in the order of the data set's table.

    `features` is float32, (N, D) pooled or (N, C, H, W) unpooled (then memory-mapped); `seconds` and
    `images_per_second` tell what this call took; `key` is the cache's name for it.
    """

    features: np.ndarray
    seconds: float
    was_cached: bool
    key: str
    images_per_second: float


def extract_features(
    dataset: Any,
    *,
    backbone_name: str,
    weights: str = "pretrained",
    seed: int = 0,
    feature_stage: str | None = None,
    pooling: str | None = None,
    input_size_px: int | None = None,
    dtype: str = "float32",
    view: View = AS_IT_IS,
    device: str = "cpu",
    copies_left: int = 1,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> FeatureSet:
    """Return the frozen features of every image, from the cache where they are; a hit builds no network.

    Args:
        dataset: has `pixels` (N, S, S, 3) uint8 and `version`.
        backbone_name: a name in `BACKBONES`.
        weights: "pretrained" or "random" (then `seed` counts).
        seed: of random weights.
        feature_stage: by default the table's.
        pooling: "average", "flatten", "none", or `UNPOOLED`; by default the table's.
        input_size_px: by default the weights' own.
        dtype: "float32" or "bfloat16" (computed under autocast; pooled and kept in float32).
        view: how every image is laid or drawn first (lib/data/augmentation.py).
        device: where to compute.
        copies_left: how many sets of this size are still to be kept, this one included: the disk must hold them all.
        progress: called after each batch.
        should_stop: asked before each batch.

    Raises:
        Stopped: `should_stop()` turned true; nothing is left behind.
        UserError: the disk has not enough room.
        WeightsUnavailable: pretrained weights are needed and not at hand.
    """
    spec = BACKBONES.get(backbone_name)
    stage, pooling = feature_stage or spec.feature_stage, pooling or spec.pooling
    size_px = input_size_px or spec.input_size_px
    started = time.perf_counter()
    content = getattr(dataset, "content_version", dataset.version)  # a subset has fewer rows of the same version
    key = feature_key(content, backbone_name, weights, seed, stage, pooling, size_px, dtype, _view_key(view))
    path = entry_path("features", key)
    num_images = len(dataset.pixels)
    features = read_entry(path, num_images, is_mapped=pooling == UNPOOLED)
    if features is not None:
        progress(num_images, num_images, _WHAT)
        return FeatureSet(features, time.perf_counter() - started, was_cached=True, key=key, images_per_second=0.0)
    from lib.features.backbone import frozen_backbone

    backbone = frozen_backbone(backbone_name, weights=weights, seed=seed).to(device)
    run = _Extraction(backbone, stage, pooling, size_px, dtype, view, device)
    progress(0, num_images, _WHAT)
    for done in write_entry(path, run.batches(dataset, should_stop), num_images, copies_left=copies_left):
        progress(done, num_images, _WHAT)
    seconds = time.perf_counter() - started
    features = read_entry(path, num_images, is_mapped=pooling == UNPOOLED)
    if features is None:
        raise RuntimeError(f"The features just written to {path} cannot be read back.")
    return FeatureSet(features, seconds, was_cached=False, key=key, images_per_second=num_images / max(seconds, 1e-9))


def cached_views(dataset: Any, config: Any, stage: str, pooling: str, *, dtype: str, views: Sequence[View]) -> int:
    """How many of these views of a data set are in the cache already, for the network of a resolved config."""
    content, spec = getattr(dataset, "content_version", dataset.version), BACKBONES.get(config.backbone)
    size_px = config.input_size_px or spec.input_size_px
    found = 0
    for view in views:
        start = (content, config.backbone, config.weights, config.seed)
        key = feature_key(*start, stage, pooling, size_px, dtype, _view_key(view))
        found += entry_path("features", key).is_file()
    return found


def feature_key(dataset_version: str, backbone_name: str, weights: str, seed: int, *parts: object) -> str:
    """Content hash of everything that the features depend on, the libraries' versions included."""
    from lib.models.weights import weights_digest

    described = {
        "format": _FORMAT,
        "dataset": dataset_version,
        "backbone": backbone_name,
        "weights": weights_digest(backbone_name, weights, seed),
        "is_random": weights == "random",
        "parts": [str(part) for part in parts],
        "versions": [importlib.metadata.version(package) for package in ("torch", "torchvision")],
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


def _view_key(view: View) -> str:
    """What the view adds to a key: its draw, and the ranges that it is drawn from."""
    return f"{view.key}/{POLICIES.get(view.policy).warp}" if view.policy else view.key


@dataclass(frozen=True)
class _Extraction:
    """One pass of the frozen stages over pixels."""

    backbone: "Backbone"
    stage: str
    pooling: str
    size_px: int
    dtype: str
    view: View
    device: str

    def batches(self, dataset: Any, should_stop: Callable[[], bool]) -> Iterator[np.ndarray]:
        """Yield features of consecutive images, in batches small enough to hear a stop."""
        start, batch_size, num_images = 0, _FIRST_BATCH, len(dataset.pixels)
        image_ids = dataset.table["image_id"].tolist() if self.view.policy else []
        while start < num_images:
            if should_stop():
                raise Stopped("Stopped while extracting features.")
            began = time.perf_counter()
            rows = slice(start, start + batch_size)

            def compute(part: range) -> np.ndarray:
                return self._run(dataset.pixels[part.start : part.stop], image_ids[part.start : part.stop])

            yield np.concatenate(compute_in_parts(compute, range(num_images)[rows]))
            start += batch_size
            seconds = time.perf_counter() - began
            if seconds > _SLOW_BATCH_S:
                batch_size = max(1, batch_size // 2)
            elif seconds < _SLOW_BATCH_S / 4:
                batch_size = min(_LARGEST_BATCH, batch_size * 2)

    def _run(self, pixels: np.ndarray, image_ids: list[str]) -> np.ndarray:
        import torch

        from lib.models.classifier import pool_features

        with torch.inference_mode(), autocast(self.device, self.dtype):
            hidden = self.backbone.forward_until(self._batch(pixels, image_ids), self.stage)
        hidden = hidden.float()
        pooled = hidden if self.pooling == UNPOOLED else pool_features(hidden, self.pooling)
        return pooled.cpu().numpy()

    def _batch(self, pixels: np.ndarray, image_ids: list[str]) -> "torch.Tensor":
        import torch

        from lib.data.augmentation import turned, view_parameters
        from lib.data.preprocessing import to_batch, warped_batch

        spec = self.backbone.spec
        if self.view.policy:
            drawn = view_parameters(self.view, image_ids)
            return warped_batch(pixels, drawn, size_px=self.size_px, mean=spec.mean, std=spec.std, device=self.device)
        batch = to_batch(pixels, size_px=self.size_px, mean=spec.mean, std=spec.std, device=self.device)
        if self.view.element == IDENTITY:
            return batch
        return turned(batch, [self.view.element] * len(batch)).contiguous(memory_format=torch.channels_last)
