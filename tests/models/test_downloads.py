import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import safetensors.torch
import torch

from lib.errors import Stopped, UserError, WeightsUnavailable
from lib.models import downloads
from lib.models.backbones import BACKBONES
from lib.models.downloads import download_weights
from lib.models.networks import build_network
from lib.models.stages import build_backbone
from lib.models.weights import (
    all_weights_status,
    require_weights,
    weights_digest,
)
from lib.settings import torch_hub_dir


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

    monkeypatch.setattr(downloads, "_fetch", fail)
    with pytest.raises(WeightsUnavailable, match=r"could not be written to .*No space left on device"):
        download_weights("mobilenet_v2")


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


def test_weights_of_timm_are_asked_for_offline_in_one_sentence():
    with pytest.raises(WeightsUnavailable, match=r"Run `python -m lib weights download timm:test_resnet` \(1.8 MiB\)"):
        require_weights("timm:test_resnet")
    with pytest.raises(WeightsUnavailable) as caught:
        download_weights("timm:test_resnet")
    address = "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
    folder = torch_hub_dir() / "checkpoints"
    assert "could not be fetched from huggingface.co" in str(caught.value)
    assert f"download {address} and copy the file to {folder} as timm--test_resnet" in str(caught.value)
