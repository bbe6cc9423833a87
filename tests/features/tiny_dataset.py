"""A data set in memory, with what sessions and caches read of one."""

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pandas as pd

from lib.data.specs import DatasetSpec
from lib.data.splits import assign_splits
from lib.errors import UserError


@cache
def _assign_splits(targets: tuple[int, ...], split_seed: int, num_folds: int | None, fold: int | None) -> np.ndarray:
    return assign_splits(np.array(targets), None, None, split_seed=split_seed, num_folds=num_folds, fold=fold)


@dataclass
class TinyDataset:
    """Noise images (N, 32, 32, 3) whose left half is tinted by class."""

    num_images: int = 24
    num_classes: int = 2
    counts: tuple[int, ...] = ()
    seed: int = 0
    version: str = "v1"
    name: str = "tiny"
    names: tuple[str, ...] = ()
    spec: DatasetSpec = field(init=False)
    table: pd.DataFrame = field(init=False)
    pixels: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        if self.counts:
            targets = np.repeat(np.arange(len(self.counts)), self.counts)
            self.num_images, self.num_classes = len(targets), len(self.counts)
        else:
            targets = np.arange(self.num_images) % self.num_classes
        generator = np.random.default_rng(self.seed)
        pixels = generator.integers(60, 120, (self.num_images, 32, 32, 3))
        for row, target in enumerate(targets):
            pixels[row, :, :16, target % 3] += 100
        self.pixels = pixels.astype(np.uint8)
        names = self.names or tuple("abcdefgh"[: self.num_classes])
        self.spec = DatasetSpec(name=self.name, title="Tiny", class_names=names, store_side_px=32)
        image_ids = [f"{row:016x}" for row in range(self.num_images)]
        self.table = pd.DataFrame({"image_id": image_ids, "target": targets, "group_id": "", "split": ""})

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.spec.class_names

    def at_version(self, version: str) -> "TinyDataset":
        raise UserError(f"No version {version}.")

    def split(self, split_seed: int, *, num_folds: int | None = None, fold: int | None = None) -> np.ndarray:
        targets = tuple(self.table["target"].tolist())
        return _assign_splits(targets, split_seed, num_folds, fold).copy()
