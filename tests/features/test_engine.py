import json
import logging
import threading
import time

import numpy as np
import pytest
import torch
from filelock import FileLock

from lib.errors import Stopped, UserError
from lib.features import engine, frozen_stages, onnx_session
from lib.features.engine import EngineChoice, FrozenPart, choose_engine, recorded_choices
from lib.features.frozen_stages import FrozenStages, smooth_pictures
from lib.features.onnx_session import EngineUnavailable, OnnxSession
from lib.models.backbones import BACKBONES
from lib.models.stages import build_backbone, set_batchnorm_statistics
from lib.settings import cache_dir
from tests.features.extracted import extract_features
from tests.features.tiny_dataset import TinyDataset

PART = FrozenPart("mobilenet_v3_small", "random", 0, "block2", 32)
SIZES = {"cnn_food": 128}  # at 64 px its pools do not divide its maps, and the exporter refuses those
# A stage as large as VGG16's fc1 (400 MiB) takes seconds to export, and is a matrix product like fc2.
MAX_VALUES = 20_000_000


def network(name, num_images=2, size_px=None, seed=0):
    """A random backbone whose BatchNorm has seen images, and images for it."""
    backbone = build_backbone(name, weights="random", seed=seed)
    images = smooth_pictures(num_images, size_px or max(backbone.spec.min_input_px, 64), seed=1)
    set_batchnorm_statistics(backbone, images[:8])
    return backbone, images


def cosine(one, other):
    one, other = (torch.as_tensor(values).flatten(1).double() for values in (one, other))
    return float(torch.nn.functional.cosine_similarity(one, other).min())


@pytest.mark.parametrize("name", BACKBONES.names)
def test_every_stage_is_the_same_folded_and_by_onnx_runtime(name):
    backbone, hidden = network(name, size_px=SIZES.get(name))
    folded = FrozenStages(backbone.stages, size_px=hidden.shape[-1]).folded
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    with torch.no_grad():
        for stage, module in backbone.stages.items():
            expected = module(hidden)
            assert expected.std() > 1e-4, stage
            assert cosine(folded[stage](hidden), expected) >= 0.9999, stage
            if sum(parameter.numel() for parameter in module.parameters()) < MAX_VALUES:
                assert cosine(OnnxSession(module, tuple(hidden.shape[1:]))(hidden), expected) >= 0.9999, stage
            hidden = expected
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_both_engines_predict_the_same_for_a_hundred_images(name):
    backbone, images = network(name, 100, 48)
    with torch.no_grad():
        expected = torch.cat([backbone(part) for part in images.split(25)])
    assert len(set(expected.argmax(1).tolist())) > 5  # a network that always says the same would agree with anything
    for engine_name in ("torch", "onnx"):
        frozen = FrozenStages(backbone.stages, size_px=48, engine=engine_name)
        found = torch.cat([frozen.forward_until(part, "logits") for part in images.split(25)])
        assert frozen.engine == engine_name
        assert torch.equal(found.argmax(1), expected.argmax(1))
        assert cosine(found, expected) >= 0.9999


def test_batchnorm_is_folded_away_and_its_statistics_stay_at_hand():
    backbone, images = network("mobilenet_v2")
    folded = FrozenStages(backbone.stages, size_px=images.shape[-1]).folded
    norms = [sum(isinstance(m, torch.nn.BatchNorm2d) for m in stages.modules()) for stages in (backbone.stages, folded)]
    assert norms == [52, 0]
    first = next(module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert float(first.running_var.std()) > 0


def test_a_convolution_whose_output_is_read_twice_keeps_its_batchnorm():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)

        def forward(self, x):
            h = self.conv(x)
            return self.norm(h) + h

    stages = torch.nn.ModuleDict({"twice": Twice()})
    images = torch.randn(4, 3, 8, 8)
    set_batchnorm_statistics(stages["twice"], 3 * images + 1)
    stages.eval()
    found = FrozenStages(stages, size_px=8).forward_until(images, "twice")
    assert found == pytest.approx(stages["twice"](images).detach(), abs=1e-5)


def test_stages_behind_the_last_frozen_one_run_on_torch(monkeypatch):
    backbone, images = network("mobilenet_v3_small")
    frozen = FrozenStages(backbone.stages, size_px=images.shape[-1], engine="onnx", last="block2")
    with torch.no_grad():
        for stage in ("block1", "block2", "block5", "logits"):
            expected = backbone.forward_until(images, stage)
            assert frozen.forward_until(images, stage) == pytest.approx(expected, rel=1e-3, abs=1e-3), stage
    assert sorted(frozen._sessions) == ["block1", "block2"]


