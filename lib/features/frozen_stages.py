"""Backbones whose output is fit to be read frozen, and their stages as they run: BatchNorm folded, by either engine."""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lib.features.onnx_session import EngineUnavailable, OnnxSession

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lib.models.classifier import Poolings
    from lib.models.stages import Backbone

_NUM_CALIBRATION_IMAGES = 32
_logger = logging.getLogger(__name__)


def in_layout(hidden: "Tensor") -> "Tensor":
    """A map (N, C, H, W) in channels_last, as torch's stages compute it fastest; vectors as they are."""
    import torch

    return hidden.contiguous(memory_format=torch.channels_last) if hidden.ndim == 4 else hidden


class FrozenStages:
    """Runs stages whose weights no longer change; may be shared by threads.

    `engine` says what computes: "torch" with BatchNorm folded into the convolutions, or "onnx", ONNX Runtime, up to the
    stage `last` (by default all of them) and torch behind it. Where ONNX Runtime cannot be used, torch computes it all,
    which differs by 1e-4 at most, and the log says so. The given stages stay as they are.
    """

    def __init__(
        self, stages: "nn.ModuleDict", *, size_px: int, engine: str = "torch", last: str | None = None
    ) -> None:
        self._stages, self._size_px = stages, size_px
        self.engine = engine
        self._names = list(stages)
        self._last = last or self._names[-1]
        self._sessions: dict[tuple[str, ...], OnnxSession] = {}
        self._folded: nn.ModuleDict | None = None
        self._lock = threading.RLock()

    def forward_until(self, batch: "Tensor", stage: str, check: Callable[[], None] = lambda: None) -> "Tensor":
        """The output of `stage` for images (N, 3, H, W); `check` is called between stages, and may raise."""
        return self.read(batch, stage, {}, check)[0]

    def read(
        self, batch: "Tensor", stage: str, poolings: "Poolings", check: Callable[[], None] = lambda: None
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """The same, and on the way the pooled outputs (N, D), float32, of stages up to it, as `stage_poolings` says."""
        import torch

        from lib.models.head_layers import pool_features

        check()
        left = self._names[: self._names.index(stage) + 1]
        read: dict[str, Tensor] = {}
        with torch.no_grad():
            cut = min(stage, self._last, key=self._names.index)
            passed = {name: poolings[name] for name in left[: left.index(cut) + 1] if name in poolings}
            session = self._session(cut, passed) if self.engine == "onnx" else None
            if session is not None:
                if passed:
                    found = [torch.from_numpy(one).to(batch.device) for one in session.all_outputs(batch)]
                    batch, read = found[0], dict(zip(passed, found[1:], strict=True))
                else:
                    batch = session(batch)
                left = left[left.index(cut) + 1 :]
                batch = in_layout(batch) if left else batch
            for name in left:
                check()
                batch = self.folded[name](batch)
                if name in poolings:
                    read[name] = pool_features(batch, *poolings[name]).flatten(1).float()
            return batch, read

    @property
    def folded(self) -> "nn.ModuleDict":
        """The stages for torch, in evaluation mode."""
        import torch

        from lib.models.folding import fold_stages

        with self._lock:
            if self._folded is None:
                device = next((tensor.device for tensor in self._stages.state_dict().values()), torch.device("cpu"))
                generator = torch.Generator().manual_seed(0)
                batch = torch.randn(2, 3, self._size_px, self._size_px, generator=generator)
                batch = batch.to(device, memory_format=torch.channels_last)
                self._folded = fold_stages(self._stages, batch)
            return self._folded

    def _session(self, stage: str, poolings: "Poolings") -> OnnxSession | None:
        """The session that ends with a stage; None, from then on, where there cannot be one."""
        from torch import nn

        from lib.models.classifier import StagesAndReadings

        key = (stage, *poolings)
        with self._lock:
            if key not in self._sessions and self.engine == "onnx":
                kept = {name: self._stages[name] for name in self._names[: self._names.index(stage) + 1]}
                reader = StagesAndReadings(nn.ModuleDict(kept), poolings) if poolings else nn.Sequential(*kept.values())
                shape = (3, self._size_px, self._size_px)
                try:
                    self._sessions[key] = OnnxSession(reader, shape, num_outputs=1 + len(poolings))
                except EngineUnavailable as error:
                    _logger.warning("torch computes the frozen stages instead of ONNX Runtime: %s.", error)
                    self.engine = "torch"
            return self._sessions.get(key)


def frozen_backbone(name: str, *, weights: str, seed: int) -> "Backbone":
    """Build a backbone whose frozen output is fit to be read.

    A random network in evaluation mode shrinks (MobileNetV2: 1e-9) or blows up (InceptionV3: 1e12) what passes through,
    because its BatchNorm layers never saw an image. They get the statistics of generated pictures: no image of any data
    set is used, so the features do not depend on who is in which split.
    """
    from lib.models.stages import build_backbone, set_batchnorm_statistics

    backbone = build_backbone(name, weights=weights, seed=seed)
    if weights == "random":
        spec = backbone.spec
        side_px = spec.input_size_px if spec.is_fixed_size else max(spec.min_input_px, 128)
        set_batchnorm_statistics(backbone, smooth_pictures(_NUM_CALIBRATION_IMAGES, side_px, seed=seed))
    return backbone


def smooth_pictures(num_images: int, side_px: int, *, seed: int) -> "Tensor":
    """Random pictures (N, 3, side, side) of deviation 1: amplitude falls with frequency as in photographs (Field 1987),
    colours correlate.
    """
    import torch

    generator = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], np.fft.rfftfreq(side_px)[None, :])
    frequency[0, 0] = np.inf
    noise = generator.standard_normal((num_images, 3, side_px, side_px))
    noise = 0.8 * noise.mean(1, keepdims=True) * np.sqrt(3) + 0.6 * noise
    smooth = np.fft.irfft2(np.fft.rfft2(noise) / frequency, s=(side_px, side_px))
    smooth /= smooth.std(axis=(1, 2, 3), keepdims=True)
    batch = torch.from_numpy(smooth.astype(np.float32))
    return batch.contiguous(memory_format=torch.channels_last)
