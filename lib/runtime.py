"""The machine and how it is used: device, cores and threads, memory, seeds."""

import hashlib
import os
import platform
from pathlib import Path

from lib.errors import UserError

# OpenMP threads that wait for each other by spinning burn the cores that other programs, or our own pages, need: on two
# busy cores feature extraction ran at 5 images/s, with sleeping waits at 15. Must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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
