"""One network of each family of timm, the smallest that there is, and a folder in which what they are is found once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch

from lib.models import timm_networks
from lib.models.backbone_spec import BackboneSpec

# ResNet, EfficientNet, ConvNeXt, MobileNetV3, ViT, Swin: the stage that a classifier reads, its pooling, what it gives.
FAMILIES = {
    "timm:test_resnet": ("layer4", "average", "map"),
    "timm:test_efficientnet": ("features", "average", "map"),
    "timm:test_convnext": ("pool", "none", "vector"),
    "timm:mobilenetv3_small_050": ("pool", "none", "vector"),
    "timm:test_vit": ("features", "cls", "tokens"),
    "timm:small_swin": ("features", "average", "map"),
}


# Read by `register_model`, as in timm's own modules.
default_cfgs = timm.models.generate_default_cfgs({"small_swin.none": {"input_size": (3, 64, 64), "num_classes": 1000}})


def small_swin(pretrained=False, **options):
    """timm's own Swin transformer; the smallest of its table has 28 million parameters."""
    sizes = {"img_size": 64, "embed_dim": 16, "depths": (1, 1, 2), "num_heads": (1, 2, 4), "window_size": 4}
    features = {"flatten_sequential": True, "out_indices": (0, 1, 2)}
    return timm.models.build_model_with_cfg(
        timm.models.SwinTransformer, "small_swin", pretrained, feature_cfg=features, **sizes, **options
    )


# Before any test asks for the names of all networks, which each process keeps.
timm.models.register_model(small_swin)


@pytest.fixture(name="described", autouse=True, scope="module")
def described_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What was found out about a network is kept for all tests of a module that has this, whose homes are their own."""
    folder = tmp_path_factory.mktemp("described")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(timm_networks, "_folder", lambda: folder)
        yield folder


def random_images(spec: BackboneSpec, number: int = 2) -> torch.Tensor:
    """Images (number, 3, S, S) that the network takes."""
    side = spec.input_size_px if spec.is_fixed_size else 64
    images = torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(1))
    return images.contiguous(memory_format=torch.channels_last)
