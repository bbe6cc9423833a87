"""A network of timm cut into stages: they compose to it, train, fold and export like any other's."""

import pytest
import timm
import torch
from torch import nn

from lib.errors import UserError
from lib.features.frozen_stages import FrozenStages, frozen_backbone
from lib.models.backbones import BACKBONES
from lib.models.classifier import build_classifier
from lib.models.freezing import apply_freezing, parameter_summary, stage_plan, train_mode
from lib.models.networks import seeded_initialization
from lib.models.stages import build_backbone, run_stages
from lib.models.timm_stages import build_timm, feature_channels, load_timm, segments
from tests.models.timm_families import FAMILIES, described_once, random_images  # noqa: F401 (a fixture)


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_compose_to_the_network_of_timm(name):
    spec = BACKBONES.get(name)
    backbone = build_backbone(name, weights="random", seed=3)
    with seeded_initialization(3):
        whole = timm.create_model(name.removeprefix("timm:"), pretrained=False).eval()
    whole.to(memory_format=torch.channels_last)
    images = random_images(spec)
    with torch.no_grad():
        assert torch.equal(backbone(images), whole(images))
        h = images
        for stage in spec.stages:
            h = backbone.stages[stage.name](h)
            assert h.ndim == {"map": 4, "tokens": 3, "vector": 2}[stage.output], stage
            assert h.shape[2 if stage.output == "tokens" else 1] == stage.num_channels, stage
    assert (spec.feature_stage, spec.pooling, spec.stage(spec.feature_stage).output) == FAMILIES[name]
    assert not any(getattr(module, "inplace", False) for module in backbone.modules())


@pytest.mark.parametrize("name", FAMILIES)
def test_freezing_by_stage_trains_those_and_no_others(name):
    spec = BACKBONES.get(name)
    classifier = build_classifier(build_backbone(name, weights="random"), head="linear", num_classes=3)
    apply_freezing(classifier, trains_backbone="partial")
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    train_mode(classifier)
    optimizer = torch.optim.SGD([one for one in classifier.parameters() if one.requires_grad], lr=0.1)
    classifier(random_images(spec)).logsumexp(1).sum().backward()
    optimizer.step()
    changed = {
        key.split(".")[1] for key, value in classifier.state_dict().items() if not torch.equal(value, before[key])
    }
    plan = stage_plan(name, "partial")
    trained = {stage.stage for stage in plan[:-1] if stage.is_trainable}
    holds = {stage.stage for stage in parameter_summary(classifier) if stage.num_parameters}
    assert spec.unfreeze_from in trained
    assert changed - {"weight", "bias", "0"} == trained & holds


def test_maps_of_channels_last_networks_are_turned():
    backbone = build_backbone("timm:small_swin", weights="random")
    with torch.no_grad():
        h = backbone.forward_until(random_images(backbone.spec, 1), "layers_1")
        assert h.shape == (1, 32, 8, 8)
        whole = run_stages(backbone.stages, h.contiguous(), after="layers_1")
    assert whole.shape == (1, 1000)


@pytest.mark.parametrize("name", FAMILIES)
def test_frozen_stages_are_folded_and_exported_like_any_other(name):
    spec = BACKBONES.get(name)
    backbone = frozen_backbone(name, weights="random", seed=0)
    images = random_images(spec)
    with torch.no_grad():
        expected = backbone.forward_until(images, spec.feature_stage).flatten(1)
        for engine in ("torch", "onnx"):
            frozen = FrozenStages(backbone.stages, size_px=images.shape[2], engine=engine)
            found = frozen.forward_until(images, spec.feature_stage).flatten(1)
            assert frozen.engine == engine
            assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.9999


def test_stages_that_differ_in_their_code_alone_do_not_look_alike():
    vit = build_backbone("timm:test_vit", weights="random")
    assert "forward" in repr(vit.stages["pool"])
    assert repr(vit.stages["pool"]) != repr(build_backbone("timm:test_resnet", weights="random").stages["pool"])


class Skipping(nn.Module):
    """Adds what the first stage gives behind the second: between the two nothing can be cut."""

    feature_info = [{"module": "first", "num_chs": 4}, {"module": "second", "num_chs": 4}]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(n, 4, 3, padding=1) for n in (3, 4, 4))
        self.fc = nn.Linear(4, 2)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        return self.third(self.second(first) + first)

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.forward_features(x).mean((2, 3)))


def test_there_is_no_cut_where_a_way_leads_past_it() -> None:
    network, images = Skipping().eval(), torch.randn(2, 3, 8, 8)
    parts = dict(segments(network, ()))
    assert list(parts) == ["first", "features", "pool", "logits"]
    h = images
    for part in parts.values():
        h = part(h)
    assert torch.equal(h, network(images))
    assert list(dict(segments(network, (), {"features", "logits"}))) == ["features", "logits"]
    assert "forward_features" not in vars(network)  # what noted the features is gone
    shared = {id(one) for part in parts.values() for one in part.parameters()}
    assert shared == {id(one) for one in network.parameters()}


def test_a_stage_that_ends_in_channels_hands_on_a_map_and_the_next_turns_it_back() -> None:
    network, images = Skipping().eval(), torch.randn(2, 3, 8, 8)
    first, features = list(dict(segments(network, {"first"}, {"first", "features"})).values())
    assert torch.equal(first(images), network.first(images).permute(0, 3, 1, 2))
    assert torch.equal(features(first(images)), network.forward_features(images))


def test_networks_that_cannot_be_recorded_or_say_nothing_of_themselves_are_refused() -> None:
    class Deciding(Skipping):
        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward_features(x) if x.mean() > 0 else self.first(x)

    with pytest.raises(UserError, match=r"depends on the image or keeps values of it \(TraceError\). Choose another"):
        list(segments(Deciding(), ()))
    silent = Skipping()
    silent.feature_info = [{"num_chs": 4, "module": ""}]
    with pytest.raises(UserError, match="has no feature_info"):
        feature_channels(silent)


def test_weights_are_loaded_into_their_own_network_alone() -> None:
    tensors = build_timm("timm:test_resnet").state_dict()
    halves = {name: one.half() if one.is_floating_point() else one for name, one in tensors.items()}
    loaded = load_timm("timm:test_resnet", halves).state_dict()
    assert all(one.dtype != torch.float16 for one in loaded.values())
    assert torch.equal(loaded["conv1.0.weight"], tensors["conv1.0.weight"].half().float())
    # None at all would let timm fetch the published ones.
    for wrong in ({}, {"other": torch.ones(2)}, {**tensors, "fc.weight": torch.ones(2, 2)}):
        with pytest.raises(UserError, match=r"^These are not the weights of timm:test_resnet \(.{1,200}\)\.$"):
            load_timm("timm:test_resnet", wrong)
