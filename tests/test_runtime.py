import json

import numpy as np
import pytest
import torch

from lib import runtime
from lib.errors import UserError
from lib.settings import cache_dir


def test_unknown_device_is_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match="'nonsense' cannot be used here"):
        runtime.pick_device("nonsense")
    assert runtime.pick_device("cpu") == "cpu"


@pytest.mark.parametrize(("float32_s", "bfloat16_s", "expected"), [(2.0, 1.0, "bfloat16"), (1.2, 1.0, "float32")])
def test_bfloat16_must_win_clearly_and_is_measured_once(
    monkeypatch: pytest.MonkeyPatch, float32_s: float, bfloat16_s: float, expected: str
) -> None:
    calls = []

    def benchmark(device: str, purpose: str) -> dict[str, float]:
        calls.append(purpose)
        return {"float32": float32_s, "bfloat16": bfloat16_s}

    monkeypatch.setattr(runtime, "_benchmark", benchmark)
    name, reason = runtime.choose_dtype("cpu")
    assert name == expected
    assert f"{bfloat16_s / float32_s:.2f} of float32's time" in reason
    assert runtime.choose_dtype("cpu") == (name, reason)
    assert calls == ["inference"]
    runtime.choose_dtype("cpu", "training")
    assert calls == ["inference", "training"]


def test_a_gpu_without_bfloat16_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_benchmark", lambda device, purpose: pytest.fail("measured"))
    monkeypatch.setattr(runtime, "_has_bfloat16", lambda: False)
    assert runtime._measure_choice("cuda", "training").name == "float32"
    assert "no bfloat16" in runtime._measure_choice("cuda:1", "training").reason


def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_cuda, has_mps, expected in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_cuda=has_cuda: has_cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda has_mps=has_mps: has_mps)
        assert runtime.pick_device() == expected


def test_damaged_measurement_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    (cache_dir() / "dtype.json").write_text("{")
    monkeypatch.setattr(runtime, "_benchmark", lambda device, purpose: {"float32": 1.0, "bfloat16": 1.0})
    assert runtime.choose_dtype("cpu")[0] == "float32"
    assert len(json.loads((cache_dir() / "dtype.json").read_text())) == 1


def test_benchmark_measures_both_and_leaves_threads_and_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(1, generator=torch.Generator().manual_seed(1))
    num_threads = torch.get_num_threads()
    seconds = runtime._benchmark("cpu", "training")
    assert set(seconds) == {"float32", "bfloat16"}
    assert all(0 < value < 5 for value in seconds.values())
    assert torch.get_num_threads() == num_threads
    assert torch.equal(torch.rand(1), expected)


def test_machine_description_fits_json() -> None:
    described = json.loads(json.dumps(runtime.describe_machine()))
    assert described["torch"] == torch.__version__
    assert described["dtype"] in {"float32", "bfloat16"}
    assert described["num_cores"] >= 1
    assert described["memory_mib"] > 100


def test_derived_seeds_depend_on_every_part() -> None:
    seeds = {
        runtime.derived_seed(*parts) for parts in [(0, "step", 1), (0, "step", 2), (1, "step", 1), (0, "order", 1)]
    }
    assert len(seeds) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert runtime.derived_seed(0, "step", 1) == runtime.derived_seed(0, "step", 1)


def test_seed_repeats_draws() -> None:
    draws = []
    for _ in range(2):
        runtime.set_seed(5)
        draws.append((float(torch.rand(1)), float(np.random.rand())))
    assert draws[0] == draws[1]


def test_threads_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert runtime.set_threads() == 1 == torch.get_num_threads()
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert runtime.set_threads() == runtime.available_cores()
    finally:
        torch.set_num_threads(before)


def test_peak_memory_is_in_mib() -> None:
    assert 50 < runtime.peak_rss_mib() < 100_000
