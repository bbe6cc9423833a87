"""What a training tells while it runs, how quick it is, where it stands, and the listener that writes its run."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lib.errors import UserError
from lib.progress import Progress

if TYPE_CHECKING:
    import torch

    from lib.training.protocols import Classifier

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


class TrainingDiverged(UserError):
    """The loss is no longer a number."""

    ending = "diverged"


@dataclass
class EpochSums:
    """Sums over the images of one epoch; means of these are right however the batches are cut."""

    loss: float = 0.0
    weight: float = 0.0
    num_correct: int = 0
    num_images: int = 0
    gradient_norm: float = 0.0
    num_steps: int = 0

    def add(self, loss: float, weight: float, num_correct: int, num_images: int, *, gradient_norm: float = 0.0) -> None:
        """Add a batch whose mean loss was taken over `weight` (the sum of its class weights)."""
        self.gradient_norm += gradient_norm
        self.num_steps += 1
        self.loss += loss * weight
        self.weight += weight
        self.num_correct += num_correct
        self.num_images += num_images

    @property
    def metrics(self) -> dict[str, float]:
        """Loss, accuracy and the mean length of a step's gradient so far."""
        return {
            "train_loss": self.loss / max(self.weight, 1e-12),
            "train_accuracy": self.num_correct / max(self.num_images, 1),
            "gradient_norm": self.gradient_norm / max(self.num_steps, 1),
        }


@dataclass
class FitState:
    """Everything besides weights and moments that an interrupted training needs; `epoch` counts from 1."""

    epoch: int = 1
    batches_done: int = 0
    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    num_halvings: int = 0  # of the batch, since memory ran out
    sums: EpochSums = field(default_factory=EpochSums)
    history: list[dict[str, float]] = field(default_factory=list)

    def end_epoch(self, metrics: dict[str, float]) -> bool:
        """Go to the next epoch; returns whether this one had the lowest validation loss so far."""
        is_best = metrics["val_loss"] < self.best_loss
        if is_best:
            self.best_loss, self.best_epoch = metrics["val_loss"], self.epoch
        self.history.append(metrics)
        self.epoch, self.batches_done, self.sums = self.epoch + 1, 0, EpochSums()
        return is_best

    def is_complete(self, *, epochs: int, patience: int) -> bool:
        """Whether all epochs are done, or the last `patience` ones brought no better validation loss."""
        return self.epoch > epochs or self.epoch - 1 - self.best_epoch >= patience

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "FitState":
        """Rebuild from the plain values of `dataclasses.asdict`."""
        return cls(**{**content, "sums": EpochSums(**content["sums"])})


@dataclass(frozen=True)
class TimeLimit:
    """`seconds` for training and for what comes after it, which takes as long as `closing_epochs` epochs.

    The latter in epochs, so that on a machine slower than it was measured to be, more is left for the end.
    """

    seconds: float
    closing_epochs: float = 0.0

    def allows(self, state: FitState, spent_s: float, num_batches: int) -> bool:
        """Whether the rest of the running epoch should fit, if all before took `spent_s`; the first always."""
        if state.epoch == 1:
            return True
        done = state.batches_done / max(num_batches, 1)
        epoch_s = spent_s / (state.epoch - 1 + done)
        return spent_s + epoch_s * (1 - done + self.closing_epochs) <= self.seconds


def tuned_tensors(network: "Classifier") -> dict[str, "torch.Tensor"]:
    """The tensors that training changes, by name, shared with the network: trainable parameters, and buffers.

    Buffers (BatchNorm statistics) are few numbers, so those of frozen stages are simply kept as well.
    """
    names = getattr(network, "tuned_names", None)  # where parts are frozen only for the time being
    tensors = {
        name: p.detach()
        for name, p in network.named_parameters()
        if (p.requires_grad if names is None else name in names)
    }
    return tensors | dict(network.named_buffers())


def copied(tensors: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """Copies on the CPU that later steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def put_back(network: "Classifier", tensors: Mapping[str, "torch.Tensor"]) -> None:
    """Write copied tensors into the network; raises ValueError if they are not the network's own."""
    own = tuned_tensors(network)
    if set(own) != set(tensors):
        raise ValueError(f"The tensors {sorted(set(own) ^ set(tensors))[:3]} do not fit this network.")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def are_finite(tensors: Mapping[str, "torch.Tensor"]) -> bool:
    """Whether no tensor holds an infinity or something that is not a number; such weights are never kept."""
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())
