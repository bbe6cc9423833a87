import numpy as np
import pytest
import torch

from lib import runtime
from lib.errors import UserError


def test_unknown_device_is_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match="'nonsense' cannot be used here"):
        runtime.pick_device("nonsense")
    assert runtime.pick_device("cpu") == "cpu"


def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_cuda, has_mps, expected in ((True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_cuda=has_cuda: has_cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda has_mps=has_mps: has_mps)
        assert runtime.pick_device() == expected


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