def test_an_export_is_read_from_the_cache_by_content(monkeypatch):
    backbone, images = network("mobilenet_v3_small")
    stem = backbone.stages["stem"]
    first = OnnxSession(stem, (3, 64, 64))(images)
    (path,) = (cache_dir() / "networks").glob("*.onnx")
    content = path.read_bytes()
    export = onnx_session._export
    monkeypatch.setattr(onnx_session, "_export", lambda *arguments: pytest.fail("exported again"))
    assert torch.equal(OnnxSession(stem, (3, 64, 64))(images), first)
    monkeypatch.setattr(onnx_session, "_export", export)
    with torch.no_grad():
        next(stem.parameters()).mul_(2)
    assert not torch.equal(OnnxSession(stem, (3, 64, 64))(images), first)
    assert path.read_bytes() == content
    assert len(list((cache_dir() / "networks").glob("*.onnx"))) == 2


def test_what_cannot_be_exported_is_computed_by_torch(caplog, capfd):
    class Strange(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x).flatten(1)

    with pytest.raises(EngineUnavailable, match="the network cannot be exported"):
        OnnxSession(Strange(), (3, 8, 8))
    stages, images = torch.nn.ModuleDict({"strange": Strange()}), torch.randn(2, 3, 8, 8)
    frozen = FrozenStages(stages, size_px=8, engine="onnx")
    with caplog.at_level(logging.WARNING):
        found = frozen.forward_until(images, "strange")
    assert torch.equal(found, stages["strange"](images))
    assert frozen.engine == "torch"
    assert capfd.readouterr().out == ""  # where a command prints its JSON
    assert "torch computes the frozen stages instead of ONNX Runtime: the network cannot be exported" in caplog.text


def test_memory_that_runs_out_is_told_as_such(monkeypatch):
    backbone, images = network("mobilenet_v3_small")
    session = OnnxSession(backbone.stages["stem"], (3, 64, 64))

    class Full:
        def run(self, *arguments):
            raise RuntimeError("Failed to allocate memory for requested buffer of size 1")

    session._session = Full()
    with pytest.raises(MemoryError, match="Failed to allocate"):
        session(images)


def test_the_trial_is_made_once_and_its_choice_recorded(monkeypatch):
    rates = {"torch": {4: 10.0, 8: 12.0}, "onnx": {4: 30.0, 8: 20.0}}
    monkeypatch.setattr(engine, "_rates", lambda engines, batch, check: rates)
    found = choose_engine(PART)
    assert (found.name, found.batch_size) == ("onnx", 4)
    assert found.reason.startswith("12 by torch and 30 by ONNX Runtime images a second in a trial with")
    monkeypatch.setattr(engine, "_try_engines", lambda part, **_: pytest.fail("tried again"))
    assert choose_engine(PART, num_images=engine.MIN_IMAGES) == found
    assert recorded_choices() == {"mobilenet_v3_small|block2|32|float32": found}
    content = json.loads((cache_dir() / "engines.json").read_text())
    assert content["onnxruntime"] == onnx_session.runtime_version()
    (cache_dir() / "engines.json").write_text(json.dumps(content | {"onnxruntime": "0.1"}))
    assert recorded_choices() == {}


def test_a_gain_that_is_none_is_not_taken_and_a_wrong_output_neither(monkeypatch):
    monkeypatch.setattr(engine, "_rates", lambda engines, batch, check: {"torch": {8: 10.0}, "onnx": {8: 10.2}})
    assert choose_engine(PART).name == "torch"
    monkeypatch.setattr(onnx_session.OnnxSession, "__call__", lambda self, batch: torch.ones(len(batch), 24, 4, 4))
    found = engine._try_engines(PART)
    assert found.name == "torch"
    assert "puts out something else here (cosine " in found.reason


