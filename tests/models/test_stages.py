import pytest
import timm
import torch
from torch import nn
from torchvision import models

from lib.errors import UserError, WeightsUnavailable
from lib.models.backbones import BACKBONES
from lib.models.networks import BundledVGG, CNNFood
from lib.models.stages import backbone_from_state, build_backbone, set_batchnorm_statistics
from lib.models.weights import weights_status


@pytest.fixture(scope="module")
def mobilenet():
    return build_backbone("mobilenet_v3_small", weights="random", seed=3)


def images(size_px=32, num=2, seed=0):
    return torch.randn(num, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))


def reference_network(spec):
    """The uncut network; torchvision's with auxiliary heads and input rescaling, as its weights would build it."""
    if spec.is_bundled:
        torch.manual_seed(0)
        return BundledVGG(spec.stages[-1].num_channels)
    if spec.name == "cnn_food":
        torch.manual_seed(0)
        return CNNFood(spec.stages[-1].num_channels)
    if spec.weights_package:
        torch.manual_seed(0)
        return timm.create_model(f"tf_{spec.name}")
    options = {"transform_input": True, "aux_logits": True, "init_weights": True} if spec.transform_input else {}
    torch.manual_seed(0)
    return models.get_model(spec.name, weights=None, **options)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "vgg16" else ()) for name in BACKBONES.names]
)
def test_composition_equals_the_uncut_network_exactly(name):
    spec = BACKBONES.get(name)
    reference = reference_network(spec)
    batch = images(spec.min_input_px)
    # Without it MobileNet's random output is about 1e-9, and any composition would pass.
    set_batchnorm_statistics(reference, batch)
    backbone = backbone_from_state(spec, reference.state_dict())
    with torch.no_grad():
        expected = reference.eval()(batch)
        outputs, h = [], batch
        for stage in backbone.eval().stages.values():
            h = stage(h)
            outputs.append((h, h.clone()))

    assert expected.std() > 1e-3
    assert expected.isfinite().all()
    assert torch.equal(h, expected)
    for stage, (output, copy) in zip(spec.stages, outputs, strict=True):
        assert torch.equal(output, copy), f"a later stage overwrote the output of {stage.name}"
        assert output.shape[1] == stage.num_channels
        assert output.ndim == (4 if stage.output == "map" else 2)
    held = [sum(parameter.numel() for parameter in stage.parameters()) for stage in backbone.stages.values()]
    assert held == [stage.num_parameters for stage in spec.stages]
    assert not any(getattr(module, "inplace", False) for module in backbone.modules())


def test_the_weights_of_the_package_answer_as_in_timm_exactly():
    reference, path = timm.create_model("tf_efficientnet_lite0").eval(), weights_status("efficientnet_lite0").path
    given = [value for key, value in torch.load(path, weights_only=True).items() if "num_batches" not in key]
    names = [key for key in reference.state_dict() if "num_batches" not in key]
    reference.load_state_dict(dict(zip(names, given, strict=True)), strict=False)
    reference = reference.to(memory_format=torch.channels_last)
    batch = images(64).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(build_backbone("efficientnet_lite0")(batch), reference(batch))


def test_pretrained_weights_are_read_from_the_file_at_hand():
    spec = BACKBONES.get("googlenet")
    reference = reference_network(spec)
    batch = images()
    set_batchnorm_statistics(reference, batch)
    reference = reference.to(memory_format=torch.channels_last).eval()
    with pytest.raises(WeightsUnavailable, match="python -m lib weights download googlenet"):
        build_backbone("googlenet")
    status = weights_status("googlenet")
    status.folder.mkdir(parents=True)
    torch.save(reference.state_dict(), status.path)

    backbone = build_backbone("googlenet")
    with torch.no_grad():
        assert torch.equal(backbone(batch), reference(batch))
    assert not backbone.training


