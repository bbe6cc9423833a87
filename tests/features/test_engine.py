import json
import threading
import time

import numpy as np
import pytest
import torch
from filelock import FileLock

from lib.errors import Stopped, UserError
from lib.features import engine, frozen_stages, onnx_session
from lib.features.engine import EngineChoice, FrozenPart, choose_engine, recorded_choices
from lib.features.onnx_session import EngineUnavailable
from lib.settings import cache_dir
from tests.features.extracted import extract_features
from tests.features.tiny_dataset import TinyDataset

PART = FrozenPart("mobilenet_v3_small", "random", 0, "block2", 32)


def cosine(one, other):
    one, other = (torch.as_tensor(values).flatten(1).double() for values in (one, other))
    return float(torch.nn.functional.cosine_similarity(one, other).min())


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
def test_the_size_of_a_batch_is_that_of_the_trial_for_whoever_computes(name, batch_size, monkeypatch):
    monkeypatch.setattr(engine, "_try_engines", lambda part, **_: EngineChoice("torch", 4, "faster"))
    assert choose_engine(PART).batch_size == 4
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


def test_features_of_the_engines_are_kept_apart_and_agree():
    dataset = TinyDataset(num_images=20)
    found = {name: extract_features(dataset, stage="block2", engine=name) for name in ("torch", "onnx")}
    assert found["torch"].key != found["onnx"].key
    by_torch, by_onnx = (np.asarray(one.features) for one in found.values())
    assert by_onnx == pytest.approx(by_torch, abs=1e-4)
    assert cosine(by_onnx, by_torch) >= 0.9999
