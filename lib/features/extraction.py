"""One pass of the frozen stages over stored pixels."""

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


@dataclass(frozen=True)
class Extraction:
    """One pass of the frozen stages over pixels, by an engine, `batch_size` images at a time.

    The size never follows the clock: that of a batch may change the last digits of its features.
    """

    backbone: "Backbone"
    stage: str
    pooling: str
    size_px: int
    dtype: str
    view: View
    device: str
    engine: str
    batch_size: int

    def batches(self, dataset: Any, should_stop: Callable[[], bool], rows: range) -> Iterator[np.ndarray]:
        """Yield features of the consecutive images `rows`; raises Stopped between two batches or stages."""
        image_ids = dataset.table["image_id"].tolist() if self.view.policy else []

        def check() -> None:
            if should_stop():
                raise Stopped("Stopped while extracting features.")

        def compute(part: range) -> np.ndarray:
            pixels, some_ids = dataset.pixels[part.start : part.stop], image_ids[part.start : part.stop]
            # The last batch is filled up, so that a feature does not depend on where a shard or a damaged block ends.
            return self._run(pixels, some_ids, self.batch_size if part == batch else len(part), check)

        for start in range(rows.start, rows.stop, self.batch_size):
            batch = range(start, min(start + self.batch_size, rows.stop))
            yield np.concatenate(compute_in_parts(compute, batch))

    @cached_property
    def _network(self) -> FrozenStages:
        return FrozenStages(self.backbone.stages, size_px=self.size_px, engine=self.engine, last=self.stage)

    def _run(self, pixels: np.ndarray, image_ids: list[str], fill_to: int, check: Callable[[], None]) -> np.ndarray:
        import torch

        from lib.models.classifier import pool_features

        batch = self._batch(pixels, image_ids)
        if missing := fill_to - len(batch):
            filled = torch.cat([batch, batch[-1:].expand(missing, -1, -1, -1)])
            batch = filled.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(self.device, self.dtype):
            hidden = self._network.forward_until(batch, self.stage, check)
        hidden = hidden[: len(pixels)].float()
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
