import json

import pytest

from lib.distributed import Ranks
from lib.training import compute
from lib.training.compute import choose_compute
from lib.training.config import TrainConfig


def test_choice_is_kept_for_a_resume(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "choose_dtype", lambda device, purpose="inference": ("bfloat16", "fast"))
    path = tmp_path / "compute.json"
    first = choose_compute(TrainConfig(dataset="tiny"), path)
    assert (first.device, first.dtype, first.training_dtype) == ("cpu", "bfloat16", "bfloat16")
    monkeypatch.setattr(compute, "choose_dtype", lambda device, purpose="inference": ("float32", "slow"))
    assert choose_compute(TrainConfig(dataset="tiny"), path).dtype == "bfloat16"
    assert json.loads(path.read_text())["dtype"] == "bfloat16"


def test_asked_format_is_not_measured(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "choose_dtype", lambda *args: pytest.fail("measured"))
    chosen = choose_compute(TrainConfig(dataset="tiny", dtype="float32"), tmp_path / "compute.json")
    assert (chosen.dtype, chosen.training_dtype) == ("float32", "float32")


def test_each_rank_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, expected in (("cuda", "cuda:1"), ("mps", "cpu"), ("cpu", "cpu")):
        monkeypatch.setattr(compute, "pick_device", lambda name, found=found: found)
        assert compute.device_of("auto", Ranks(3, 4, 1)) == expected
        assert compute.device_of("auto", Ranks()) == found
