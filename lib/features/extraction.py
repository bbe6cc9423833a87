"""One pass of the frozen stages over stored pixels."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.augmentation import IDENTITY, View
from lib.errors import Stopped
from lib.features.frozen_stages import FrozenStages
from lib.out_of_memory import compute_in_parts
from lib.precision import autocast

if TYPE_CHECKING:
    import torch

    from lib.models.stages import Backbone

# Kept apart from "average", "flatten" and "none": the output of the stage as it is, for training the stages above it.
UNPOOLED = "unpooled"
_FIRST_BATCH, _LARGEST_BATCH = 8, 32
_SLOW_BATCH_S = 1.0  # a stop is heard between batches, so slow networks and busy machines work in smaller ones


@dataclass(frozen=True)
class Extraction:
    """One pass of the frozen stages over pixels, by an engine that likes batches of `batch_size` images best."""

    backbone: "Backbone"
    stage: str
    pooling: str
    size_px: int
    dtype: str
    view: View
    device: str
    engine: str = "torch"
    batch_size: int = _LARGEST_BATCH

    def batches(self, dataset: Any, should_stop: Callable[[], bool], rows: range) -> Iterator[np.ndarray]:
        """Yield features of the consecutive images `rows`, in batches small enough to hear a stop."""
        largest = min(_LARGEST_BATCH, self.batch_size)
        start, batch_size = rows.start, min(_FIRST_BATCH, largest)
        image_ids = dataset.table["image_id"].tolist() if self.view.policy else []
        while start < rows.stop:
            if should_stop():
                raise Stopped("Stopped while extracting features.")
            began = time.perf_counter()
            batch = range(start, min(start + batch_size, rows.stop))

            def compute(part: range) -> np.ndarray:
                return self._run(dataset.pixels[part.start : part.stop], image_ids[part.start : part.stop])

            yield np.concatenate(compute_in_parts(compute, batch))
            start = batch.stop
            seconds = time.perf_counter() - began
            if seconds > _SLOW_BATCH_S:
                batch_size = max(1, batch_size // 2)
            elif seconds < _SLOW_BATCH_S / 4:
                batch_size = min(largest, batch_size * 2)

    @cached_property
    def _network(self) -> FrozenStages:
        return FrozenStages(self.backbone.stages, size_px=self.size_px, engine=self.engine, last=self.stage)

    def _run(self, pixels: np.ndarray, image_ids: list[str]) -> np.ndarray:
        import torch

        from lib.models.classifier import pool_features

        with torch.inference_mode(), autocast(self.device, self.dtype):
            hidden = self._network.forward_until(self._batch(pixels, image_ids), self.stage)
        hidden = hidden.float()
        num_prefix = self.backbone.spec.stage(self.stage).num_prefix_tokens
        pooled = hidden if self.pooling == UNPOOLED else pool_features(hidden, self.pooling, num_prefix)
        return pooled.cpu().numpy()

    def _batch(self, pixels: np.ndarray, image_ids: list[str]) -> "torch.Tensor":
        import torch

        from lib.data.augmentation import turned, view_parameters
        from lib.data.preprocessing import to_batch, warped_batch

        spec = self.backbone.spec
        if self.view.policy:
            drawn = view_parameters(self.view, image_ids)
            return warped_batch(
                pixels, drawn, size_px=self.size_px, mean=spec.mean, std=spec.std, resizing=spec.resizing,
                device=self.device,
            )  # fmt: skip
        batch = to_batch(
            pixels, size_px=self.size_px, mean=spec.mean, std=spec.std, resizing=spec.resizing, device=self.device
        )
        if self.view.element == IDENTITY:
            return batch
        return turned(batch, [self.view.element] * len(batch)).contiguous(memory_format=torch.channels_last)
