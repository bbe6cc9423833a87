"""The pooled outputs of all stages of a network, for every image of a data set in one pass, kept like any features."""

import importlib.metadata
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import digest_of
from lib.data.input_transform import InputTransform
from lib.features.engine import EngineChoice, engine_key
from lib.features.extraction import CachedRequest, Extraction, content_of
from lib.features.frozen_stages import FrozenStages, frozen_backbone
from lib.features.onnx_session import EngineUnavailable, OnnxSession
from lib.models.backbone_spec import BackboneSpec, StageSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

_FORMAT = 1
BY_TORCH = EngineChoice()
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StagedSource:
    """A network whose stages are read: what it is, how it reads images, and what builds its stages.

    `digest` tells its weights from any others. `build` returns stages by name, from the first one on, perhaps fewer
    than the network has; `last` is the last of them.
    """

    spec: BackboneSpec
    digest: str
    inputs: InputTransform
    build: "Callable[[], nn.ModuleDict]"
    last: str

    @classmethod
    def published(cls, backbone: BackboneSpec, weights: str = "pretrained", *, seed: int = 0) -> "StagedSource":
        """A backbone of the table, with all its stages; "random" weights have BatchNorm statistics that fit.

        Raises:
            WeightsUnavailable: the pretrained weights are not at hand.
        """
        from lib.models.weights import weights_digest

        def build() -> "nn.ModuleDict":
            return frozen_backbone(backbone.name, weights=weights, seed=seed).stages

        digest = f"{weights} {weights_digest(backbone.name, weights, seed)}"
        return cls(backbone, digest, InputTransform.of(backbone), build, backbone.stages[-1].name)

    @property
    def key(self) -> str:
        """What its outputs for an image depend on, by whatever engine they are computed."""
        names = [stage.name for stage in self.stages]
        return f"{self.spec.name}|{self.digest}|{self.inputs!r}|{names}"

    @property
    def stages(self) -> tuple[StageSpec, ...]:
        """The stages that are read, in order.

        A mean over the image that is a stage of its own says what the maps before it say, and is left out.
        """
        kept: list[StageSpec] = []
        for stage in self.spec.stages_until(self.last):
            before = kept[-1] if kept else None
            is_mean = before is not None and before.output == "map" and stage.output == "vector"
            if is_mean and not stage.num_parameters and before and stage.num_channels == before.num_channels:
                continue
            kept.append(stage)
        return tuple(kept)


@dataclass(frozen=True)
class StageRequest(CachedRequest):
    """The pooled outputs of all stages of a network, side by side, of all images of a data set."""

    dataset: Any
    source: StagedSource
    dtype: str = "float32"
    device: str = "cpu"
    engine: EngineChoice = BY_TORCH

    @property
    def batch_size(self) -> int:  # type: ignore[override]
        """Images of a batch."""
        return self.engine.batch_size

    @property
    def key(self) -> str:
        """The cache's name for them; where and in what batches they are computed does not count."""
        described = {
            "format": _FORMAT,
            "dataset": content_of(self.dataset),
            "source": self.source.key,
            "parts": [self.dtype, *engine_key(self.engine.name)],
            "versions": [importlib.metadata.version(package) for package in ("torch", "torchvision")],
        }
        return digest_of(described)

    def extraction(self) -> "StagePass":
        """The pass of all stages."""
        return StagePass(self)

    def by_stage(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What was read (N, sum of D), cut into stage name -> (N, D).

        Raises:
            ValueError: the widths are not those of the stages.
        """
        stages = self.source.stages
        ends = np.cumsum([stage.num_channels for stage in stages])
        if ends[-1] != rows.shape[1]:
            raise ValueError(f"{rows.shape[1]} numbers an image where the stages have {ends[-1]}.")
        return dict(zip((stage.name for stage in stages), np.split(rows, ends[:-1], axis=1), strict=True))


class StagePass(Extraction):
    """One pass over all images: each batch runs through the stages once, and every output is pooled on its way."""

    request: StageRequest  # type: ignore[assignment]

    def __init__(self, request: StageRequest) -> None:
        from lib.models.classifier import PooledStages, stage_poolings

        self.request = request  # type: ignore[assignment]
        source = request.source
        self.spec = source.spec
        stages: nn.ModuleDict = source.build().to(request.device)
        poolings = stage_poolings(source.spec, [stage.name for stage in source.stages])
        self._session: OnnxSession | None = None
        if request.engine.name == "onnx" and request.device == "cpu":
            try:
                reader = PooledStages(stages, poolings)
                self._session = OnnxSession(reader, (3, source.inputs.size_px, source.inputs.size_px))
            except EngineUnavailable as error:  # the same outputs to 1e-4, only later
                _logger.warning("torch reads the stages instead of ONNX Runtime: %s.", error)
        if self._session is None:
            self.network = FrozenStages(stages, size_px=source.inputs.size_px)
            self._reader = PooledStages(self.network.folded, poolings)

    def batch(self, pixels: np.ndarray, image_ids: list[str]) -> "torch.Tensor":
        """What enters the network (n, 3, size, size) of stored pixels (n, S, S, 3)."""
        return self.request.source.inputs.batch(pixels, device=self.request.device)

    def _image_ids(self) -> list[str]:
        return []

    def _outputs(self, batch: "torch.Tensor", num_images: int, check: Callable[[], None]) -> "torch.Tensor":
        check()
        found = self._reader.read(batch, check) if self._session is None else self._session(batch)
        return found[:num_images]
