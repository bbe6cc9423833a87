"""The networks of torchvision and timm and the bundled one, cut into the named stages of the backbone table.

A ReLU belongs to its stage and does not work in place, so that a recorded activation stays what it was. Dropout
belongs to the stage after the features it drops, so that the head of a classifier reads them whole. Auxiliary heads are
left out.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lib.models.backbone_spec import TIMM, BackboneSpec
from lib.models.backbones import BACKBONES
from lib.models.bundled_vgg import BundledVGG
from lib.models.cnn_food import CNNFood
from lib.models.handcrafted import HandcraftedNetwork
from lib.models.timm_stages import build_timm, split_timm


class InputRescaling(nn.Module):
    """From the ImageNet normalisation to -1..1, for weights ported from TensorFlow (`transform_input`)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        scale = torch.tensor([std / 0.5 for std in spec.std], device="cpu")
        shift = torch.tensor([(mean - 0.5) / 0.5 for mean in spec.mean], device="cpu")
        self.register_buffer("scale", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in, the same shape out."""
        return x * self.scale + self.shift


def build_network(name: str) -> nn.Module:
    """Build the network, randomly initialised; torchvision's without auxiliary heads and in-place operations."""
    if name == "bundled_vgg":
        network: Any = BundledVGG(BACKBONES.get(name).stage("logits").num_channels)
    elif name == "cnn_food":
        network = CNNFood(BACKBONES.get(name).stage("logits").num_channels)
    elif name == "handcrafted":
        network = HandcraftedNetwork()
    elif name == "efficientnet_lite0":
        import timm  # half a second, and torchvision's second with it

        # By TensorFlow's rules: its padding and its BatchNorm's epsilon are what the weights were trained with.
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    elif name.startswith(TIMM):
        network = build_timm(name)
    else:
        # torchvision takes a second to import, which the bundled networks can do without.
        from lib.models.torchvision_networks import build_torchvision

        network = build_torchvision(name)
    return without_inplace(network)


def without_inplace(network: nn.Module) -> nn.Module:
    """Let no operation of the network overwrite its input; returns the network."""
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return network


def split_into_stages(spec: BackboneSpec, network: nn.Module) -> nn.ModuleDict:
    """Regroup the modules of `build_network` under the stage names of `spec`, in order."""
    stages = split_timm(network, spec) if spec.name.startswith(TIMM) else dict(_SPLITTERS[spec.name](network))
    if spec.transform_input:
        first = next(iter(stages))
        stages[first] = nn.Sequential(InputRescaling(spec), *stages[first].children())
    if tuple(stages) != spec.stage_names:
        raise ValueError(f"The stages of {spec.name} are {tuple(stages)}, the table says {spec.stage_names}.")
    return nn.ModuleDict(stages)


def _split_bundled_vgg(network: Any) -> dict[str, nn.Module]:
    names = ("block1", "block2", "block3", "block4", "block5", "pool", "projection", "logits")
    return {name: network.get_submodule(name) for name in names}


def _split_efficientnet(network: Any) -> dict[str, nn.Module]:
    return {
        "stem": nn.Sequential(network.conv_stem, network.bn1),
        **{f"block{i}": block for i, block in enumerate(network.blocks, start=1)},
        "head_conv": nn.Sequential(network.conv_head, network.bn2),
        "pool": network.global_pool,
        "logits": nn.Sequential(network.classifier),
    }


def _split_by_children(network: Any) -> dict[str, nn.Module]:
    return dict(network.named_children())


def _split_vgg(network: Any) -> dict[str, nn.Sequential]:
    stages: dict[str, nn.Sequential] = {}
    block, layer = 1, 0
    for module in network.features:
        if isinstance(module, nn.Conv2d):
            layer += 1
            stages[f"conv{block}_{layer}"] = nn.Sequential()
        stages[f"conv{block}_{layer}"].append(module)
        if isinstance(module, nn.MaxPool2d):
            block, layer = block + 1, 0
    linear1, relu1, dropout1, linear2, relu2, dropout2, linear3 = network.classifier
    stages["fc1"] = nn.Sequential(network.avgpool, nn.Flatten(1), linear1, relu1)
    stages["fc2"] = nn.Sequential(dropout1, linear2, relu2)
    stages["logits"] = nn.Sequential(dropout2, linear3)
    return stages


def _split_googlenet(network: Any) -> dict[str, nn.Sequential]:
    pools = {"3b": network.maxpool3, "4e": network.maxpool4}
    stages = {
        "stem": nn.Sequential(network.conv1, network.maxpool1),
        "conv2": nn.Sequential(network.conv2, network.conv3, network.maxpool2),
    }
    for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        stages[f"inception{name}"] = nn.Sequential(network.get_submodule(f"inception{name}"))
        if name in pools:
            stages[f"inception{name}"].append(pools[name])
    return stages | _pool_and_logits(network)


def _split_inception_v3(network: Any) -> dict[str, nn.Sequential]:
    stages = {
        "stem": nn.Sequential(network.Conv2d_1a_3x3, network.Conv2d_2a_3x3, network.Conv2d_2b_3x3, network.maxpool1),
        "conv4": nn.Sequential(network.Conv2d_3b_1x1, network.Conv2d_4a_3x3, network.maxpool2),
    }
    for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
        stages[f"mixed_{name}"] = nn.Sequential(network.get_submodule(f"Mixed_{name}"))
    return stages | _pool_and_logits(network)


def _pool_and_logits(network: Any) -> dict[str, nn.Sequential]:
    return {
        "pool": nn.Sequential(network.avgpool, nn.Flatten(1)),
        "logits": nn.Sequential(network.dropout, network.fc),
    }


def _split_resnet(network: Any) -> dict[str, nn.Sequential]:
    return {
        "stem": nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool),
        **{name: network.get_submodule(name) for name in ("layer1", "layer2", "layer3", "layer4")},
        "pool": nn.Sequential(network.avgpool, nn.Flatten(1)),
        "logits": nn.Sequential(network.fc),
    }


