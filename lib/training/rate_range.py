"""The learning-rate range test: about a hundred steps at ever larger rates, and where the loss falls fastest.

Smith 2015, "Cyclical Learning Rates for Training Neural Networks" (arXiv 1506.01186), with the exponential rise and the
reading of fastai's learner.lr_find: smooth the losses, cut what diverged, suggest the rate of the steepest descent.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.errors import Stopped
from lib.progress import Progress, ignore_progress
from lib.training.config import TrainConfig
from lib.training.events import Event, ShouldStop, StepEnded, TrainingDiverged, never_stop
from lib.training.inputs import FitData
from lib.training.network import Compute

if TYPE_CHECKING:
    from lib.models.classifier import Classifier
    from lib.training.trainer import Trainer

NUM_STEPS = 100
LOWEST_RATE, HIGHEST_RATE = 1e-7, 10.0
SMOOTHING = 0.95  # weight of the past in the mean of losses
DIVERGED_FACTOR = 4.0  # above this many times the lowest loss, nothing is learned any more
_LEAST_FALL = 0.02  # of the loss, by its lowest value
_SKIPPED_SHARE = 0.1  # of the steps, at the start: their mean is of few losses


@dataclass(frozen=True)
class RateRange:
    """What a range test found, step by step; `suggested_rate` is None where the loss fell nowhere."""

    learning_rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggested_rate: float | None
    has_diverged: bool

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "RateRange":
        """Rebuild from the plain values of `dataclasses.asdict`, whatever else is in it."""
        return cls(**{field.name: content[field.name] for field in dataclasses.fields(cls)})


def find_rate(
    classifier: "Classifier",
    data: FitData,
    config: TrainConfig,
    compute: Compute,
    *,
    num_steps: int = NUM_STEPS,
    progress: Progress = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> RateRange:
    """Train `classifier` for `num_steps` at exponentially rising rates; it is spoiled after that, so give a new one.

    The rate is the config's `learning_rate`: heads and earlier stages get their usual share of it.

    Only training images are used, over as many epochs as the steps need. `config` is resolved. Raises Stopped.
    """
    rates, losses = np.geomspace(LOWEST_RATE, HIGHEST_RATE, num_steps), []

    def listen(event: Event) -> None:
        if isinstance(event, StepEnded):
            losses.append(event.loss)
            progress(len(losses), num_steps, "Trying learning rates")

    trainer = _range_trainer(
        rates,
        classifier,
        data,
        dataclasses.replace(config, epochs=num_steps),  # an epoch has one step at least
        listener=listen,
        should_stop=should_stop,
        compute=compute,
    )
    has_diverged = False
    try:
        while len(losses) < num_steps and not has_diverged:
            if should_stop():
                raise Stopped("Stopped while trying learning rates.")
            state = trainer.state
            if state.batches_done == len(data.batches(state.epoch, trainer.config)):
                state.epoch, state.batches_done = state.epoch + 1, 0
            trainer._train_batch(data.batches(state.epoch, trainer.config)[state.batches_done])
            has_diverged = is_diverged(losses)
    except TrainingDiverged:
        has_diverged = True
    smoothed, tried = smooth(losses), [float(rate) for rate in rates[: len(losses)]]
    return RateRange(tried, losses, smoothed, suggest_rate(tried, smoothed), has_diverged)


def _range_trainer(rates: np.ndarray, *arguments: Any, **options: Any) -> "Trainer":
    """The trainer with rates of its own; pages import this module for its results and never import torch."""
    from lib.training.trainer import Trainer

    class RangeTrainer(Trainer):
        def learning_rate(self, step: int) -> float:
            return float(rates[min(step, len(rates) - 1)])

    return RangeTrainer(*arguments, **options)


def smooth(losses: Sequence[float]) -> list[float]:
    """The exponential mean of the losses so far, corrected for its start (as Adam's moments are)."""
    mean, found = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        found.append(mean / (1 - SMOOTHING**step))
    return found


def is_diverged(losses: Sequence[float]) -> bool:
    """Whether the smoothed loss has left its lowest value far behind."""
    smoothed = smooth(losses)
    return bool(smoothed) and smoothed[-1] > DIVERGED_FACTOR * min(smoothed)


def suggest_rate(rates: Sequence[float] | np.ndarray, smoothed: Sequence[float]) -> float | None:
    """The rate at which the smoothed loss falls fastest per factor of the rate, before its lowest value.

    What comes after the lowest value has begun to diverge, and is cut; so are the first steps. None where the loss
    falls by less than a fiftieth, which may as well be chance.
    """
    first = round(len(smoothed) * _SKIPPED_SHARE)
    last = first + int(np.argmin(smoothed[first:])) + 1 if len(smoothed) > first else 0
    if last - first < 3 or smoothed[last - 1] > (1 - _LEAST_FALL) * max(smoothed[first:last]):
        return None
    slopes = np.gradient(np.asarray(smoothed[first:last]), np.log(np.asarray(rates[first:last], dtype=float)))
    steepest = int(np.argmin(slopes))
    return float(rates[first + steepest]) if slopes[steepest] < 0 else None


def rounded(rate: float) -> float:
    """A rate with two digits, as one writes it."""
    return float(f"{rate:.1e}") if math.isfinite(rate) and rate > 0 else rate
