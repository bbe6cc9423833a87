from lib import settings
from lib.explain.class_names import pretrained_class_names
from lib.models.backbones import BACKBONES
from lib.models.bundled_weights import BundledMetadata, write_bundled_weights
from lib.models.networks import BundledVGG


def test_classes_of_imagenet_are_torchvisions():
    names = pretrained_class_names(BACKBONES.get("resnet18"))
    assert (len(names), names[281]) == (1000, "tabby")


def test_generated_classes_are_those_of_the_bundled_file(tmp_path, monkeypatch):
    spec = BACKBONES.get("bundled_vgg")
    monkeypatch.setattr(settings, "ASSETS_DIR", tmp_path)
    assert pretrained_class_names(spec)[-1] == f"class {spec.stages[-1].num_channels - 1}"
    metadata = BundledMetadata(classes=("gratings 0", "creatures 12"), pretraining={})
    write_bundled_weights(BundledVGG(2), tmp_path / spec.weights_file, metadata)
    assert pretrained_class_names(spec) == ("gratings 0", "creatures 12")
