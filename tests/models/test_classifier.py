import pytest
import torch

from lib.errors import UserError
from lib.models.backbones import BACKBONES
from lib.models.classifier import build_classifier
from lib.models.heads import resolve_features
from lib.models.stages import build_backbone, set_batchnorm_statistics


@pytest.fixture(scope="module")
def backbone():
    network = build_backbone("mobilenet_v3_small", weights="random")
    set_batchnorm_statistics(network, images(num=4))
    return network


def images(num=2):
    return torch.randn(num, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_default_reads_the_averaged_last_map(backbone):
    classifier = build_classifier(backbone, head="linear", num_classes=3).eval()
    with torch.no_grad():
        features = classifier.features(images())
        assert torch.equal(features, backbone.forward_until(images(), "pool"))
        assert classifier(images()).shape == (2, 3)
        assert torch.equal(classifier(images()), classifier.head(features))
    assert (classifier.feature_stage, classifier.pooling, classifier.num_classes) == ("head_conv", "average", 3)
    assert classifier.stages["stem"] is backbone.stages["stem"]


@pytest.mark.parametrize(
    ("stage", "pooling", "dim"), [("block2", None, 24), ("block2", "flatten", 24 * 16), ("fc1", None, 1024)]
)
def test_any_stage_can_feed_the_head(backbone, stage, pooling, dim):
    classifier = build_classifier(
        backbone, head="linear", num_classes=2, feature_stage=stage, pooling=pooling, input_size_px=32
    ).eval()
    assert classifier.head.in_features == dim
    assert classifier.features(images()).shape == (2, dim)
    assert [spec.name for spec in classifier.stage_specs][-2:] == [stage, "head"]


def test_parts_compose_to_the_whole(backbone):
    classifier = build_classifier(backbone, head="mlp", num_classes=3).eval()
    with torch.no_grad():
        whole = classifier(images())
        h = classifier.forward_until(images(), "block3")
        later = classifier.forward_between(h, "block3", "head_conv")
        assert torch.equal(classifier.forward_after(h, "block3"), whole)
        assert torch.equal(classifier.forward_after(later, "head_conv"), whole)
        assert torch.equal(classifier.forward_between(h, "block3", "head"), whole)
        assert torch.equal(classifier.forward_until(images(), "head"), whole)
        assert torch.equal(classifier.forward_after(whole, "head"), whole)
    with pytest.raises(UserError, match="no stage 'logits'"):
        classifier.forward_until(images(), "logits")


@pytest.mark.parametrize(
    ("stage", "pooling", "message"),
    [
        ("layer4", "none", "gives a map: pooling must be average or flatten, received 'none'"),
        ("pool", "average", "gives a vector: pooling must be none or flatten, received 'average'"),
        ("layer4", "max", "pooling must be average or flatten, received 'max'"),
        ("layer9", None, "ResNet-18 has no stage 'layer9'"),
    ],
)
def test_what_does_not_fit_is_refused(stage, pooling, message):
    with pytest.raises(UserError, match=message):
        resolve_features(BACKBONES.get("resnet18"), stage, pooling)


def test_head_depends_on_its_seed_alone(backbone):
    first, second, other = (build_classifier(backbone, head="linear", num_classes=2, seed=s) for s in (5, 5, 6))
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)
