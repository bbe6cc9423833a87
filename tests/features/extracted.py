"""Features of a data set in memory, asked for by what a test is about."""

from typing import Any

from lib.data.augmentation import AS_IT_IS
from lib.features.cache import FeatureSet, read_or_extract
from lib.features.extraction import FeatureRequest
from lib.models.backbones import BACKBONES


def feature_request(dataset: Any, **changes: Any) -> FeatureRequest:
    """The pooled features of a random MobileNetV3 for images of 32 px, but for `changes`."""
    spec = BACKBONES.get(changes.get("backbone_name", "mobilenet_v3_small"))
    settings: dict[str, Any] = {
        "backbone_name": spec.name, "weights": "random", "seed": 0, "stage": spec.feature_stage,
        "pooling": spec.pooling, "size_px": 32, "dtype": "float32", "view": AS_IT_IS, "device": "cpu",
    }  # fmt: skip
    return FeatureRequest(dataset, **(settings | changes))


def extract_features(dataset: Any, **changes: Any) -> FeatureSet:
    """The same, computed or read; options of `read_or_extract` may be among the changes."""
    names = ("copies_left", "ranks", "progress", "should_stop")
    options = {name: changes.pop(name) for name in names if name in changes}
    return read_or_extract(feature_request(dataset, **changes), **options)