def _split_features(network: Any, starts: tuple[int, ...]) -> dict[str, nn.Sequential]:
    """A MobileNet's `features`: first convolution, blocks that begin at the given indices, last convolution."""
    last = len(network.features) - 1
    ends = (*starts[1:], last)
    return {
        "stem": nn.Sequential(network.features[0]),
        **{f"block{i}": network.features[a:b] for i, (a, b) in enumerate(zip(starts, ends, strict=True), start=1)},
        "head_conv": nn.Sequential(network.features[last]),
        "pool": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)),
    }


def _split_mobilenet_v2(network: Any) -> dict[str, nn.Sequential]:
    # A block is one row of table 2 of the paper: the same width, a change of resolution at its start.
    return _split_features(network, (1, 2, 4, 7, 11, 14, 17)) | {"logits": network.classifier}


def _split_mobilenet_v3_small(network: Any) -> dict[str, nn.Sequential]:
    linear1, activation, dropout, linear2 = network.classifier
    return _split_features(network, (1, 2, 4, 7, 9)) | {
        "fc1": nn.Sequential(linear1, activation),
        "logits": nn.Sequential(dropout, linear2),
    }


_SPLITTERS: dict[str, Callable[[Any], Mapping[str, nn.Module]]] = {
    "bundled_vgg": _split_bundled_vgg,
    "efficientnet_lite0": _split_efficientnet,
    "cnn_food": _split_by_children,
    "handcrafted": _split_by_children,
    "vgg16": _split_vgg,
    "googlenet": _split_googlenet,
    "inception_v3": _split_inception_v3,
    "resnet18": _split_resnet,
    "resnet50": _split_resnet,
    "mobilenet_v2": _split_mobilenet_v2,
    "mobilenet_v3_small": _split_mobilenet_v3_small,
}
