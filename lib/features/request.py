"""What features are asked for, under which name they are kept, and how the file is read and written."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.checked_rows import Rows
from lib.data.augmentation import POLICIES, View
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.features.engine import DEFAULT_BATCH, engine_key
from lib.features.extraction import UNPOOLED, Extraction
from lib.progress import Progress

WHAT = "Extracting features"
_FORMAT = 1


@dataclass(frozen=True)
class FeatureRequest:
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
        # A subset has fewer rows of the same version.
        content = getattr(self.dataset, "content_version", self.dataset.version)
        return feature_key(content, self.backbone_name, self.weights, self.seed, *parts)

    @property
    def path(self) -> Path:
        """Where they are kept."""
        return entry_path("features", self.key)

    @property
    def num_images(self) -> int:
        """How many rows there are."""
        return len(self.dataset.pixels)

    def read(self) -> Rows | None:
        """The features (memory-mapped if unpooled), or None if there are none or the file is damaged.

        A block whose checksum is wrong is computed again where it is read.
        """
        # Images that are known by name alone (`named_images`) would give other features.
        remake = self._remake if getattr(self.dataset, "is_made", True) else None
        return read_entry(self.path, self.num_images, is_mapped=self.pooling == UNPOOLED, remake=remake)

    def _remake(self, rows: range) -> np.ndarray:
        return np.concatenate(list(self.extraction().batches(self.dataset, lambda: False, rows)))

    def extraction(self) -> Extraction:
        """The network, built anew, that computes them."""
        from lib.features.backbone import frozen_backbone

        backbone = frozen_backbone(self.backbone_name, weights=self.weights, seed=self.seed).to(self.device)
        return Extraction(
            backbone, self.stage, self.pooling, self.size_px, self.dtype, self.view, self.device, self.engine,
            self.batch_size,
        )  # fmt: skip


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
