"""The names of the 1,000 ImageNet classes."""

from functools import cache


@cache
def imagenet_class_names() -> tuple[str, ...]:
    """In the order of the logits, from torchvision's own metadata (no file, no network).

    Two names occur twice (crane: the bird and the machine; maillot), so a class number says more than a name.
    """
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])
