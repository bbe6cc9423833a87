"""What a training tells while it runs; nobody needs to listen."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field


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
