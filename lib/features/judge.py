"""A pretrained network that says how alike images are, read at several stages: a frozen classifier's own, or a default.

Measured on the recorded demo's 500 generated eyes against photographs, text, noise, plain colour and diagrams: the
default at 128 px tells them apart as well as at 224 px (all of them three times beyond the limit, on the scale of the
held-out eyes). So do MobileNetV2 and the bundled network: a frozen run is its own judge, and computes nothing twice.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.input_transform import InputTransform
from lib.features.frozen_stages import FrozenStages, frozen_backbone
from lib.models.backbone_spec import BackboneSpec
from lib.models.backbones import BACKBONES
from lib.precision import autocast

if TYPE_CHECKING:
    from lib.models.classifier import Poolings

JUDGE = "efficientnet_lite0"  # its weights come with a package, so that it is at hand on every machine
JUDGE_SIZE_PX = 128
_DEPTHS = (0.25, 0.5)  # beside the last: early stages see texture and colour, late ones things
_BATCH = 16


def judged_stages(spec: BackboneSpec, last: str) -> tuple[str, ...]:
    """The stages up to `last` at which images are compared, at most three, the last one last."""
    names = [stage.name for stage in spec.stages_until(last)]
    return tuple(
        names[place] for place in sorted({*(round((len(names) - 1) * one) for one in _DEPTHS), len(names) - 1})
    )


def stage_titles(spec: BackboneSpec, names: tuple[str, ...], *, is_own: bool) -> dict[str, str]:
    """What to call the comparisons."""
    of = "" if is_own else f" of {spec.title}"
    return {name: f"Features at {name}{of}" for name in names}


class Judge:
    """Reads images at some stages of a pretrained network; may be shared by threads."""

    def __init__(
        self, network: FrozenStages, spec: BackboneSpec, last: str, inputs: InputTransform, *,
        device: str = "cpu", dtype: str = "float32",
    ) -> None:  # fmt: skip
        from lib.models.classifier import stage_poolings

        self.spec, self.network, self.last, self.inputs = spec, network, last, inputs
        self.device, self.dtype = device, dtype
        self.stages = judged_stages(spec, last)
        self.poolings: Poolings = stage_poolings(spec, self.stages)

    def read(self, pixels: np.ndarray, check: Callable[[], None] = lambda: None) -> dict[str, np.ndarray]:
        """Pooled outputs (N, D) by stage, float32, of stored squares (N, S, S, 3)."""
        import torch

        parts: list[dict[str, Any]] = []
        for start in range(0, len(pixels), _BATCH):
            batch = self.inputs.batch(pixels[start : start + _BATCH], device=self.device)
            with torch.inference_mode(), autocast(self.device, self.dtype):
                parts.append(self.network.read(batch, self.last, self.poolings, check)[1])
        return {name: torch.cat([part[name] for part in parts]).float().cpu().numpy() for name in self.stages}


@lru_cache(maxsize=2)
def default_judge(device: str = "cpu") -> Judge:
    """The pretrained network that judges where a classifier's own stages were trained, or are none.

    Raises:
        WeightsUnavailable: the package with its weights is missing.
    """
    spec = BACKBONES.get(JUDGE)
    stages = frozen_backbone(JUDGE, weights="pretrained", seed=0).stages.to(device)
    network = FrozenStages(stages, size_px=JUDGE_SIZE_PX)
    inputs = InputTransform(JUDGE_SIZE_PX, spec.mean, spec.std, resizing=spec.resizing)
    return Judge(network, spec, spec.feature_stage, inputs, device=device)
