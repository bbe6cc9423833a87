"""A backbone up to one of its stages, pooling, and a head."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lib.models.backbones import BackboneSpec, StageSpec
from lib.models.head_layers import pool_features
from lib.models.heads import HEADS, build_head, described_head, resolve_features
from lib.models.stages import Backbone, StagedNetwork

Poolings = dict[str, tuple[str, int]]
HEAD_STAGE = StageSpec("head", "Classifier head", "vector")


class Classifier(StagedNetwork):
    """Stages of a backbone up to `feature_stage`, pooled, and a head; the head counts as the last stage, "head".

    In training mode a frozen stage stays in evaluation mode, since BatchNorm in training mode would still move its
    running statistics. `head_options` are what a saved bundle needs to build the head again (`described_head`).
    """

    def __init__(
        self, backbone: Backbone, head: nn.Module, *, feature_stage: str, pooling: str, head_options: dict[str, Any]
    ) -> None:
        super().__init__()
        self.spec: BackboneSpec = backbone.spec
        self.weights = backbone.weights
        self.seed = backbone.seed
        kept = [stage.name for stage in self.spec.stages_until(feature_stage)]
        self.stages = nn.ModuleDict({name: backbone.stages[name] for name in kept if len(backbone.stages)})
        self.feature_stage = feature_stage
        self.pooling = pooling
        self.head = head
        self.head_options = head_options

    @property
    def stage_specs(self) -> tuple[StageSpec, ...]:
        """The backbone's stages up to the feature stage, then the head."""
        return (*self.spec.stages_until(self.feature_stage), HEAD_STAGE)

    @property
    def is_head_alone(self) -> bool:
        """Whether the stages are not built: all that the head reads lies in the cache of features."""
        return not len(self.stages)

    @property
    def steps(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The stages, then pooling and head, which ends in logits (N, num_classes)."""
        if self.is_head_alone:
            raise RuntimeError("This classifier is a head alone: its stages are not built.")
        return {**dict(self.stages.items()), HEAD_STAGE.name: lambda h: self.head(self.pooled(h))}

    @property
    def num_classes(self) -> int:
        """How many logits there are."""
        return int(self.head_options["num_classes"])

    def features(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to what the head reads: features (N, D), or a map (N, C, H, W)."""
        return self.pooled(self.forward_until(x, self.feature_stage))

    def pooled(self, h: Tensor) -> Tensor:
        """The output `h` of the feature stage to what the head reads."""
        return pool_features(h, self.pooling, self.spec.stage(self.feature_stage).num_prefix_tokens)

    def stage_modules(self) -> dict[str, nn.Module]:
        """The module of each stage in order, the head included."""
        return {**dict(self.stages.items()), HEAD_STAGE.name: self.head}

    def train(self, mode: bool = True) -> "Classifier":  # noqa: FBT001, FBT002 (torch's own signature)
        """Switch to training mode, frozen stages excepted, or to evaluation mode."""
        super().train(mode)
        if mode:
            for module in self.stage_modules().values():
                if is_frozen(module):
                    module.eval()
        return self


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters and none of them is trained."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def stage_poolings(spec: BackboneSpec, names: Iterable[str]) -> Poolings:
    """How each named stage becomes a vector: pooling and number of prefix tokens; as the table says where it does."""
    own = {spec.feature_stage: spec.pooling}
    return {name: (own.get(name, spec.stage(name).poolings[0]), spec.stage(name).num_prefix_tokens) for name in names}


class PooledStages(nn.Module):
    """Stages (name -> module) that put out the pooled output of each, side by side (N, sum of D); it shares them."""

    def __init__(self, stages: nn.ModuleDict, poolings: Poolings) -> None:
        super().__init__()
        self.stages, self.poolings = stages, poolings

    def extra_repr(self) -> str:
        """What the output depends on besides stages and weights: an export is kept under it."""
        return str(self.poolings)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), as the network reads them."""
        return self.read(images, lambda: None)

    def read(self, images: Tensor, check: Callable[[], None]) -> Tensor:
        """The same; `check` is called between stages, and may raise."""
        pooled, hidden = [], images
        for name, stage in self.stages.items():
            check()
            hidden = stage(hidden)
            if name in self.poolings:
                pooled.append(pool_features(hidden, *self.poolings[name]).flatten(1))
        return torch.cat([one.float() for one in pooled], 1)


class StagesAndReadings(nn.Module):
    """Stages that put out the last one's output, and beside it the pooled ones of those in `poolings`, each (N, D)."""

    def __init__(self, stages: nn.ModuleDict, poolings: Poolings) -> None:
        super().__init__()
        self.stages, self.poolings = stages, poolings

    def extra_repr(self) -> str:
        """As of `PooledStages`."""
        return str(self.poolings)

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Images (N, 3, H, W), as the network reads them."""
        read = []
        for name, stage in self.stages.items():
            hidden = stage(hidden)
            if name in self.poolings:
                read.append(pool_features(hidden, *self.poolings[name]).flatten(1))
        return hidden, *read


def as_vectors(features: Tensor) -> Tensor:
    """What a head reads, as vectors (N, D) to compare images by: the mean over a map, vectors as they are."""
    return features.mean((2, 3)) if features.ndim == 4 else features


def feature_dim(backbone: Backbone, feature_stage: str, pooling: str, *, input_size_px: int | None = None) -> int:
    """The number of features D; only a flattened map depends on the input size (by default the weights' own)."""
    stage = backbone.spec.stage(feature_stage)
    if stage.output == "vector" or pooling != "flatten":
        return stage.num_channels
    size_px = input_size_px or backbone.spec.input_size_px
    parameter = next(backbone.parameters())
    image = torch.zeros(1, 3, size_px, size_px, device=parameter.device, dtype=parameter.dtype)
    with torch.no_grad():
        return pool_features(backbone.forward_until(image, feature_stage), pooling, stage.num_prefix_tokens).shape[1]


def build_classifier(
    backbone: Backbone,
    *,
    head: str,
    num_classes: int,
    feature_stage: str | None = None,
    pooling: str | None = None,
    seed: int = 0,
    input_size_px: int | None = None,
    output: str = "softmax",
    **head_options: float,
) -> Classifier:
    """Put a new head of `HEADS` on a backbone that is cut no earlier than `feature_stage`; its stages are shared.

    By default the head reads where the table says, pooled as fits. `input_size_px` counts for "flatten" alone;
    `output` is "softmax", or "sigmoid" for one unit that tells two classes apart.

    Raises:
        UserError: unknown names, or a pooling that does not fit the stage.
    """
    stage, pooling = resolve_features(backbone.spec, feature_stage, pooling, head)
    dim = feature_dim(backbone, stage, pooling, input_size_px=input_size_px)
    module = build_head(head, dim, num_classes, seed, output=output, **head_options)
    described = described_head(head, num_classes, dim, head_options, output)
    return Classifier(backbone, module, feature_stage=stage, pooling=pooling, head_options=described)


def build_head_alone(
    spec: BackboneSpec, *, head: str, feature_stage: str | None = None, pooling: str | None = None, **options: Any
) -> Classifier | None:
    """What `build_classifier` gives for a pretrained backbone, without its stages, all of them frozen.

    To build a network takes longer than to fit a head on features that are there. None where the stages must be run:
    only they know how many numbers a flattened map has.
    """
    stage, pooling = resolve_features(spec, feature_stage, pooling, head)
    if HEADS.get(head).reads == "map" or pooling == "flatten":
        return None
    nothing = Backbone(spec, nn.ModuleDict(), weights="pretrained")
    return build_classifier(nothing, head=head, feature_stage=stage, pooling=pooling, **options)
