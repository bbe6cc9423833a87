"""Writes the events of a training into its run: heartbeat, curves, phases."""

import math
import time
from collections.abc import Mapping
from typing import Any, Protocol

from lib.training.events import (
    EpochEnded,
    Event,
    Listener,
    Noticed,
    PhaseStarted,
    Progressed,
    StepEnded,
    ignore_events,
)

STEP_INTERVAL_S = 1.0
MAX_STEP_POINTS = 1000


class RunSink(Protocol):
    """The part of a run's writer that is needed here."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at a step."""
        ...

    def heartbeat(self, **progress: Any) -> None:
        """Say how far the work is."""
        ...

    def log_confusion(self, entry: Mapping[str, Any]) -> None:
        """Keep the confusion matrix of an epoch."""
        ...

    def note(self, text: str) -> None:
        """Keep a sentence for the person."""
        ...


class Recorder:
    """A listener that writes into `run` and passes every event on to `listener`.

    Single steps are thinned to one a second and 1,000 in all: a curve needs no more, a database writes no faster.
    `prefix` goes before the names of the curves ("fold_1_").
    """

    def __init__(self, run: RunSink, listener: Listener | None = None) -> None:
        self.prefix = ""
        self._run, self._listener = run, listener or ignore_events
        self._last_step_s, self._num_steps = -math.inf, 0
        self._epoch = 0

    def __call__(self, event: Event) -> None:
        """Record one event."""
        if isinstance(event, PhaseStarted):
            self._run.heartbeat(phase=self._named(event.phase))
        elif isinstance(event, Progressed):
            self._run.heartbeat(
                phase=self._named(event.phase),
                done=event.done,
                total=event.total,
                images_per_second=event.images_per_second,
                seconds_left=event.seconds_left,
                unit=event.unit,
                num_images=event.num_images,
            )
        elif isinstance(event, StepEnded):
            self._record_step(event)
        elif isinstance(event, EpochEnded):
            self._record_epoch(event)
        elif isinstance(event, Noticed):
            self._run.note(self._named(event.text))
        self._listener(event)

    def _record_step(self, event: StepEnded) -> None:
        now = time.monotonic()
        if now - self._last_step_s >= STEP_INTERVAL_S and self._num_steps < MAX_STEP_POINTS:
            self._last_step_s, self._num_steps = now, self._num_steps + 1
            numbers = {
                "train_step_loss": event.loss,
                "step_gradient_norm": event.gradient_norm,
                "step_learning_rate": event.learning_rate,
            }
            self._run.log_metrics({f"{self.prefix}{key}": value for key, value in numbers.items()}, step=event.step)

    def _record_epoch(self, event: EpochEnded) -> None:
        metrics = {f"{self.prefix}{key}": value for key, value in event.metrics.items()}
        self._run.log_metrics(metrics, step=event.epoch)
        if event.confusion:
            matrix = [list(row) for row in event.confusion]
            self._run.log_confusion({"prefix": self.prefix, "epoch": event.epoch, "matrix": matrix})
        self._run.heartbeat(epoch=event.epoch, epochs=event.epochs)

    def _named(self, phase: str) -> str:
        return f"{self.prefix.strip('_').replace('_', ' ').capitalize()}: {phase}" if self.prefix else phase
