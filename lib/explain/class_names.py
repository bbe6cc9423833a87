"""The names of the classes that a pretrained network was trained to tell apart."""

from functools import cache

from lib.models.backbone_spec import BackboneSpec


def pretrained_class_names(spec: BackboneSpec) -> tuple[str, ...]:
    """In the order of the logits: the 1,000 classes of ImageNet, or the generated ones of bundled weights; numbers
    for a network that has none.

    Two names of ImageNet occur twice (crane: the bird and the machine; maillot), so a class number says more than a
    name. Without the bundled file the generated classes have numbers only.
    """
    if not spec.has_weights:
        return tuple(f"class {number}" for number in range(spec.stages[-1].num_channels))
    if not spec.is_bundled:
        return imagenet_class_names()
    from lib.models.bundled_weights import read_bundled_metadata
    from lib.models.weights import weights_status

    status = weights_status(spec.name)
    num_classes = spec.stages[-1].num_channels
    if not status.is_cached:
        return tuple(f"class {number}" for number in range(num_classes))
    return read_bundled_metadata(status.path).classes


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """From torchvision's own metadata (no file, no network)."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
