import pytest
import torch

from lib.features import onnx_session
from lib.features.frozen_stages import smooth_pictures
from lib.features.onnx_session import OnnxSession
from lib.models.stages import build_backbone, set_batchnorm_statistics
from lib.settings import cache_dir


def network(name, num_images=2, size_px=None, seed=0):
    """A random backbone whose BatchNorm has seen images, and images for it."""
    backbone = build_backbone(name, weights="random", seed=seed)
    images = smooth_pictures(num_images, size_px or max(backbone.spec.min_input_px, 64), seed=1)
    set_batchnorm_statistics(backbone, images[:8])
    return backbone, images


def test_an_export_is_read_from_the_cache_by_content(monkeypatch):
    backbone, images = network("mobilenet_v3_small")
    stem = backbone.stages["stem"]
    first = OnnxSession(stem, (3, 64, 64))(images)
    (path,) = (cache_dir() / "networks").glob("*.onnx")
    content = path.read_bytes()
    export = onnx_session.export_module
    monkeypatch.setattr(onnx_session, "export_module", lambda *arguments: pytest.fail("exported again"))
    assert torch.equal(OnnxSession(stem, (3, 64, 64))(images), first)
    monkeypatch.setattr(onnx_session, "export_module", export)
    with torch.no_grad():
        next(stem.parameters()).mul_(2)
    assert not torch.equal(OnnxSession(stem, (3, 64, 64))(images), first)
    assert path.read_bytes() == content
    assert len(list((cache_dir() / "networks").glob("*.onnx"))) == 2


def test_memory_that_runs_out_is_told_as_such(monkeypatch):
    backbone, images = network("mobilenet_v3_small")
    session = OnnxSession(backbone.stages["stem"], (3, 64, 64))

    class Full:
        def run(self, *arguments):
            raise RuntimeError("Failed to allocate memory for requested buffer of size 1")

    session._session = Full()
    with pytest.raises(MemoryError, match="Failed to allocate"):
        session(images)


def test_onnx_runtime_reports_to_nobody_and_sleeps_while_it_waits(monkeypatch):
    import onnxruntime

    told, sessions = [], []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: told.append("off"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda content, options, **_: sessions.append(options))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    onnx_session.load_session(b"")
    assert told == ["off"]
    assert sessions[0].intra_op_num_threads == 3
    assert sessions[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"
