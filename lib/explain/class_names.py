"""The names of the classes that a pretrained network was trained to tell apart."""

from functools import cache

from lib.models.backbone_spec import BackboneSpec


def pretrained_class_names(spec: BackboneSpec) -> tuple[str, ...]:
    """In the order of the logits: the 1,000 classes of ImageNet, those that timm knows of its larger versions, or the
    generated ones of bundled weights; numbers for a network that has none.

    Two names of ImageNet occur twice (crane: the bird and the machine; maillot), so a class number says more than a
    name. Without the bundled file the generated classes have numbers only.
    """
    num_classes = spec.stages[-1].num_channels
    if not spec.has_classes:
        return tuple(f"feature {number}" for number in range(num_classes))
    if not spec.has_weights:
        return tuple(f"class {number}" for number in range(num_classes))
    if not spec.is_bundled:
        names = imagenet_class_names()
        return names if num_classes == len(names) else _larger_imagenet_names(spec.name, num_classes)
    from lib.models.bundled_weights import read_bundled_metadata
    from lib.models.weights import weights_status

    status = weights_status(spec.name)
    if not status.is_cached:
        return tuple(f"class {number}" for number in range(num_classes))
    return read_bundled_metadata(status.path).classes


def _larger_imagenet_names(name: str, num_classes: int) -> tuple[str, ...]:
    """The names of ImageNet-12k, -21k and -22k as timm has them; numbers for any other classes."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": num_classes, "architecture": name.partition(":")[2]})
    if not subset:
        return tuple(f"class {number}" for number in range(num_classes))
    known = ImageNetInfo(subset)
    return tuple(str(known.index_to_description(number)) for number in range(num_classes))


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """From torchvision's own metadata (no file, no network)."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
