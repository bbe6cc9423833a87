"""A network with a detector of red and one of blue, and images in which red spots are planted at known places."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lib.data.input_transform import InputTransform
from lib.models.backbone_spec import StageSpec
from lib.models.stages import StagedNetwork

SIDE = 32
INPUTS = InputTransform(SIDE, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
# Image -> row and column of its planted spot on the map of "spots" (8 x 8), and how red it is, of 255.
SPOTS = {3: ((2, 5), 255), 7: ((6, 1), 225), 10: ((0, 0), 195), 12: ((7, 7), 165)}
RED, BLUE, DEAD = 0, 1, 2


class PlantedNetwork(StagedNetwork):
    """colours (3 x 32 x 32): red, blue and nothing -> spots (3 x 8 x 8), the largest of 4 x 4 -> logits (2)."""

    def __init__(self, *, kind: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        colours = nn.Conv2d(3, 3, 3, padding=1)
        with torch.no_grad():
            colours.weight.zero_()
            colours.weight[RED] = torch.tensor([1.0, -1.0, -1.0])[:, None, None] / 9
            colours.weight[BLUE] = torch.tensor([-1.0, -1.0, 1.0])[:, None, None] / 9
            colours.bias.zero_()
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
        spots = nn.MaxPool2d(4)
        self.stages = nn.ModuleDict({"colours": nn.Sequential(colours, kind()), "spots": spots, "logits": head})
        self.eval()

    @property
    def stage_specs(self) -> tuple[StageSpec, ...]:
        return tuple(StageSpec(name, name, "vector" if name == "logits" else "map", 3) for name in self.stages)

    @property
    def steps(self) -> nn.ModuleDict:
        return self.stages


class Failing(PlantedNetwork):
    """Fails at its second stage."""

    def forward_until(self, x: Tensor, stage: str) -> Tensor:
        if stage == "spots":
            raise RuntimeError("no")
        return super().forward_until(x, stage)


@dataclass(frozen=True)
class PlantedImages:
    """Sixteen dark grey images, some with a red spot of 4 x 4 pixels; those are called "spotted"."""

    pixels: np.ndarray
    table: pd.DataFrame
    class_names: tuple[str, ...] = ("plain", "spotted")
    version: str = "one"


def planted_images() -> PlantedImages:
    pixels = np.random.default_rng(0).integers(40, 60, (16, SIDE, SIDE, 1), dtype=np.uint8).repeat(3, axis=3)
    for row, ((i, j), red) in SPOTS.items():
        pixels[row, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = (red, 0, 0)
    targets = [int(row in SPOTS) for row in range(16)]
    table = pd.DataFrame({"image_id": [f"image{row:02d}" for row in range(16)], "target": targets})
    return PlantedImages(pixels, table)


def state_of(network: nn.Module) -> dict[str, object]:
    """What must be as it was: tensors, gradients, what is trained, modes and hooks."""
    tensors = network.state_dict(keep_vars=True)
    return {
        "tensors": {name: (id(one), one.detach().clone().tolist()) for name, one in tensors.items()},
        "gradients": [one.grad for one in network.parameters()],
        "trained": [one.requires_grad for one in network.parameters()],
        "modes": [one.training for one in network.modules()],
        "hooks": [
            len(one._forward_hooks) + len(one._forward_pre_hooks) + len(one._backward_hooks)
            for one in network.modules()
        ],
    }
