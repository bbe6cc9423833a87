import json

import pytest
import torch

from lib import precision
from lib.settings import cache_dir


@pytest.mark.parametrize(("float32_s", "bfloat16_s", "expected"), [(2.0, 1.0, "bfloat16"), (1.2, 1.0, "float32")])
def test_bfloat16_must_win_clearly_and_is_measured_once(
    monkeypatch: pytest.MonkeyPatch, float32_s: float, bfloat16_s: float, expected: str
) -> None:
    calls = []

    def benchmark(device: str, purpose: str) -> dict[str, float]:
        calls.append(purpose)
        return {"float32": float32_s, "bfloat16": bfloat16_s}

    monkeypatch.setattr(precision, "_benchmark", benchmark)
    name, reason = precision.choose_dtype("cpu")
    assert name == expected
    assert f"{bfloat16_s / float32_s:.2f} of float32's time" in reason
    assert precision.choose_dtype("cpu") == (name, reason)
    assert calls == ["inference"]
    precision.choose_dtype("cpu", "training")
    assert calls == ["inference", "training"]


def test_a_gpu_without_bfloat16_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_benchmark", lambda device, purpose: pytest.fail("measured"))
    monkeypatch.setattr(precision, "_has_bfloat16", lambda: False)
    assert precision._measure_choice("cuda", "training").name == "float32"
    assert "no bfloat16" in precision._measure_choice("cuda:1", "training").reason


def test_damaged_measurement_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    (cache_dir() / "dtype.json").write_text("{")
    monkeypatch.setattr(precision, "_benchmark", lambda device, purpose: {"float32": 1.0, "bfloat16": 1.0})
    assert precision.choose_dtype("cpu")[0] == "float32"
    assert len(json.loads((cache_dir() / "dtype.json").read_text())) == 1


def test_benchmark_measures_both_and_leaves_threads_and_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1, generator=torch.Generator().manual_seed(1))
    num_threads = torch.get_num_threads()
    seconds = precision._benchmark("cpu", "training")
    assert set(seconds) == {"float32", "bfloat16"}
    assert all(0 < value < 5 for value in seconds.values())
    assert torch.get_num_threads() == num_threads
    assert torch.equal(torch.rand(1), expected)
