"""How long work tells what it is doing, without knowing who listens, and times in words."""

import math
from collections.abc import Callable

# Called as report(done, total, what), from the thread that works. It may raise `Stopped` to end the work.
Progress = Callable[[int, int, str], None]


def ignore_progress(done: int, total: int, what: str) -> None:
    """Listens to nothing: the default where nobody watches."""


def duration(seconds: float) -> str:
    """Seconds as a person feels them: "0.4 s", "48 s", "3 min 20 s", "1 h 05 min"; "unknown" for NaN."""
    if math.isnan(seconds):
        return "unknown"
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
