import re

import pytest
import torch

from lib import settings
from lib.errors import UserError
from lib.models.backbones import BACKBONES
from lib.models.bundled_weights import (
    BundledMetadata,
    read_bundled_metadata,
    read_bundled_weights,
    write_bundled_weights,
)
from lib.models.networks import BundledVGG
from lib.models.stages import build_backbone, set_batchnorm_statistics

SPEC = BACKBONES.get("bundled_vgg")
CLASSES = tuple(f"creatures {number}" for number in range(SPEC.stages[-1].num_channels))
METADATA = BundledMetadata(classes=CLASSES, pretraining={"seed": 3})


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = BundledVGG(len(CLASSES))
    set_batchnorm_statistics(network, images())
    return network.eval()


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """An assets folder of the test's own."""
    monkeypatch.setattr(settings, "ASSETS_DIR", tmp_path)
    return tmp_path


def images(size_px=32, num=4):
    return torch.randn(num, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))


def test_file_is_half_the_size_and_says_what_it_is(network, tmp_path):
    path = tmp_path / "weights.safetensors"
    write_bundled_weights(network, path, METADATA)
    num_bytes = 2 * sum(parameter.numel() for parameter in network.parameters())
    assert num_bytes < path.stat().st_size < 1.02 * num_bytes + 30_000
    assert read_bundled_metadata(path) == METADATA

    tensors, written = read_bundled_weights(path), network.state_dict()
    assert tensors.keys() == written.keys()
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32, torch.int64}
    # Kernels are rounded to 11 bits, the statistics are exact.
    kernel, statistics = "block2.layers.0.weight", "block2.layers.1.running_var"
    assert torch.allclose(tensors[kernel], written[kernel], rtol=2**-11, atol=1e-7)
    assert not torch.equal(tensors[kernel], written[kernel])
    assert torch.equal(tensors[statistics], written[statistics])


def test_backbone_reads_the_bundled_file(network, assets):
    write_bundled_weights(network, assets / SPEC.weights_file, METADATA)
    backbone = build_backbone("bundled_vgg")
    with torch.no_grad():
        logits, expected = backbone(images()), network(images())
        features = backbone.forward_until(images(), SPEC.feature_stage)
        assert torch.allclose(features, network.features(images()), atol=0.02)
    assert torch.allclose(logits, expected, atol=0.05)
    assert expected.std() > 0.1
    assert (backbone.weights, backbone.training) == ("pretrained", False)


def test_missing_and_damaged_files_are_named(assets):
    with pytest.raises(UserError, match=r"bundled_vgg.safetensors is missing.*repository, or choose random weights"):
        build_backbone("bundled_vgg")
    path = assets / SPEC.weights_file
    path.write_bytes(b"not a file of safetensors")
    with pytest.raises(UserError, match=rf"{re.escape(str(path))} cannot be used: It is damaged.*repository"):
        build_backbone("bundled_vgg")


def test_file_of_another_network_or_format_is_refused(network, assets):
    from safetensors.torch import save_file

    path = assets / SPEC.weights_file
    write_bundled_weights(BundledVGG(7), path, METADATA)
    with pytest.raises(UserError, match="not the weights of Bundled VGG"):
        build_backbone("bundled_vgg")
    save_file({"x": torch.zeros(1)}, str(path), metadata={"format_version": "2"})
    with pytest.raises(UserError, match="format '2', this program reads '1'"):
        build_backbone("bundled_vgg")


def test_numbers_beyond_half_precision_are_not_written(network, tmp_path):
    other = BundledVGG(2)
    with torch.no_grad():
        other.logits.weight.fill_(1e5)
    with pytest.raises(UserError, match=r"'logits.weight' holds numbers that half precision cannot"):
        write_bundled_weights(other, tmp_path / "weights.safetensors", METADATA)
    assert list(tmp_path.iterdir()) == []
