import json
import zipfile

import pytest
import safetensors.torch
import torch

from lib.errors import UserError, WeightsUnavailable
from lib.models import bundle_files, bundles
from lib.models.backbones import BACKBONES
from lib.models.bundle_files import unpacked_bundle
from lib.models.bundles import export_bundle, load_bundle, save_bundle
from lib.models.classifier import build_classifier
from lib.models.freezing import apply_freezing
from lib.models.stages import build_backbone, set_batchnorm_statistics
from lib.models.weights import weights_digest, weights_status

NAME = "mobilenet_v3_small"


def images(num=4):
    return torch.randn(num, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def weights_state():
    """A state dictionary with torchvision's keys that stands in for published weights."""
    from torchvision import models

    torch.manual_seed(0)
    network = models.get_model(NAME, weights=None)
    set_batchnorm_statistics(network, images())
    return network.state_dict()


@pytest.fixture
def base_file(weights_state):
    status = weights_status(NAME)
    status.folder.mkdir(parents=True)
    torch.save(weights_state, status.path)
    return status.path


def saved(folder, classifier, **options):
    digest = weights_digest(NAME, classifier.weights, classifier.seed)
    save_bundle(folder, classifier, {"classes": ["cat", "dog"]}, base_digest=digest, **options)
    return folder


def stored_keys(folder):
    return set(safetensors.torch.load_file(folder / "network.safetensors"))


def logits(classifier):
    with torch.no_grad():
        return classifier.eval()(images())


def test_frozen_backbone_saves_the_head_alone(tmp_path, base_file):
    classifier = build_classifier(build_backbone(NAME), head="linear", num_classes=2)
    folder = saved(tmp_path / "bundle", classifier)
    assert stored_keys(folder) == {"head.weight", "head.bias"}

    loaded = load_bundle(folder)
    assert torch.equal(logits(loaded.classifier), logits(classifier))
    assert loaded.manifest["classes"] == ["cat", "dog"]
    assert not loaded.classifier.training
    assert not any(parameter.requires_grad for parameter in loaded.classifier.parameters())


def test_finetuned_saves_what_changed(tmp_path, base_file):
    classifier = build_classifier(build_backbone(NAME), head="mlp", num_classes=2)
    apply_freezing(classifier, trains_backbone="partial", unfreeze_from="head_conv")
    classifier.train()
    torch.nn.functional.cross_entropy(classifier(images()), torch.tensor([0, 1, 0, 1])).backward()
    torch.optim.SGD([p for p in classifier.parameters() if p.requires_grad], lr=0.1).step()
    folder = saved(tmp_path / "bundle", classifier)

    assert {key.split(".")[1] for key in stored_keys(folder) if key.startswith("stages.")} == {"head_conv"}
    assert "stages.head_conv.0.1.running_mean" in stored_keys(folder)
    assert torch.equal(logits(load_bundle(folder).classifier), logits(classifier))


def test_changed_or_missing_base_weights_are_named(tmp_path, base_file, weights_state):
    folder = saved(tmp_path / "bundle", build_classifier(build_backbone(NAME), head="linear", num_classes=2))
    torch.save({**weights_state, "classifier.3.bias": torch.ones(1000)}, base_file)
    with pytest.raises(UserError, match=r"trained from another file mobilenet_v3_small-047dcff4.pth"):
        load_bundle(folder)
    base_file.unlink()
    with pytest.raises(WeightsUnavailable, match="python -m lib weights download mobilenet_v3_small"):
        load_bundle(folder)


def test_weights_that_changed_since_training_are_not_taken_for_the_base(tmp_path, base_file, weights_state):
    classifier = build_classifier(build_backbone(NAME), head="linear", num_classes=2)
    digest = weights_digest(NAME, "pretrained")
    torch.save({**weights_state, "classifier.3.bias": torch.ones(1000)}, base_file)
    save_bundle(tmp_path / "bundle", classifier, {}, base_digest=digest)
    base_file.unlink()
    assert torch.equal(logits(load_bundle(tmp_path / "bundle").classifier), logits(classifier))


@pytest.mark.parametrize(("stage", "head"), [(None, "nearest_neighbors"), ("block2", "linear"), ("fc1", "mlp")])
def test_random_backbone_is_saved_whole(tmp_path, stage, head):
    backbone = build_backbone(NAME, weights="random", seed=2)
    classifier = build_classifier(backbone, head=head, num_classes=2, feature_stage=stage)
    if head == "nearest_neighbors":
        classifier.head.fit(classifier.eval().features(images()).detach(), torch.tensor([0, 1, 0, 1]))
    folder = saved(tmp_path / "bundle", classifier)
    loaded = load_bundle(folder).classifier

    assert stored_keys(folder) == set(classifier.state_dict())
    assert torch.equal(logits(loaded), logits(classifier))
    assert (loaded.weights, loaded.seed, loaded.num_classes) == ("random", 2, 2)
    assert loaded.stage_specs == classifier.stage_specs


def test_input_rescaling_survives(tmp_path):
    classifier = build_classifier(build_backbone("googlenet", weights="random"), head="linear", num_classes=2)
    save_bundle(tmp_path / "bundle", classifier, {}, base_digest="")
    assert torch.equal(logits(load_bundle(tmp_path / "bundle").classifier), logits(classifier))


def test_export_needs_no_base_weights_and_keeps_what_lies_beside(tmp_path, base_file):
    classifier = build_classifier(build_backbone(NAME), head="linear", num_classes=2)
    folder = saved(tmp_path / "bundle", classifier)
    safetensors.torch.save_file({"reference": torch.ones(2)}, folder / "gate.safetensors", metadata={"threshold": "1"})
    target = export_bundle(folder, tmp_path / "out" / "bundle.zip")
    base_file.unlink()

    loaded = load_bundle(target)
    assert torch.equal(logits(loaded.classifier), logits(classifier))
    assert loaded.manifest["classes"] == ["cat", "dog"]
    with unpacked_bundle(target) as unpacked:
        assert (unpacked / "gate.safetensors").read_bytes() == (folder / "gate.safetensors").read_bytes()
    assert not unpacked.exists()
    again = export_bundle(target, tmp_path / "again.zip")
    assert torch.equal(logits(load_bundle(again).classifier), logits(classifier))


def test_an_export_that_could_not_be_opened_again_is_refused(tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", 2**20)
    with pytest.raises(UserError, match=r"takes \d+ MiB, a bundle holds at most 1. Copy the run's folder"):
        export_bundle(bundle, tmp_path / "large.zip")
    assert not (tmp_path / "large.zip").exists()


@pytest.fixture
def bundle(tmp_path):
    classifier = build_classifier(build_backbone(NAME, weights="random"), head="linear", num_classes=2)
    return saved(tmp_path / "bundle", classifier)


def rewrite(folder, *, tensors=None, **network):
    """Change a bundle the way somebody with an editor could, hash included."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["network"].update(network)
    if tensors is not None:
        safetensors.torch.save_file(tensors, folder / "network.safetensors")
        manifest["network_sha256"] = bundle_files.sha256_of_file(folder / "network.safetensors")
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "vgg99"}, "Unknown backbone 'vgg99'"),
        ({"backbone": None}, "backbone should be of type str, is None"),
        ({"head": "svm"}, "Unknown head 'svm'"),
        ({"head_options": {"depth": 3}}, "no option 'depth'"),
        ({"feature_stage": "layer4"}, "has no stage 'layer4'"),
        ({"pooling": "none"}, "gives a map"),
        ({"num_classes": 3}, "its network needs"),
        ({"num_classes": 10**12}, "should lie between 1 and"),
        ({"feature_dim": -1}, "should lie between 1 and"),
        ({"format_version": 99}, "has format 99"),
        ({"surprise": 1}, "not well-formed"),
        ({"backbone": "mobilenet_v2", "feature_dim": 1280}, "does not have"),
    ],
)
def test_edited_manifests_are_refused(bundle, change, message):
    rewrite(bundle, **change)
    with pytest.raises(UserError, match=message):
        load_bundle(bundle)


def test_edited_tensors_are_refused(bundle):
    tensors = safetensors.torch.load_file(bundle / "network.safetensors")
    for changed, message in (
        ({**tensors, "extra": torch.zeros(1)}, "'extra' that its network does not have"),
        ({**tensors, "head.bias": torch.zeros(2, dtype=torch.float64)}, r"'head.bias' is torch.float64 \(2,\)"),
        ({key: value for key, value in tensors.items() if key != "head.bias"}, "lacks the tensor 'head.bias'"),
        ({key: value for key, value in tensors.items() if "stem" not in key}, "lacks the tensor 'stages.stem"),
    ):
        rewrite(bundle, tensors=changed)
        with pytest.raises(UserError, match=message):
            load_bundle(bundle)


def test_damage_is_noticed(bundle, tmp_path):
    network = bundle / "network.safetensors"
    content = bytearray(network.read_bytes())
    content[-1] ^= 1
    network.write_bytes(content)
    with pytest.raises(UserError, match=r"does not match its manifest.json"):
        load_bundle(bundle)
    (bundle / "manifest.json").write_text("{" * 100_000)
    with pytest.raises(UserError, match="cannot be read"):
        load_bundle(bundle)
    with pytest.raises(UserError, match="no saved classifier at"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"lacks manifest.json"):
        load_bundle(tmp_path)


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"../evil.json": "{}", "manifest.json": "{}"}, "it holds '../evil.json'"),
        ({"/etc/evil.json": "{}", "manifest.json": "{}"}, "it holds"),
        ({"script.py": "", "manifest.json": "{}"}, "it holds 'script.py'"),
        ({"network.safetensors": ""}, "needs one manifest.json"),
        ({"manifest.json": "{}"} | {f"{i}.json": "" for i in range(20)}, "few other files"),
        ({"manifest.json": "[]", "network.safetensors": "x"}, "does not match"),
    ],
)
def test_strange_zips_are_refused(tmp_path, members, message):
    with pytest.raises(UserError, match=message):
        load_bundle(write_zip(tmp_path / "upload.zip", members))


def test_zip_bombs_and_broken_zips_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_files, "MAX_BUNDLE_BYTES", 2**20)
    bomb = write_zip(tmp_path / "bomb.zip", {"manifest.json": "{}", "network.safetensors": b"\0" * (2**20)})
    with pytest.raises(UserError, match="unpacks to more than 1 MiB"):
        load_bundle(bomb)
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(UserError, match=r"text.zip cannot be read \(BadZipFile\)"):
        load_bundle(tmp_path / "text.zip")


def test_every_backbone_of_the_table_fits_the_size_limit():
    largest = max(spec.num_parameters for spec in BACKBONES) * 4
    assert largest < bundle_files.MAX_BUNDLE_BYTES
