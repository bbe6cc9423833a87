"""What a training tells while it runs, how quick it is, and the listener that writes it into its run."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lib.progress import Progress

# One training image costs a forward and a backward pass (about two forward passes), one validation image a forward.
TRAINING_COST, EVALUATION_COST = 3, 1
# A curve needs no more points of single steps, a database writes no faster.
STEP_INTERVAL_S = 1.0
MAX_STEP_POINTS = 1000


@dataclass(frozen=True)
class PhaseStarted:
    """A new kind of work began, such as "Extracting features"."""

    phase: str


@dataclass(frozen=True)
class NetworkBuilt:
    """The classifier stands: how many parameters it has, and how many of them are trained."""

    num_trained: int
    num_parameters: int


@dataclass(frozen=True)
class Progressed:
    """Position within a phase; `seconds_left` is None until there is something to estimate it from.

    `unit` is what is counted, "images" or "fits"; of a fit, `num_images` is how many images each of them takes.
    """

    phase: str
    done: int
    total: int
    images_per_second: float = 0.0
    seconds_left: float | None = None
    unit: str = "images"
    num_images: int = 0


@dataclass(frozen=True)
class StepEnded:
    """One optimiser step; `step` counts from 1 over all epochs, `gradient_norm` is the length of its gradient."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float = math.nan


@dataclass(frozen=True)
class EpochEnded:
    """One pass over the training images and one over the validation images; `epoch` counts from 1.

    `confusion` counts the validation images: row = true class, column = predicted, K by K.
    """

    epoch: int
    epochs: int
    metrics: dict[str, float] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Noticed:
    """Something that the person should know about this training, in one sentence; it goes on."""

    text: str


Event = PhaseStarted | NetworkBuilt | Progressed | StepEnded | EpochEnded | Noticed
Listener = Callable[[Event], None]
ShouldStop = Callable[[], bool]


def ignore_events(event: Event) -> None:
    """Listens to nothing."""


def never_stop() -> bool:
    """Nobody asks to stop."""
    return False


class Throughput:
    """Images per second and time left; work counts in forward passes of one image, `total` of them in all."""

    def __init__(self, total: int, *, done: int = 0, clock: Callable[[], float] = time.perf_counter) -> None:
        self.total, self.done, self.num_images = total, done, 0
        self._already_done, self._clock, self._started = done, clock, clock()

    def add(self, num_images: int, cost: int = EVALUATION_COST) -> None:
        """Count images as done."""
        self.num_images += num_images
        self.done += num_images * cost

    @property
    def seconds(self) -> float:
        """Time since the work began."""
        return self._clock() - self._started

    @property
    def images_per_second(self) -> float:
        """Images of any kind per second since the work began."""
        return self.num_images / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Time for what is left at the speed so far; None before anything was done."""
        worked = self.done - self._already_done
        return self.seconds * max(self.total - self.done, 0) / worked if worked > 0 else None


def progress_events(phase: str, listener: Listener) -> Progress:
    """A progress function that tells a listener position, images per second and time left."""
    throughput: Throughput | None = None

    def report(done: int, total: int, what: str) -> None:
        nonlocal throughput
        throughput = throughput or Throughput(total, done=done)
        throughput.add(max(done - throughput.done, 0))
        speed = throughput.images_per_second if throughput.num_images else 0.0
        listener(Progressed(phase, done, total, speed, throughput.seconds_left))

    return report


class RunSink(Protocol):
    """The part of a run's writer that a recorder needs."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at a step."""

    def heartbeat(self, **progress: Any) -> None:
        """Say how far the work is."""

    def log_confusion(self, entry: Mapping[str, Any]) -> None:
        """Keep the confusion matrix of an epoch."""

    def note(self, text: str) -> None:
        """Keep a sentence for the person."""


class Recorder:
    """A listener that writes into `run`, single steps thinned out, and passes every event on to `listener`.

    `prefix` goes before the names of the curves ("fold_1_").
    """

    def __init__(self, run: RunSink, listener: Listener | None = None) -> None:
        self.prefix = ""
        self._run, self._listener = run, listener or ignore_events
        self._last_step_s, self._num_steps = -math.inf, 0

    def __call__(self, event: Event) -> None:
        """Record one event."""
        if isinstance(event, PhaseStarted):
            self._run.heartbeat(phase=self._named(event.phase))
        elif isinstance(event, Progressed):
            self._run.heartbeat(**vars(event) | {"phase": self._named(event.phase)})
        elif isinstance(event, StepEnded):
            self._record_step(event)
        elif isinstance(event, EpochEnded):
            self._log(event.metrics, event.epoch)
            if event.confusion:
                matrix = [list(row) for row in event.confusion]
                self._run.log_confusion({"prefix": self.prefix, "epoch": event.epoch, "matrix": matrix})
            self._run.heartbeat(epoch=event.epoch, epochs=event.epochs)
        elif isinstance(event, Noticed):
            self._run.note(self._named(event.text))
        self._listener(event)

    def _record_step(self, event: StepEnded) -> None:
        now = time.monotonic()
        if now - self._last_step_s < STEP_INTERVAL_S or self._num_steps >= MAX_STEP_POINTS:
            return
        self._last_step_s, self._num_steps = now, self._num_steps + 1
        numbers = {
            "train_step_loss": event.loss,
            "step_gradient_norm": event.gradient_norm,
            "step_learning_rate": event.learning_rate,
        }
        self._log(numbers, event.step)

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log_metrics({f"{self.prefix}{key}": value for key, value in numbers.items()}, step=step)

    def _named(self, phase: str) -> str:
        return f"{self.prefix.strip('_').replace('_', ' ').capitalize()}: {phase}" if self.prefix else phase