@pytest.mark.parametrize("load", [0.0, 1000.0])
def test_the_trial_itself_measures_both(monkeypatch, load):
    monkeypatch.setattr(engine.os, "getloadavg", lambda: (load, 0.0, 0.0))
    found = engine._try_engines(PART)
    assert ("counted in processor time" in found.reason) == (load > 0)
    assert found.name in ("torch", "onnx")
    assert found.batch_size in (4, 8, 16, 32)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"num_images": engine.MIN_IMAGES - 1}, "fewer than 256 images are done before a trial is"),
        ({"device": "cuda:0"}, "ONNX Runtime is used on the CPU alone"),
        ({"asked": "torch"}, "asked for"),
    ],
)
def test_torch_without_a_trial(options, reason, monkeypatch):
    monkeypatch.setattr(engine, "_try_engines", lambda part, **_: pytest.fail("tried"))
    batch_size = 32 if options.get("device") else 8
    assert choose_engine(PART, **options) == EngineChoice("torch", batch_size, reason)
    assert choose_engine(None).reason == "no stage is frozen"
    handcrafted = FrozenPart("handcrafted", "random", 0, "measures", 256)
    assert choose_engine(handcrafted).reason == "there is no network"


def test_without_the_package_torch_computes_and_asking_for_it_is_refused(monkeypatch):
    monkeypatch.setattr(onnx_session.importlib.util, "find_spec", lambda name: None)
    assert choose_engine(PART).reason == "the package onnxruntime is not installed"
    with pytest.raises(UserError, match="engine=onnx cannot be used: the package onnxruntime is not installed"):
        choose_engine(PART, asked="onnx")


@pytest.mark.parametrize(("name", "batch_size"), [("torch", 4), ("onnx", 8)])
def test_the_size_of_a_batch_is_that_of_the_trial_for_whoever_computes(name, batch_size):
    engine._record(PART, EngineChoice("torch", 4, "faster"))
    assert engine.batch_size_of(PART, name) == choose_engine(PART, asked=name).batch_size == batch_size
    assert engine.batch_size_of(PART, name, "cuda:0") == 32


def test_a_trial_tells_what_it_does():
    told = []
    choose_engine(PART, progress=lambda done, total, what: told.append((done, total, what)))
    assert list(dict.fromkeys(what for _, _, what in told)) == [
        "waiting for another trial of engines", "trial of engines: building the network",
        "trial of engines: exporting the network", "trial of engines: images a second",
    ]  # fmt: skip
    assert told[-1][:2] == (23, 24)


@pytest.mark.parametrize("phase", ["waiting", "building", "exporting", "images a second"])
def test_a_stop_is_heard_in_every_part_of_a_trial_and_nothing_is_recorded(phase, monkeypatch):
    told, release = [], threading.Event()

    def takes_long(*args, **options):
        release.wait(60)
        raise EngineUnavailable("too late")

    if phase == "waiting":
        lock = FileLock(cache_dir() / "engines.json.lock", thread_local=False)
        cache_dir().mkdir(parents=True, exist_ok=True)
        lock.acquire()
    elif phase == "building":
        monkeypatch.setattr(frozen_stages, "frozen_backbone", takes_long)
    elif phase == "exporting":
        monkeypatch.setattr(engine, "OnnxSession", takes_long)
    began = time.monotonic()
    try:
        with pytest.raises(Stopped, match="Stopped during a trial of engines"):
            choose_engine(
                PART, progress=lambda done, total, what: told.append(what), should_stop=lambda: phase in told[-1]
            )
        assert time.monotonic() - began < 30
        assert not release.is_set()
    finally:
        release.set()
        if phase == "waiting":
            lock.release()
    assert recorded_choices() == {}
    with FileLock(cache_dir() / "engines.json.lock", timeout=0):  # nobody holds it any more
        pass


def test_torch_hears_a_stop_between_stages():
    backbone, images = network("mobilenet_v3_small")
    frozen, calls = FrozenStages(backbone.stages, size_px=images.shape[-1]), []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise Stopped("now")

    with pytest.raises(Stopped, match="now"):
        frozen.forward_until(images, "logits", check)


def test_features_of_the_engines_are_kept_apart_and_agree():
    dataset = TinyDataset(num_images=20)
    found = {name: extract_features(dataset, stage="block2", engine=name) for name in ("torch", "onnx")}
    assert found["torch"].key != found["onnx"].key
    by_torch, by_onnx = (np.asarray(one.features) for one in found.values())
    assert by_onnx == pytest.approx(by_torch, abs=1e-4)
    assert cosine(by_onnx, by_torch) >= 0.9999


def test_onnx_runtime_reports_to_nobody_and_sleeps_while_it_waits(monkeypatch):
    import onnxruntime

    told, sessions = [], []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: told.append("off"))
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda content, options, **_: sessions.append(options))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    onnx_session._load(b"")
    assert told == ["off"]
    assert sessions[0].intra_op_num_threads == 3
    assert sessions[0].get_session_config_entry("session.intra_op.allow_spinning") == "0"
