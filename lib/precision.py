"""Which number format pays here, bfloat16 or float32: measured once per machine, and used by `autocast`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from lib.atomic import read_json_or_empty, write_json
from lib.runtime import processor_name
from lib.settings import cache_dir

Purpose = Literal["inference", "training"]

# bfloat16 keeps 8 bits of mantissa: a small gain in time does not pay for the rounding.
MIN_BFLOAT16_GAIN = 1.3
_BENCHMARK_ROUNDS = 6
_BENCHMARK_IMAGES = 8
_BENCHMARK_SIDE_PX = 112


@dataclass(frozen=True)
class DtypeChoice:
    """A number format ("float32" or "bfloat16") and the sentence that says why."""

    name: str
    reason: str


def choose_dtype(device: str, purpose: Purpose = "inference") -> tuple[str, str]:
    """Return ("bfloat16" or "float32", why), measured once per machine and kept in the cache folder."""
    choice = _cached_choice(device, purpose)
    return choice.name, choice.reason


@contextmanager
def autocast(device: str, dtype_name: str) -> Iterator[None]:
    """Compute in bfloat16 where `dtype_name` says so; does nothing for "float32"."""
    import torch

    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=dtype_name == "bfloat16"):
        yield


def _cached_choice(device: str, purpose: Purpose) -> DtypeChoice:
    import torch

    store = cache_dir() / "dtype.json"
    key = "|".join((purpose, device, processor_name(), torch.backends.cpu.get_cpu_capability(), torch.__version__))
    known = read_json_or_empty(store)
    if key in known:
        return DtypeChoice(*known[key])
    choice = _measure_choice(device, purpose)
    write_json(store, {**known, key: [choice.name, choice.reason]})
    return choice


def _measure_choice(device: str, purpose: Purpose) -> DtypeChoice:
    if device == "mps":
        return DtypeChoice("float32", "bfloat16 is not used on Apple GPUs")
    if device.startswith("cuda") and not _has_bfloat16():
        return DtypeChoice("float32", "this GPU has no bfloat16 units")
    seconds = _benchmark(device, purpose)
    gain = seconds["float32"] / seconds["bfloat16"]
    measured = f"bfloat16 takes {1 / gain:.2f} of float32's time for {purpose} here"
    if gain > MIN_BFLOAT16_GAIN:
        return DtypeChoice("bfloat16", measured)
    return DtypeChoice("float32", f"{measured}, which does not pay for its rounding")


def _has_bfloat16() -> bool:
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)


def _benchmark(device: str, purpose: Purpose) -> dict[str, float]:
    """Best seconds of one batch per number format.

    Rounds alternate and one thread computes, so that whatever else runs on the machine hardly changes the ratio.
    """
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _alternate(device, is_training=purpose == "training")
    finally:
        torch.set_num_threads(num_threads)


def _alternate(device: str, *, is_training: bool) -> dict[str, float]:
    import torch

    work = _benchmark_work(device, is_training=is_training)
    seconds = {"float32": float("inf"), "bfloat16": float("inf")}
    deadline = time.perf_counter() + 1.2
    for round_index in range(_BENCHMARK_ROUNDS + 1):
        for name, best in seconds.items():
            started = time.perf_counter()
            work(name)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            if round_index > 0:  # the first round compiles kernels
                seconds[name] = min(best, time.perf_counter() - started)
        if round_index > 0 and time.perf_counter() > deadline:
            break
    return seconds


def _benchmark_work(device: str, *, is_training: bool) -> Callable[[str], None]:
    """A small stack of full, depthwise and pointwise convolutions: what the backbones are made of."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 96, 1),
            nn.BatchNorm2d(96), nn.ReLU(), nn.Conv2d(96, 64, 3, stride=2, padding=1), nn.ReLU(),
        )  # fmt: skip
        # Eight small images keep a GPU waiting for its next kernel, whatever the number format.
        num_images = _BENCHMARK_IMAGES * (16 if device.startswith("cuda") else 1)
        batch = torch.randn(num_images, 3, _BENCHMARK_SIDE_PX, _BENCHMARK_SIDE_PX)
    network = network.to(device).to(memory_format=torch.channels_last).train(is_training)
    batch = batch.to(device, memory_format=torch.channels_last)

    def work(dtype_name: str) -> None:
        with torch.set_grad_enabled(is_training), autocast(device, dtype_name):
            output = network(batch)
        if is_training:
            output.float().mean().backward()

    return work
