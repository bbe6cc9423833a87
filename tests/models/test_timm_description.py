"""What a network of timm is found to be: what its classifier reads, sizes, titles, weights, and what is refused."""

from types import SimpleNamespace

import pytest
import timm
import torch

from lib.errors import UserError
from lib.models import timm_description
from lib.models.backbones import BACKBONES
from lib.models.classifier import build_classifier
from lib.models.freezing import apply_freezing, parameter_summary, stage_plan
from lib.models.head_layers import pool_features
from lib.models.heads import resolve_features
from lib.models.networks import build_network, seeded_initialization
from lib.models.stages import build_backbone
from lib.models.timm_description import describe_timm
from tests.models.timm_families import FAMILIES, described_once, random_images  # noqa: F401 (a fixture)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_usual_features_are_what_its_own_classifier_reads(name):
    spec = BACKBONES.get(name)
    backbone = build_backbone(name, weights="random")
    with seeded_initialization(0):
        whole = timm.create_model(name.removeprefix("timm:"), pretrained=False).eval()
    images = random_images(spec)
    with torch.no_grad():
        expected = whole.forward_head(whole.forward_features(images), pre_logits=True)
        h = backbone.forward_until(images, spec.feature_stage)
        pooled = pool_features(h, spec.pooling, spec.stage(spec.feature_stage).num_prefix_tokens)
    assert torch.allclose(pooled, expected, atol=1e-5)
    assert pooled.shape[1] == spec.feature_dim


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_counted_without_building_it(name):
    classifier = build_classifier(build_backbone(name, weights="random"), head="linear", num_classes=2)
    apply_freezing(classifier, trains_backbone="partial")
    counted = [(one.stage, one.title, one.num_parameters) for one in stage_plan(name, "partial")]
    assert counted == [(one.stage, one.title, one.num_parameters) for one in parameter_summary(classifier)]
    spec = BACKBONES.get(name)
    assert sum(one.numel() for one in build_network(spec).parameters()) == spec.num_parameters


def test_preprocessing_is_that_of_its_weights():
    vit, convnext = BACKBONES.get("timm:test_vit"), BACKBONES.get("timm:mobilenetv3_small_050")
    assert (vit.input_size_px, vit.mean, vit.std) == (160, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (convnext.input_size_px, convnext.mean[0], convnext.std[0]) == (224, 0.485, 0.229)
    assert (vit.is_fixed_size, convnext.is_fixed_size) == (True, False)


def test_tokens_are_pooled_by_class_token_or_mean():
    spec, h = BACKBONES.get("timm:test_vit"), torch.randn(2, 101, 64)
    stage = spec.stage("blocks_2")
    assert (stage.num_prefix_tokens, stage.has_class_token, stage.is_on_grid) == (1, True, True)
    assert torch.equal(pool_features(h, "cls", 1), h[:, 0])
    assert torch.allclose(pool_features(h, "average", 1), h[:, 1:].mean(1))
    assert resolve_features(spec) == ("features", "cls")
    assert resolve_features(spec, "blocks_2", "average") == ("blocks_2", "average")
    with pytest.raises(UserError, match="gives tokens: pooling must be cls or average or flatten, received 'none'"):
        resolve_features(spec, "blocks_2", "none")
    with pytest.raises(UserError, match="gives a map: pooling must be average or flatten, received 'cls'"):
        resolve_features(BACKBONES.get("timm:test_resnet"), "layer3", "cls")
    with pytest.raises(UserError, match="has no maps"):
        resolve_features(spec, head="fully_convolutional")


def test_networks_that_do_not_fit_are_refused_in_a_sentence(monkeypatch):
    class Unknown(torch.nn.Module):
        feature_info = None

        def forward_features(self, x):
            return x

        def get_classifier(self):
            return torch.nn.Identity()

        def forward(self, x):
            return self.forward_features(x).mean((2, 3))

    with monkeypatch.context() as patched:
        patched.setattr(timm, "create_model", lambda name, **options: Unknown())
        with pytest.raises(UserError, match="The network timm:test_resnet has no feature_info"):
            describe_timm("timm:test_resnet")
    with monkeypatch.context() as patched:
        config = timm.get_pretrained_cfg("test_resnet")
        config.input_size = (1, 64, 64)
        patched.setattr(timm, "get_pretrained_cfg", lambda name: config)
        with pytest.raises(UserError, match="takes no RGB images: its input has 1 channel"):
            describe_timm("timm:test_resnet")
    with pytest.raises(UserError, match="cannot be cut into stages"):
        describe_timm("timm:hiera_tiny_224")


def test_images_that_are_no_squares_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config = timm.get_pretrained_cfg("test_resnet")
    config.input_size = (3, 64, 96)
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: config)
    with pytest.raises(UserError, match="test_resnet takes images of 64 x 96 px; only squares are possible here"):
        describe_timm("timm:test_resnet")


@pytest.mark.parametrize(
    ("settings", "source"),
    [
        ({"has_weights": True, "hf_hub_id": "timm/x.a1", "url": "https://x.org/x.pth"}, "timm/x.a1"),
        ({"has_weights": True, "hf_hub_id": None, "url": "https://x.org/x.pth"}, "https://x.org/x.pth"),
        ({"has_weights": True, "url": "https://x.org/x.npz"}, ""),  # no tensors by themselves
        ({"has_weights": True, "url": "http://x.org/x.pth"}, ""),
        ({"has_weights": True, "url": ["https://x.org/x.pth"]}, ""),
        ({"has_weights": False, "hf_hub_id": "timm/x.a1"}, ""),
    ],
)
def test_weights_come_from_the_hub_or_a_safe_address(settings: dict, source: str) -> None:
    assert timm_description._weights_source(settings) == source


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"tag": "a1_in1k"}, "ImageNet"),
        ({"tag": "augreg_in21k_ft_in1k"}, "ImageNet"),  # the last is what its classes are
        ({"tag": "fb_in22k"}, "ImageNet-22k"),
        ({"tag": "laion2b"}, "other images (laion2b)"),
        ({"tag": "", "num_classes": 1000}, "ImageNet"),
    ],
)
def test_what_weights_have_seen_is_read_from_their_tag(settings: dict, seen: str) -> None:
    assert timm_description._pretrained_on(settings) == seen


@pytest.mark.parametrize(
    ("name", "title"),
    [("blocks_0", "Block 1"), ("stages_3_blocks", "Stage 4 blocks"), ("stem_2", "Stem"), ("layer4", "Layer 4"),
     ("features", "Last features"), ("layer4_1", "layer4_1"), ("something", "something")],
)  # fmt: skip
def test_stages_are_called_by_their_place(name: str, title: str) -> None:
    assert timm_description._title(name) == title


@pytest.mark.parametrize(
    ("stated", "num_tokens", "expected"),
    [(1, 197, 1), (0, 196, 0), (0, 197, 1), (5, 201, 5), (1, 49, 0), (1, 1, 0), (3, 100, 0), (2, 7, 2)],
)
def test_tokens_before_those_of_the_places_leave_a_square(stated: int, num_tokens: int, expected: int) -> None:
    assert timm_description._num_prefix_tokens(SimpleNamespace(num_prefix_tokens=stated), num_tokens) == expected
