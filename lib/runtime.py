"""The machine: device, threads, seeds, and whether bfloat16 pays here."""

import hashlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lib.atomic import read_json, write_json
from lib.errors import UserError
from lib.settings import cache_dir

# OpenMP threads that wait for each other by spinning burn the cores that other programs, or our own pages, need: on two
# busy cores feature extraction ran at 5 images/s, with sleeping waits at 15. Must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

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


def pick_device(name: str = "auto") -> str:
    """Return "cuda", "mps" or "cpu" (or the device asked for); raises UserError if it is not there."""
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"The device {name!r} cannot be used here ({str(error).splitlines()[0]}); choose auto or cpu."
        ) from None
    return name


def available_cores() -> int:
    """Cores that this process may really use: its affinity, and the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = [*quota.read_text().split(), "100000"][:2]
        if limit != "max":
            cores = min(cores, max(1, int(limit) // int(period)))
    return cores


def set_threads(num_threads: int | None = None) -> int:
    """Set torch's thread count (default: OMP_NUM_THREADS, else all usable cores) and return it."""
    import torch

    asked = os.environ.get("OMP_NUM_THREADS", "")
    if num_threads is None:
        num_threads = int(asked) if asked.isdecimal() and int(asked) > 0 else available_cores()
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)
    return num_threads


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # libraries below us draw from the global generator
    torch.manual_seed(seed)


def derived_seed(*parts: object) -> int:
    """A seed in [0, 2**63) that depends on every part: what makes a position in a run reproducible by itself."""
    digest = hashlib.sha256("|".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


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


def describe_machine(device_name: str = "auto") -> dict[str, Any]:
    """Versions, device, chosen number formats and why, cores and memory: what `doctor` prints."""
    import torch
    import torchvision

    device = pick_device(device_name)
    num_threads = set_threads()
    dtype, reason = choose_dtype(device)
    training_dtype, training_reason = choose_dtype(device, "training")
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "platform": platform.platform(),
        "processor": processor_name(),
        "device": device,
        "device_name": torch.cuda.get_device_name() if device.startswith("cuda") else processor_name(),
        "dtype": dtype,
        "dtype_reason": reason,
        "training_dtype": training_dtype,
        "training_dtype_reason": training_reason,
        "num_cores": available_cores(),
        "num_threads": num_threads,
        "memory_mib": memory_mib(),
    }


def processor_name() -> str:
    """The processor's own name where the system tells it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def memory_mib() -> int:
    """Memory of the machine or, where it is smaller, of its container."""
    import psutil

    total = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdecimal():
        total = min(total, int(text))
    return int(total // 2**20)


def peak_rss_mib() -> float:
    """The largest resident memory of this process so far."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def _cached_choice(device: str, purpose: Purpose) -> DtypeChoice:
    import torch

    store = cache_dir() / "dtype.json"
    key = "|".join((purpose, device, processor_name(), torch.backends.cpu.get_cpu_capability(), torch.__version__))
    known = _read_known(store)
    if key in known:
        return DtypeChoice(*known[key])
    choice = _measure_choice(device, purpose)
    write_json(store, {**known, key: [choice.name, choice.reason]})
    return choice


def _read_known(store: Path) -> dict[str, list[str]]:
    try:
        return dict(read_json(store))
    except (FileNotFoundError, ValueError):
        return {}


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
