import pytest
import torch

from lib.errors import UserError
from lib.models.backbones import BACKBONES
from lib.models.classifier import build_classifier
from lib.models.freezing import apply_freezing, parameter_summary, stage_plan, train_mode
from lib.models.stages import build_backbone
from lib.training.strategies import STRATEGIES


@pytest.fixture
def classifier():
    return build_classifier(build_backbone("resnet18", weights="random"), head="linear", num_classes=2)


def train_one_step(classifier):
    train_mode(classifier)
    optimizer = torch.optim.SGD([p for p in classifier.parameters() if p.requires_grad], lr=0.1)
    batch = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.nn.functional.cross_entropy(classifier(batch), torch.tensor([0, 1, 0, 1])).backward()
    optimizer.step()


@pytest.mark.parametrize(
    ("part", "first", "moved"),
    [
        ("none", None, {"head"}),
        ("partial", None, {"layer4", "head"}),
        ("partial", "layer3", {"layer3", "layer4", "head"}),
        ("all", None, {"stem", "layer1", "layer2", "layer3", "layer4", "head"}),
    ],
)
def test_a_step_moves_exactly_the_trained_stages(classifier, part, first, moved):
    apply_freezing(classifier, trains_backbone=part, unfreeze_from=first)
    before = {key: tensor.clone() for key, tensor in classifier.state_dict().items()}
    train_one_step(classifier)
    changed = {key for key, tensor in classifier.state_dict().items() if not torch.equal(tensor, before[key])}
    stages = {key.split(".")[1] if key.startswith("stages.") else "head" for key in changed}

    assert stages == moved
    if part != "none":
        # Running statistics too, which move in training mode without any gradient.
        assert any("running_mean" in key for key in changed)
    assert {row.stage for row in parameter_summary(classifier) if row.is_trainable} == moved


def test_training_mode_never_reaches_frozen_stages(classifier):
    classifier.train()
    apply_freezing(classifier, trains_backbone="partial")
    assert not any(module.training for module in classifier.stages["layer3"].modules())
    assert all(module.training for module in classifier.stages["layer4"].modules())
    classifier.train()
    assert not any(module.training for module in classifier.stages["layer3"].modules())
    classifier.eval()
    assert not any(module.training for module in classifier.modules())


def test_summary_counts_parameters_by_stage(classifier):
    summary = parameter_summary(classifier)
    assert [row.stage for row in summary] == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    assert summary[0].num_parameters == 3 * 64 * 7 * 7 + 2 * 64  # convolution without bias, BatchNorm
    assert summary[-1].num_parameters == 512 * 2 + 2
    assert summary[1].title == "Residual layer 1"


@pytest.mark.parametrize("name", BACKBONES.names)
@pytest.mark.parametrize("strategy", STRATEGIES.names)
def test_plan_covers_every_backbone_and_strategy(name, strategy):
    spec, part = BACKBONES.get(name), STRATEGIES.get(strategy).trains_backbone
    plan = stage_plan(name, part)
    trained = [stage.stage for stage in plan if stage.is_trainable]

    assert [stage.stage for stage in plan] == [*(stage.name for stage in spec.stages_until(spec.feature_stage)), "head"]
    expected = {"none": "head", "partial": spec.unfreeze_from, "all": spec.stage_names[0]}
    assert trained[0] == expected[part]
    assert trained[-1] == "head"


def test_plan_agrees_with_what_freezing_does(classifier):
    apply_freezing(classifier, trains_backbone="partial", unfreeze_from="layer2")
    assert parameter_summary(classifier) == stage_plan("resnet18", "partial", "layer2")


def test_earlier_feature_stage_moves_the_default_depth():
    plan = stage_plan("resnet18", "partial", feature_stage="layer2")
    assert [stage.stage for stage in plan if stage.is_trainable] == ["layer2", "head"]


def test_unknown_parts_and_stages_are_refused(classifier):
    with pytest.raises(UserError, match="from the stage 'pool'; unfreeze_from must be one of: stem, layer1"):
        apply_freezing(classifier, trains_backbone="partial", unfreeze_from="pool")
    with pytest.raises(UserError, match=r"'linear_probe'. Choose one of: none, partial, all"):
        stage_plan("resnet18", "linear_probe")


def test_plan_follows_the_strategy() -> None:
    plan = stage_plan("bundled_vgg", "partial", "block4", num_classes=5)
    assert [stage.stage for stage in plan if not stage.is_trainable][:3] == ["block1", "block2", "block3"]
    # 1,024 features, 5 classes: 5,120 weights and 5 biases.
    assert (plan[-1].stage, plan[-1].num_parameters, plan[-1].is_trainable) == ("head", 5125, True)
    everything = stage_plan("bundled_vgg", "all", num_classes=5)
    assert sum(stage.num_parameters for stage in plan) == sum(stage.num_parameters for stage in everything)
