"""A stand-in for MobileNetV3-small: its stages by name, kind and scale, each one convolution.

Building, calibrating, folding and running the real one is most of the time of a test that trains it for two epochs on
24 images, and says nothing that this one does not. `mobilenet_v3_small` itself is tested in tests/models and
tests/features. Fewer pictures calibrate it, a head is fitted with every second penalty,
and the default judge of strange images looks at smaller ones.
"""

from dataclasses import replace
from functools import lru_cache

import pytest
from torch import Tensor, nn

from lib.features import frozen_stages, judge
from lib.models.backbones import BACKBONES
from lib.training import sklearn_heads

NAME = "mobilenet_v3_small"
# Stage: (channels, stride); the strides are MobileNetV3's.
_MAPS = {
    "stem": (16, 2), "block1": (24, 2), "block2": (32, 2), "block3": (48, 2), "block4": (64, 1), "block5": (96, 2),
    "head_conv": (192, 1),
}  # fmt: skip
_FC1 = 96


class QuickNetwork(nn.Module):
    """Seven convolutions with BatchNorm, their average, a fully connected layer, dropout and classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        before = 3
        for name, (channels, stride) in _MAPS.items():
            convolution = nn.Conv2d(before, channels, 3, stride=stride, padding=1, bias=False)
            self.add_module(name, nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU()))
            before = channels
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc1 = nn.Sequential(nn.Linear(before, _FC1), nn.Hardswish())
        self.logits = nn.Sequential(nn.Dropout(0.2), nn.Linear(_FC1, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in, logits (N, K) out."""
        for stage in self.children():
            x = stage(x)
        return x


@lru_cache(maxsize=1)
def _quick_judge(device: str) -> judge.Judge:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "JUDGE_SIZE_PX", 64)
        return judge.default_judge.__wrapped__(device)


def register(patch: pytest.MonkeyPatch) -> None:
    """Let the table's entry be the stand-in, in this process, until the patch is undone."""
    spec = BACKBONES.get(NAME)
    channels = {name: number for name, (number, _) in _MAPS.items()} | {"pool": _MAPS["head_conv"][0], "fc1": _FC1}
    network = QuickNetwork(spec.stages[-1].num_channels)
    stages = tuple(
        replace(
            stage,
            num_channels=channels.get(stage.name, stage.num_channels),
            num_parameters=sum(one.numel() for one in network.get_submodule(stage.name).parameters()),
            modules=stage.name,
        )
        for stage in spec.stages
    )
    stand_in = replace(spec, network=f"{__name__}:QuickNetwork", stages=stages)
    patch.setitem(BACKBONES._specs, NAME, stand_in)
    patch.setattr(frozen_stages, "_NUM_CALIBRATION_IMAGES", 8)
    for grid in ("PENALTY_GRID", "SVM_PENALTY_GRID"):  # whose choice tests/training/test_sklearn_heads.py looks at
        patch.setattr(sklearn_heads, grid, getattr(sklearn_heads, grid)[1::2])
    for domain in ("lib.training.domain", "lib.grading.domain"):
        patch.setattr(f"{domain}.default_judge", _quick_judge)
