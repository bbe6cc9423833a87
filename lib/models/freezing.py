"""Which stages of a classifier are trained, and which keep their weights and BatchNorm statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib.errors import UserError
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.models.heads import HEADS

if TYPE_CHECKING:  # pages ask for a stage plan without importing torch
    from torch import nn

    from lib.models.classifier import Classifier

TRAINED_PARTS = ("none", "partial", "all")
# What happens to BatchNorm inside trained stages; in frozen stages it is always frozen.
BATCHNORM_POLICIES = ("trained", "statistics_frozen", "frozen")


@dataclass(frozen=True)
class StageParameters:
    """How many parameters a stage has, and whether they are trained."""

    stage: str
    title: str
    num_parameters: int
    is_trainable: bool


def stage_plan(
    backbone_name: str,
    trains_backbone: str,
    unfreeze_from: str | None = None,
    *,
    feature_stage: str | None = None,
    head: str = "linear",
    output: str = "softmax",
    num_classes: int = 2,
) -> list[StageParameters]:
    """The stages up to the feature stage and the head, without building a network.

    `trains_backbone` is that of a strategy: "none", "partial" (from `unfreeze_from` up) or "all".

    Raises:
        UserError: unknown backbone, part, stage or head.
    """
    spec = BACKBONES.get(backbone_name)
    stages = spec.stages_until(feature_stage or spec.feature_stage)
    first = first_trained(spec, stages[-1].name, trains_backbone, unfreeze_from)
    plan = [
        StageParameters(stage.name, stage.title, stage.num_parameters, is_trainable=index >= first)
        for index, stage in enumerate(stages)
    ]
    feature_dim = stages[-1].num_channels  # one number a channel: pooled, or read as a map
    number = HEADS.get(head).num_parameters(feature_dim, num_classes, output=output)
    return [*plan, StageParameters("head", "Classifier head", number, is_trainable=True)]


def apply_freezing(
    classifier: Classifier, *, trains_backbone: str, unfreeze_from: str | None = None, batchnorm: str | None = "trained"
) -> None:
    """Freeze and unfreeze the parameters by stage; the head is always trained.

    `trains_backbone` and `unfreeze_from` are those of `stage_plan`; `batchnorm` "frozen" also keeps scale and shift of
    BatchNorm in the trained stages of the backbone.

    Raises:
        UserError: unknown part, or a stage that this classifier does not use.
    """
    first = first_trained(classifier.spec, classifier.feature_stage, trains_backbone, unfreeze_from)
    for index, stage in enumerate(classifier.stages.values()):
        stage.requires_grad_(requires_grad=index >= first)
        if batchnorm == "frozen":
            for norm in batchnorm_layers(stage):
                norm.requires_grad_(requires_grad=False)
    classifier.head.requires_grad_(requires_grad=True)
    # Frozen stages leave training mode at once, so that their BatchNorm statistics cannot move.
    classifier.train(classifier.training)


def train_mode(classifier: Classifier, *, batchnorm: str | None = "trained") -> None:
    """Put the trained stages into training mode and the frozen ones into evaluation mode.

    Unless `batchnorm` is "trained", the statistics of BatchNorm in the backbone stay as they are: a small batch or few
    images would replace those of a million photographs by worse ones.
    """
    classifier.train()
    if batchnorm not in ("trained", None):
        for stage in classifier.stages.values():
            for norm in batchnorm_layers(stage):
                norm.eval()


def batchnorm_layers(network: Any) -> list[nn.Module]:
    """All layers of BatchNorm inside."""
    from torch.nn.modules.batchnorm import _BatchNorm

    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def parameter_summary(classifier: Classifier) -> list[StageParameters]:
    """What each stage holds and whether it is trained, in order, the head last."""
    titles = {spec.name: spec.title for spec in classifier.stage_specs}
    return [
        StageParameters(
            stage=name,
            title=titles[name],
            num_parameters=sum(parameter.numel() for parameter in module.parameters()),
            is_trainable=any(parameter.requires_grad for parameter in module.parameters()),
        )
        for name, module in classifier.stage_modules().items()
    ]


def first_trained(spec: BackboneSpec, feature_stage: str, trains_backbone: str, unfreeze_from: str | None) -> int:
    """The index of the first trained stage; the number of stages up to the feature stage if all are frozen."""
    names = [stage.name for stage in spec.stages_until(feature_stage)]
    if trains_backbone not in TRAINED_PARTS:
        raise UserError(f"Unknown part of the backbone {trains_backbone!r}. Choose one of: {', '.join(TRAINED_PARTS)}.")
    if trains_backbone != "partial":
        return 0 if trains_backbone == "all" else len(names)
    start = unfreeze_from or spec.first_tuned(feature_stage)
    if start not in names:
        raise UserError(
            f"Cannot train {spec.title} from the stage {start!r}; unfreeze_from must be one of: {', '.join(names)}."
        )
    return names.index(start)
