"""A network of four stages that has the StagedNetwork protocol, small enough to work out by hand."""

import torch
from torch import Tensor, nn

from lib.models.backbones import StageSpec


class TinyNetwork(nn.Module):
    """stem (8 x 16 x 16) -> middle (12 x 8 x 8) -> last (16 x 4 x 4) -> logits (5), with BatchNorm and dropout."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.stages = nn.ModuleDict(
                {
                    "stem": nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
                    "middle": nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12)),
                    "last": nn.Sequential(nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU()),
                    "logits": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 5)),
                }
            )
        self.eval()

    @property
    def stage_specs(self) -> tuple[StageSpec, ...]:
        return tuple(StageSpec(name, name.title(), "vector" if name == "logits" else "map") for name in self.stages)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_until(x, "logits")

    def forward_until(self, x: Tensor, stage: str) -> Tensor:
        return self._run(x, 0, self._index(stage) + 1)

    def forward_between(self, h: Tensor, after: str, until: str) -> Tensor:
        return self._run(h, self._index(after) + 1, self._index(until) + 1)

    def forward_after(self, h: Tensor, stage: str) -> Tensor:
        return self._run(h, self._index(stage) + 1, len(self.stages))

    def _index(self, stage: str) -> int:
        return list(self.stages).index(stage)

    def _run(self, h: Tensor, first: int, end: int) -> Tensor:
        for module in list(self.stages.values())[first:end]:
            h = module(h)
        return h


class LookupNetwork(TinyNetwork):
    """Answers with one of its remembered targets, like a nearest-neighbour head: no gradient."""

    def forward_after(self, h: Tensor, stage: str) -> Tensor:
        nearest = super().forward_after(h, stage).argmax(dim=1)
        return torch.nn.functional.one_hot(nearest, 5).float()


def tiny_batch(n: int = 1, seed: int = 1) -> Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
