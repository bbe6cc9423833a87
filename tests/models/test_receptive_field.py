"""The field that one place of a stage sees, against sums done by hand and against gradients."""

import pytest
import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.models.backbone_spec import StageSpec
from lib.models.backbones import BACKBONES
from lib.models.receptive_field import ReceptiveField, receptive_field, receptive_fields
from lib.models.stages import StagedNetwork, build_backbone, empty_backbone
from tests.explain.tiny import TinyNetwork


class Staged(StagedNetwork):
    """Any modules as stages that give maps."""

    def __init__(self, **stages: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(stages)

    @property
    def stage_specs(self) -> tuple[StageSpec, ...]:
        return tuple(StageSpec(name, name, "map") for name in self.stages)

    @property
    def steps(self) -> nn.ModuleDict:
        return self.stages


class Squeezed(nn.Module):
    """A convolution whose channels are weighed by their means over the image."""

    def __init__(self, average: nn.Module) -> None:
        super().__init__()
        self.convolution, self.average = nn.Conv2d(4, 4, 3, padding=1), average

    def forward(self, x: Tensor) -> Tensor:
        h = self.convolution(x)
        return h * torch.sigmoid(self.average(h))


class MeanOverPlaces(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


class Branches(nn.Module):
    """A shortcut of 1 x 1 beside two convolutions of 1 x 3 and 3 x 1, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.short, self.wide = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, (1, 3), padding=(0, 1))
        self.high = nn.Conv2d(4, 4, (3, 1), padding=(1, 0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.short(x), self.high(self.wide(x))], dim=1)


def fields(name: str) -> dict[str, tuple[int, int, int]]:
    """Size, stride and start of the stages with a map, of a network without any weights."""
    spec = BACKBONES.get(name)
    network = empty_backbone(spec, weights="random")
    found = receptive_fields(network, spec.input_size_px)
    return {name: (one.size_px, one.stride_px, one.start_px) for name, one in found.items() if one.is_local}


def test_a_tiny_network_by_hand() -> None:
    found = receptive_fields(TinyNetwork(), 32)
    # Kernels of 3 at stride 2: 3, then 3 + 2 x 2 = 7, then 7 + 2 x 4 = 15; padding 1 moves the start by 1, 2 and 4.
    assert [(one.size_px, one.stride_px, one.start_px) for one in found.values()] == [
        (3, 2, -1), (7, 4, -3), (15, 8, -7), (32, 32, 0),
    ]  # fmt: skip
    assert [one.is_whole for one in found.values()] == [False, False, False, True]
    assert found["logits"].box(0, 0) == (0, 0, 32, 32)


def test_boxes_are_clipped_to_the_image() -> None:
    field = receptive_field(TinyNetwork(), "middle", 32)
    assert field.box(0, 0) == (0, 0, 4, 4)  # from -3 to 4
    assert field.box(3, 2) == (9, 5, 16, 12)
    assert field.box(7, 7) == (25, 25, 32, 32)
    behind = ReceptiveField(3, 8, 40, 32)  # a place that padding alone made
    assert behind.box(0, 0) == (31, 31, 32, 32)


def test_vgg16_layer_by_layer() -> None:
    # Each convolution adds 2 x stride, each pooling of 2 adds 1 x stride and doubles it.
    sizes = {name: size for name, (size, _, _) in fields("vgg16").items()}
    assert sizes == {
        "conv1_1": 3, "conv1_2": 6, "conv2_1": 10, "conv2_2": 16, "conv3_1": 24, "conv3_2": 32, "conv3_3": 44,
        "conv4_1": 60, "conv4_2": 76, "conv4_3": 100, "conv5_1": 132, "conv5_2": 164, "conv5_3": 212,
    }  # fmt: skip
    assert fields("vgg16")["conv5_3"] == (212, 32, -90)  # 2 x (1 + 2) + 3 x (4 + 8 + 16) of padding


def test_resnet18_block_by_block() -> None:
    assert fields("resnet18") == {
        "stem": (11, 4, -5),  # 7, then 7 + 2 x 2
        "layer1": (43, 4, -21),  # four convolutions add 8 each
        "layer2": (99, 8, -49),  # 43 + 8, then three times 16
        "layer3": (211, 16, -105),
        "layer4": (435, 32, -217),
    }


def test_mobilenet_by_hand() -> None:
    # MobileNetV2: 3; +4; +4, +8; +8, +16, +16; +16 and three times 32; three times 32; +32, twice 64; +64; 1 x 1.
    sizes = [size for size, _, _ in fields("mobilenet_v2").values()]
    assert sizes == [3, 7, 19, 59, 171, 267, 427, 491, 491]
    # EfficientNet-Lite0 pads as TensorFlow does: more behind than before, so that the first place starts at pixel 0.
    assert fields("efficientnet_lite0")["stem"] == (3, 2, 0)


def test_squeeze_and_excitation_sees_everything_and_has_a_convolutional_field() -> None:
    spec = BACKBONES.get("mobilenet_v3_small")
    found = receptive_fields(empty_backbone(spec, weights="random"), 224)
    assert not found["stem"].is_whole
    assert (found["block1"].size_px, found["block1"].is_whole, found["block1"].is_local) == (7, True, True)
    assert found["head_conv"].size_px == 639  # 7, 31, 191, 319, 639
    assert "an operation over the whole image" in found["block1"].describe()
    for average in (nn.AdaptiveAvgPool2d(1), MeanOverPlaces()):
        network = Staged(stem=nn.Conv2d(3, 4, 3, padding=1), squeezed=Squeezed(average))
        field = receptive_field(network, "squeezed", 16)
        assert (field.size_px, field.stride_px, field.start_px, field.is_whole) == (5, 1, -2, True)


def test_branches_see_what_either_sees() -> None:
    network = Staged(stem=nn.Conv2d(3, 4, 2, stride=2), branches=Branches(), dilated=nn.Conv2d(8, 4, 3, dilation=3))
    found = receptive_fields(network, 32)
    assert (found["branches"].size_px, found["branches"].start_px) == (6, -2)
    assert (found["dilated"].size_px, found["dilated"].start_px) == (18, -2)  # 6 + 2 x 3 x 2


def test_tokens_see_the_image_from_their_place() -> None:
    network = build_backbone("timm:test_vit", weights="random")
    field = receptive_field(network, network.spec.stage_names[0], 160)
    assert (field.size_px, field.stride_px, field.is_whole, field.is_local) == (160, 16, True, False)
    assert field.box(3, 4) == (0, 0, 160, 160)
    assert "the whole image" in field.describe()


@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_convnext", "bundled_vgg"])
def test_no_gradient_comes_from_outside(name: str) -> None:
    network = build_backbone(name, weights="random").double()
    size_px = network.spec.input_size_px
    for stage, field in receptive_fields(network, size_px).items():
        if not field.is_local or stage == network.spec.feature_stage:
            continue
        image = torch.rand(1, 3, size_px, size_px, dtype=torch.float64).requires_grad_()
        output = network.forward_until(image, stage)
        row = output.shape[2] // 2
        (gradient,) = torch.autograd.grad(output[0, :, row, 1].abs().sum(), image)
        seen = gradient[0].abs().sum(0).nonzero()
        top, left, bottom, right = field.box(row, 1)
        assert (seen.amin(0) >= torch.tensor([top, left])).all()
        assert (seen.amax(0) < torch.tensor([bottom, right])).all()


def test_without_pooling_the_gradient_fills_the_field() -> None:
    network = TinyNetwork()
    image = torch.rand(1, 3, 32, 32).requires_grad_()
    (gradient,) = torch.autograd.grad(network.forward_until(image, "middle")[0, :, 4, 3].sum(), image)
    seen = gradient[0].abs().sum(0).nonzero()
    top, left, bottom, right = receptive_field(network, "middle", 32).box(4, 3)
    assert seen.amin(0).tolist() == [top, left]
    assert seen.amax(0).tolist() == [bottom - 1, right - 1]


def test_the_network_stays_and_an_unknown_stage_is_one_sentence() -> None:
    network = TinyNetwork().train()
    before = {name: (id(one), one.clone()) for name, one in network.state_dict(keep_vars=True).items()}
    receptive_fields(network, 32)
    with pytest.raises(UserError, match=r"no stage 'conv9'. Choose one of: stem, middle, last, logits\."):
        receptive_field(network, "conv9", 32)
    after = network.state_dict(keep_vars=True)
    assert all(id(after[name]) == key and torch.equal(after[name], value) for name, (key, value) in before.items())
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
