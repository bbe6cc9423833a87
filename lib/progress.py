"""How long work tells what it is doing, without knowing who listens, and times and sizes in words."""

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


class InBytes(str):
    """What is done, where the numbers that go with it are bytes."""

    __slots__ = ()


def amount_words(number: int, what: str) -> str:
    """One of the two numbers of a progress, as a person reads it."""
    return size_words(number) if isinstance(what, InBytes) else f"{number:,}"


def size_words(num_bytes: float) -> str:
    """A size as people say it: "340 MiB", "1.4 GiB"."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= size:
            value = num_bytes / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{num_bytes:.0f} bytes"
