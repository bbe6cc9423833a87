"""What features are asked for, the pass of the frozen stages over stored pixels that makes them, and their file."""

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import digest_of
from lib.checked_rows import Rows
from lib.data.augmentation import IDENTITY, POLICIES, View
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.errors import Stopped
from lib.features.engine import DEFAULT_BATCH, engine_key
from lib.features.frozen_stages import FrozenStages, frozen_backbone
from lib.out_of_memory import compute_in_parts
from lib.precision import autocast
from lib.progress import Progress

if TYPE_CHECKING:
    import torch

# Kept apart from "average", "flatten" and "none": the output of the stage as it is, for training the stages above it.
UNPOOLED = "unpooled"
WHAT = "Extracting features"
_FORMAT = 1


class CachedRequest(ABC):
    """What frozen stages give for all images of a data set, one row an image, kept under a name of its own."""

    dataset: Any
    batch_size: int
    is_mapped = False  # whether rows are read from the disk where they are asked for, not all at once

    @property
    @abstractmethod
    def key(self) -> str:
        """The cache's name for it: a hash of all that it depends on."""

    @abstractmethod
    def extraction(self) -> "Extraction":
        """Build the network that computes it."""

    @property
    def path(self) -> Path:
        """Where it is kept."""
        return entry_path("features", self.key)

    @property
    def num_images(self) -> int:
        """How many rows there are."""
        return len(self.dataset.pixels)

    def read(self) -> Rows | None:
        """The rows, or None if there are none or the file is damaged.

        A block whose checksum is wrong is computed again where it is read.
        """
        # Images that are known by name alone (`named_images`) would give other features.
        is_made = getattr(self.dataset, "is_made", True)
        remake = (
            (lambda rows: np.concatenate(list(self.extraction().batches(lambda: False, rows)))) if is_made else None
        )
        return read_entry(self.path, self.num_images, is_mapped=self.is_mapped, remake=remake)


@dataclass(frozen=True)
class FeatureRequest(CachedRequest):
    """Frozen outputs of all images of a data set (`pixels` and `version`), with nothing left open."""

    dataset: Any
    backbone_name: str
    weights: str
    seed: int
    stage: str
    pooling: str
    size_px: int
    dtype: str
    view: View
    device: str
    engine: str = "torch"
    batch_size: int = DEFAULT_BATCH

    @property
    def key(self) -> str:
        """The cache's name for them; where and in what batches they are computed does not count."""
        parts = (self.stage, self.pooling, self.size_px, self.dtype, view_key(self.view), *engine_key(self.engine))
        return feature_key(content_of(self.dataset), self.backbone_name, self.weights, self.seed, *parts)

    @property
    def is_mapped(self) -> bool:  # type: ignore[override]
        """Maps are; vectors are few."""
        return self.pooling == UNPOOLED

    def extraction(self) -> "Extraction":
        """The pass of the stages up to the one asked for."""
        return Extraction(self)


def content_of(dataset: Any) -> str:
    """What tells its images from others; a subset has fewer rows of the same version."""
    return str(getattr(dataset, "content_version", dataset.version))


class Extraction:
    """One pass of the frozen stages over the pixels of a request, by its engine, `batch_size` images at a time.

    The size never follows the clock: that of a batch may change the last digits of its features.
    """

    def __init__(self, request: FeatureRequest) -> None:
        self.request = request
        backbone = frozen_backbone(request.backbone_name, weights=request.weights, seed=request.seed)
        self.spec = backbone.spec
        self.network = FrozenStages(
            backbone.to(request.device).stages, size_px=request.size_px, engine=request.engine, last=request.stage
        )

    def batches(self, should_stop: Callable[[], bool], rows: range) -> Iterator[np.ndarray]:
        """Yield features of the consecutive images `rows`; raises Stopped between two batches or stages."""
        dataset, step = self.request.dataset, self.request.batch_size
        image_ids = self._image_ids()

        def check() -> None:
            if should_stop():
                raise Stopped("Stopped while extracting features.")

        def compute(part: range) -> np.ndarray:
            pixels, some_ids = dataset.pixels[part.start : part.stop], image_ids[part.start : part.stop]
            # The last batch is filled up, so that a feature does not depend on where a shard or a damaged block ends.
            return self._run(pixels, some_ids, step if part == batch else len(part), check)

        for start in range(rows.start, rows.stop, step):
            batch = range(start, min(start + step, rows.stop))
            yield np.concatenate(compute_in_parts(compute, batch))

    def _run(self, pixels: np.ndarray, image_ids: list[str], fill_to: int, check: Callable[[], None]) -> np.ndarray:
        import torch

        batch = self.batch(pixels, image_ids)
        if missing := fill_to - len(batch):
            filled = torch.cat([batch, batch[-1:].expand(missing, -1, -1, -1)])
            batch = filled.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), autocast(self.request.device, self.request.dtype):
            return self._outputs(batch, len(pixels), check).cpu().numpy()

    def _outputs(self, batch: "torch.Tensor", num_images: int, check: Callable[[], None]) -> "torch.Tensor":
        """What is kept of the first images of a batch, float32."""
        from lib.models.head_layers import pool_features

        wanted = self.request
        hidden = self.network.forward_until(batch, wanted.stage, check)[:num_images].float()
        if wanted.pooling == UNPOOLED:
            return hidden
        return pool_features(hidden, wanted.pooling, self.spec.stage(wanted.stage).num_prefix_tokens)

    def _image_ids(self) -> list[str]:
        """Of all images, where a view is drawn by them."""
        return self.request.dataset.table["image_id"].tolist() if self.request.view.policy else []

    def batch(self, pixels: np.ndarray, image_ids: list[str]) -> "torch.Tensor":
        """What enters the network (n, 3, size, size) of stored pixels (n, S, S, 3), in the view that is asked for."""
        import torch

        from lib.data.augmentation import turned, view_parameters
        from lib.data.input_transform import to_batch, warped_batch

        view, spec = self.request.view, self.spec
        form: dict[str, Any] = {
            "size_px": self.request.size_px, "mean": spec.mean, "std": spec.std, "resizing": spec.resizing,
            "device": self.request.device,
        }  # fmt: skip
        if view.policy:
            return warped_batch(pixels, view_parameters(view, image_ids), **form)
        batch = to_batch(pixels, **form)
        if view.element == IDENTITY:
            return batch
        return turned(batch, [view.element] * len(batch)).contiguous(memory_format=torch.channels_last)


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
    return digest_of(described)


def write_features(
    path: Path, batches: Iterator[np.ndarray], num_images: int, progress: Progress, *, copies_left: int = 1
) -> None:
    """Fill an entry of the cache, or a shard of one, batch by batch (lib/disk_cache)."""
    progress(0, num_images, WHAT)
    for done in write_entry(path, batches, num_images, copies_left=copies_left):
        progress(done, num_images, WHAT)


def view_key(view: View) -> str:
    """What the view adds to a key: its draw, and the ranges that it is drawn from."""
    return f"{view.key}/{POLICIES.get(view.policy).warp}" if view.policy else view.key
