"""How long work tells what it is doing, without knowing who listens."""

from collections.abc import Callable

# Called as report(done, total, what), from the thread that works. It may raise `Stopped` to end the work.
Progress = Callable[[int, int, str], None]


def ignore_progress(done: int, total: int, what: str) -> None:
    """Listens to nothing: the default where nobody watches."""
