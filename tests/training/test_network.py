import json
from typing import Any

import pytest

from lib.distributed import Ranks
from lib.errors import Stopped
from lib.features.engine import EngineChoice, FrozenPart
from lib.training import network
from lib.training.config import TrainConfig
from lib.training.events import PhaseStarted
from lib.training.network import choose_compute


def test_choice_is_kept_for_a_resume(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "choose_dtype", lambda device, purpose="inference": ("bfloat16", "fast"))
    path = tmp_path / "compute.json"
    first = choose_compute(TrainConfig(dataset="tiny"), path)
    assert (first.device, first.dtype, first.training_dtype) == ("cpu", "bfloat16", "bfloat16")
    monkeypatch.setattr(network, "choose_dtype", lambda device, purpose="inference": ("float32", "slow"))
    assert choose_compute(TrainConfig(dataset="tiny"), path).dtype == "bfloat16"
    assert json.loads(path.read_text())["dtype"] == "bfloat16"


def test_asked_format_is_not_measured(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "choose_dtype", lambda *args: pytest.fail("measured"))
    chosen = choose_compute(TrainConfig(dataset="tiny", dtype="float32"), tmp_path / "compute.json")
    assert (chosen.dtype, chosen.training_dtype) == ("float32", "float32")


def test_each_rank_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, expected in (("cuda", "cuda:1"), ("mps", "cpu"), ("cpu", "cpu")):
        monkeypatch.setattr(network, "pick_device", lambda name, found=found: found)
        assert network.device_of("auto", Ranks(3, 4, 1)) == expected
        assert network.device_of("auto", Ranks()) == found


def test_the_engine_is_kept_for_a_resume_and_computes_in_float32(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def choose(part: FrozenPart | None, **options: object) -> EngineChoice:
        assert {"progress", "should_stop"} <= set(options)
        asked.append((part, {key: options[key] for key in ("asked", "device", "num_images")}))
        return EngineChoice("onnx", 8, "twice as fast")

    monkeypatch.setattr(network, "choose_engine", choose)
    monkeypatch.setattr(network, "choose_dtype", lambda device, purpose="inference": ("bfloat16", "fast"))
    config = TrainConfig(
        dataset="tiny",
        backbone="mobilenet_v3_small",
        weights="random",
        seed=3,
        input_size_px=64,
        feature_stage="head_conv",
    )
    first = choose_compute(config, tmp_path / "compute.json", num_images=500)
    assert (first.engine, first.engine_batch_size, first.engine_reason) == ("onnx", 8, "twice as fast")
    assert (first.dtype, first.training_dtype) == ("float32", "bfloat16")
    part = FrozenPart("mobilenet_v3_small", "random", 3, "head_conv", 64, "bfloat16")
    assert asked == [(part, {"asked": "auto", "device": "cpu", "num_images": 500})]
    monkeypatch.setattr(network, "choose_engine", lambda *args, **options: pytest.fail("chosen again"))
    assert choose_compute(config, tmp_path / "compute.json", num_images=500) == first
    old = {"dtype": "float32", "training_dtype": "float32"}  # as a run of before there was a choice kept it
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert choose_compute(config, tmp_path / "old.json").engine == "torch"


def test_a_trial_of_engines_is_told_as_phases_and_hears_a_stop(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[object] = []

    def choose(part: FrozenPart | None, *, progress: Any, should_stop: Any, **_: Any) -> EngineChoice:
        for done in (0, 1):
            progress(done, 2, "trial of engines: images a second")
        if should_stop():
            raise Stopped("Stopped during a trial of engines.")
        return EngineChoice()

    monkeypatch.setattr(network, "choose_engine", choose)
    config = TrainConfig(dataset="tiny", backbone="mobilenet_v3_small", dtype="float32")
    choose_compute(config, tmp_path / "compute.json", listener=events.append)
    assert events == [PhaseStarted("Trial of engines: images a second")]
    with pytest.raises(Stopped):
        choose_compute(config, tmp_path / "other.json", should_stop=lambda: True)
    assert not (tmp_path / "other.json").exists()


@pytest.mark.parametrize(
    ("settings", "stage"),
    [
        ({"strategy": "linear_probe", "feature_stage": "head_conv"}, "head_conv"),
        ({"strategy": "partial_finetuning", "unfreeze_from": "block4"}, "block3"),
        ({"strategy": "partial_finetuning", "unfreeze_from": "stem"}, None),
        ({"strategy": "probe_then_finetune", "feature_stage": "head_conv"}, "head_conv"),
        ({"strategy": "full_finetuning"}, None),
    ],
)
def test_the_engine_runs_what_is_frozen(tmp_path, monkeypatch: pytest.MonkeyPatch, settings, stage) -> None:
    parts = []
    monkeypatch.setattr(network, "choose_engine", lambda part, **_: parts.append(part) or EngineChoice())
    config = TrainConfig(dataset="tiny", backbone="mobilenet_v3_small", dtype="float32", **settings)
    choose_compute(config, tmp_path / "compute.json")
    assert [part and part.stage for part in parts] == [stage]
