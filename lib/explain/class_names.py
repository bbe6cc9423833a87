"""The names of the classes that a pretrained network was trained to tell apart."""

from lib.models.backbone_spec import BackboneSpec


def pretrained_class_names(spec: BackboneSpec) -> tuple[str, ...]:
    """In the order of the logits: the 1,000 classes of ImageNet, those that timm knows of its larger versions, or the
    generated ones of bundled weights; numbers for a network that has none.

    Two names of ImageNet occur twice (crane: the bird and the machine; maillot), so a class number says more than a
    name. Without the bundled file the generated classes have numbers only.
    """
    num_classes = spec.stages[-1].num_channels
    names = _known_names(spec, num_classes) if spec.has_classes and spec.has_weights else ()
    word = "class" if spec.has_classes else "feature"
    return names or tuple(f"{word} {number}" for number in range(num_classes))


def _known_names(spec: BackboneSpec, num_classes: int) -> tuple[str, ...]:
    if spec.is_bundled:
        from lib.models.bundled_weights import read_bundled_metadata
        from lib.models.weights import weights_status

        status = weights_status(spec.name)
        return read_bundled_metadata(status.path).classes if status.is_cached else ()
    if num_classes == 1000:
        from torchvision.models import ResNet18_Weights

        return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])  # no file, no network
    from timm.data import ImageNetInfo, infer_imagenet_subset

    # ImageNet-12k, -21k and -22k; None for any other classes.
    subset = infer_imagenet_subset({"num_classes": num_classes, "architecture": spec.name.partition(":")[2]})
    known = ImageNetInfo(subset) if subset else None
    return tuple(str(known.index_to_description(number)) for number in range(num_classes)) if known else ()
