"""A few real steps on a copy of the network, timed: what an epoch will take. Leaves no trace in the training."""

import contextlib
import copy
import dataclasses
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lib.errors import Stopped
from lib.models.gate import MAX_REFERENCE_ROWS
from lib.training.config import TrainConfig
from lib.training.events import Event, ShouldStop, StepEnded, never_stop
from lib.training.inputs import EVALUATION_BATCH, FitData, predict_logits
from lib.training.network import Compute
from lib.training.trainer import Trainer

if TYPE_CHECKING:
    from lib.models.classifier import Classifier

NUM_STEPS = 3
# Writing the classifier, the predictions and the summary.
SAVING_S = 1.5
_WARM_UP_STEPS = 1  # the first step also sets up memory and kernels


@dataclass(frozen=True)
class TrialSteps:
    """Seconds of one optimiser step of a whole batch, and of one image in evaluation; medians of real ones.

    `float32_image_s` is the second where training computes in another format: final predictions are made in float32.
    """

    step_s: float
    evaluation_image_s: float
    num_steps: int
    float32_image_s: float = 0.0

    def after_s(self, *, num_train: int, num_val: int, num_test: int) -> float:
        """Seconds after training: predictions, the gate with its limit, and writing it all."""
        reference_s = self.evaluation_image_s * min(num_train, MAX_REFERENCE_ROWS)
        return SAVING_S + reference_s + self.prediction_image_s * (num_test + 2 * num_val)

    @property
    def prediction_image_s(self) -> float:
        """Seconds of one image after training: predictions, and features for the gate's limit."""
        return self.float32_image_s or self.evaluation_image_s

    def epoch_s(self, *, num_train: int, num_val: int, batch_size: int) -> float:
        """Seconds of an epoch: its steps, and one look at the validation images."""
        # Batches of an epoch are of nearly equal size (FitData.batches), so images count, not batches.
        return num_train / batch_size * self.step_s + num_val * self.evaluation_image_s


def run_trial_steps(
    classifier: "Classifier",
    data: FitData,
    config: TrainConfig,
    compute: Compute,
    *,
    should_stop: ShouldStop = never_stop,
) -> TrialSteps:
    """Run one step to warm up and `NUM_STEPS` that count, by the training loop itself, on a copy of the network.

    Raises:
        Stopped: `should_stop()` turned true.
    """
    clock = _StepClock()

    def is_enough() -> bool:
        return should_stop() or len(clock.steps_s) >= _WARM_UP_STEPS + NUM_STEPS

    tried = copy.deepcopy(classifier)
    # As many epochs as the steps need, without early stopping; the rates of a long schedule's start.
    config = dataclasses.replace(config, epochs=1000, patience=1000, learning_rate=config.learning_rate or 1e-4)
    with contextlib.suppress(Stopped):
        Trainer(tried, data, config, listener=clock, should_stop=is_enough, compute=compute).fit()
    if should_stop():
        raise Stopped("Stopped while measuring.")
    steps, num_batches = clock.steps_s[_WARM_UP_STEPS:], len(data.batches(1, config))
    image_s = _evaluation_image_s(tried, data, compute, compute.training_dtype, should_stop)
    float32_s = image_s
    if compute.training_dtype != "float32":
        float32_s = _evaluation_image_s(tried, data, compute, "float32", should_stop)
    return TrialSteps(
        step_s=statistics.median(steps) * num_batches * config.batch_size / len(data.train_rows),
        evaluation_image_s=image_s,
        num_steps=len(steps),
        float32_image_s=float32_s,
    )


class _StepClock:
    """Hears a training and keeps how long its steps took; validation in between is not counted."""

    def __init__(self) -> None:
        self.steps_s: list[float] = []
        self._last_s = time.perf_counter()

    def __call__(self, event: Event) -> None:
        now = time.perf_counter()
        if isinstance(event, StepEnded):
            self.steps_s.append(now - self._last_s)
        self._last_s = now


def _evaluation_image_s(
    classifier: "Classifier", data: FitData, compute: Compute, dtype: str, should_stop: ShouldStop
) -> float:
    rows = np.resize(data.val_rows, EVALUATION_BATCH)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        predict_logits(classifier, data.inputs, rows, device=compute.device, dtype=dtype, should_stop=should_stop)
        seconds.append(time.perf_counter() - started)
    return min(seconds) / len(rows)
