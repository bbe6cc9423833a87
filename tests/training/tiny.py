"""A staged network of a few hundred parameters, and coloured squares that it can learn in a few steps."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lib.training.config import TrainConfig
from lib.training.inputs import BatchTransform, FitData, ImageInputs

SIDE_PX = 32


@dataclass(frozen=True)
class TinyStage:
    name: str
    output: str = "map"


class TinyNetwork(nn.Module):
    """Two convolutions with BatchNorm, average pooling, dropout and a linear head, by the staged network's protocol."""

    def __init__(self, num_classes: int = 2, *, dropout: float = 0.2, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stages = nn.ModuleDict(
            {
                "low": nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
                "high": nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            }
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(8, num_classes))
        self.feature_stage, self.pooling = "high", "average"

    @property
    def stage_specs(self) -> tuple[TinyStage, ...]:
        return TinyStage("low"), TinyStage("high"), TinyStage("head", "vector")

    def forward_until(self, x: Tensor, stage: str) -> Tensor:
        return self._run(x, 0, stage)

    def forward_between(self, h: Tensor, after: str, until: str) -> Tensor:
        return self._run(h, self._index(after) + 1, until)

    def forward_after(self, h: Tensor, stage: str) -> Tensor:
        return self._run(h, self._index(stage) + 1, "head")

    def pooled(self, h: Tensor) -> Tensor:
        return h.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_until(x, "head")

    def train(self, mode: bool = True) -> "TinyNetwork":
        super().train(mode)
        if mode:
            for stage in self.stages.values():
                stage.train(any(p.requires_grad for p in stage.parameters()))
        return self

    def _index(self, name: str) -> int:
        return [stage.name for stage in self.stage_specs].index(name)

    def _run(self, h: Tensor, first: int, last: str) -> Tensor:
        for stage in self.stage_specs[first : self._index(last) + 1]:
            h = self.head(h.mean((2, 3))) if stage.name == "head" else self.stages[stage.name](h)
        return h


def colour_images(num_images: int = 8, *, num_classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise whose left half is tinted by class: pixels uint8 (N, 32, 32, 3), targets (N,)."""
    generator = np.random.default_rng(seed)
    targets = np.arange(num_images) % num_classes
    pixels = generator.integers(60, 120, (num_images, SIDE_PX, SIDE_PX, 3))
    for row, target in enumerate(targets):
        pixels[row, :, : SIDE_PX // 2, target % 3] += 100
    return pixels.astype(np.uint8), targets


def tiny_data(num_images: int = 8, *, num_classes: int = 2, flips: bool = True) -> FitData:
    """All images train, and the same images validate: what an overfitting test needs."""
    pixels, targets = colour_images(num_images, num_classes=num_classes)
    transform = BatchTransform(SIDE_PX, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    image_ids = [f"image{row}" for row in range(num_images)]
    rows = np.arange(num_images)
    return FitData(
        ImageInputs(pixels, image_ids, transform, 7, "flip" if flips else "none"), targets, rows, rows, num_classes
    )


def tiny_config(**changes: object) -> TrainConfig:
    settings: dict = {
        "dataset": "tiny", "strategy": "from_scratch", "epochs": 4, "learning_rate": 0.02, "batch_size": 4,
        "patience": 100, "seed": 3,
    }  # fmt: skip
    return TrainConfig(**(settings | changes))
