"""Images per second and the time left, from what has been done so far."""

import time
from collections.abc import Callable

from lib.progress import Progress
from lib.training.events import Listener, Progressed

# One training image costs a forward and a backward pass (about two forward passes), one validation image a forward.
TRAINING_COST = 3
EVALUATION_COST = 1


class Pace:
    """Measures work in units of one forward pass of one image; `total` is None where it is not known yet."""

    def __init__(self, total: int, *, done: int = 0, clock: Callable[[], float] = time.perf_counter) -> None:
        self.total = total
        self.done = done
        self.num_images = 0
        self._already_done = done
        self._clock = clock
        self._started = clock()

    def add(self, num_images: int, cost: int = EVALUATION_COST) -> None:
        """Count images as done."""
        self.num_images += num_images
        self.done += num_images * cost

    @property
    def seconds(self) -> float:
        """Time since this pace began."""
        return self._clock() - self._started

    @property
    def images_per_second(self) -> float:
        """Images of any kind per second since this pace began."""
        return self.num_images / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Time for what is left at the speed so far; None before anything was done."""
        worked = self.done - self._already_done
        return self.seconds * max(self.total - self.done, 0) / worked if worked > 0 else None


def paced_progress(phase: str, listener: Listener) -> Progress:
    """A progress function that tells a listener position, images per second and time left."""
    pace: list[Pace] = []

    def report(done: int, total: int, what: str) -> None:
        if not pace:
            pace.append(Pace(total, done=done))
        pace[0].add(max(done - pace[0].done, 0))
        speed = pace[0].images_per_second if pace[0].num_images else 0.0
        listener(Progressed(phase, done, total, speed, pace[0].seconds_left))

    return report