@pytest.mark.parametrize("content", [b"not a file of PyTorch", None])
def test_unusable_weights_file_is_named(content):
    status = weights_status("resnet18")
    status.folder.mkdir(parents=True)
    if content is None:
        torch.save({"fc.weight": torch.zeros(2)}, status.path)
    else:
        status.path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"resnet18-f37072fd.pth cannot be used.*python -m lib weights download resnet18"
    ):
        build_backbone("resnet18")


def test_weights_file_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").write_text, ("x",))

    status = weights_status("resnet18")
    status.folder.mkdir(parents=True)
    torch.save({"fc.weight": Trap()}, status.path)
    with pytest.raises(UserError, match="cannot be used"):
        build_backbone("resnet18")
    assert not (tmp_path / "sprung").exists()


def test_weights_without_batch_counters_load():
    reference = models.resnet18(weights=None).eval()
    state = {key: value for key, value in reference.state_dict().items() if not key.endswith("num_batches_tracked")}
    backbone = backbone_from_state(BACKBONES.get("resnet18"), state).eval()
    with torch.no_grad():
        assert torch.equal(backbone(images()), reference(images()))
    assert not any(tensor.is_meta for tensor in backbone.state_dict().values())


def test_parts_compose_to_the_whole(mobilenet):
    batch = images()
    with torch.no_grad():
        whole = mobilenet(batch)
        middle = mobilenet.forward_until(batch, "block2")
        later = mobilenet.forward_between(middle, "block2", "head_conv")
        assert torch.equal(mobilenet.forward_after(middle, "block2"), whole)
        assert torch.equal(mobilenet.forward_after(later, "head_conv"), whole)
        assert torch.equal(mobilenet.forward_until(batch, "logits"), whole)
        assert mobilenet.forward_between(middle, "block2", "block2") is middle
        with pytest.raises(UserError, match=r"no stage 'layer9'. Choose one of: stem, block1"):
            mobilenet.forward_until(batch, "layer9")
        with pytest.raises(UserError, match="'stem' comes before 'block2'"):
            mobilenet.forward_between(middle, "block2", "stem")


def test_random_weights_depend_on_the_seed_alone(mobilenet):
    torch.manual_seed(1)
    expected_draw = torch.rand(1)
    torch.manual_seed(1)
    again = build_backbone("mobilenet_v3_small", weights="random", seed=3)
    assert torch.equal(torch.rand(1), expected_draw)
    other = build_backbone("mobilenet_v3_small", weights="random", seed=4)
    key = "stages.stem.0.0.weight"
    assert torch.equal(again.state_dict()[key], mobilenet.state_dict()[key])
    assert not torch.equal(other.state_dict()[key], mobilenet.state_dict()[key])
    torch.manual_seed(3)
    own = models.mobilenet_v3_small(weights=None)
    assert torch.equal(again.state_dict()[key], own.state_dict()["features.0.0.weight"])


def test_feature_only_ends_at_the_feature_stage():
    backbone = build_backbone("resnet18", weights="random", feature_only=True)
    assert list(backbone.stages) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert [stage.name for stage in backbone.stage_specs] == list(backbone.stages)
    with torch.no_grad():
        assert backbone(images()).shape == (2, 512, 1, 1)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match=r"Unknown backbone 'vgg'.*vgg16"):
        build_backbone("vgg", weights="random")
    with pytest.raises(UserError, match=r"Unknown weights 'places'.*'pretrained' or 'random'"):
        build_backbone("vgg16", weights="places")


def test_batchnorm_statistics_are_those_of_the_batch():
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5))
    network[0].running_mean.fill_(9.0)
    network[0].momentum = 0.3
    network.train()
    network[1].eval()
    batch = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    set_batchnorm_statistics(network, batch)

    assert network[0].running_mean.item() == 2.0
    assert network[0].running_var.item() == 2.0  # unbiased: ((1 - 2)² + (3 - 2)²) / (2 - 1)
    assert network[0].momentum == 0.3
    assert (network.training, network[0].training, network[1].training) == (True, True, False)
    with pytest.raises(UserError, match="at least two images, received 1"):
        set_batchnorm_statistics(network, batch[:1])
