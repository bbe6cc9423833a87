import pytest
import torch

from lib.models.backbones import BACKBONES
from lib.models.heads import HEADS, build_head
from lib.models.parameter_counts import counted_plan, head_count, stage_counts
from lib.models.stages import build_backbone


@pytest.mark.parametrize("name", BACKBONES.names)
def test_every_backbone_is_counted_and_adds_up(name: str) -> None:
    spec = BACKBONES.get(name)
    assert tuple(stage_counts(name)) == spec.stage_names
    assert sum(stage_counts(name).values()) == spec.num_parameters


@pytest.mark.parametrize("name", ["bundled_vgg", "efficientnet_lite0", "resnet18", "mobilenet_v3_small"])
def test_stages_hold_what_the_table_says(name: str) -> None:
    with torch.device("meta"):
        network = build_backbone(name, weights="random")
    built = {stage: sum(p.numel() for p in module.parameters()) for stage, module in network.stages.items()}
    assert built == stage_counts(name)


# A single sigmoid unit is for heads that learn in epochs; the others are fitted to classes.
HEADS_AND_OUTPUTS = [(name, "softmax") for name in HEADS.names]
HEADS_AND_OUTPUTS += [(head.name, "sigmoid") for head in HEADS if head.is_iterative]


@pytest.mark.parametrize(("name", "output"), HEADS_AND_OUTPUTS)
def test_heads_hold_what_the_rule_says(name: str, output: str) -> None:
    head = build_head(name, 40, 2, output=output)
    assert head_count(name, 40, 2, output=output) == sum(p.numel() for p in head.parameters())


def test_plan_follows_the_strategy() -> None:
    plan = counted_plan("bundled_vgg", "partial", "block4", num_classes=5)
    assert [stage.stage for stage in plan if not stage.is_trainable][:3] == ["block1", "block2", "block3"]
    # 1,024 features, 5 classes: 5,120 weights and 5 biases.
    assert (plan[-1].stage, plan[-1].num_parameters, plan[-1].is_trainable) == ("head", 5125, True)
    everything = counted_plan("bundled_vgg", "all", num_classes=5)
    assert sum(stage.num_parameters for stage in plan) == sum(stage.num_parameters for stage in everything)
