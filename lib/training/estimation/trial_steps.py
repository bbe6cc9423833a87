"""A few real steps on a copy of the network, timed: what an epoch will take, and how many fit into a time.

They leave no trace in the training. Where the machine turns out slower than measured, or a resume costs time, training
ends after the last epoch that fits.
"""

import contextlib
import copy
import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import read_json, write_json
from lib.errors import Stopped
from lib.models.gate import MAX_REFERENCE_ROWS
from lib.training.config import TrainConfig
from lib.training.events import Event, Listener, Noticed, ShouldStop, StepEnded, TimeLimit, never_stop
from lib.training.inputs import EVALUATION_BATCH, FitData, predict_logits
from lib.training.network import Compute
from lib.training.trainer import Trainer

if TYPE_CHECKING:
    from lib.models.classifier import Classifier

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


BUDGET_FILE = "time_budget.json"
# Steps are not all equally quick, and other programs come and go: this share of the time left stays unplanned.
RESERVE_SHARE = 0.08
_PINNED_COST = 6  # forward passes of one image that a watched image costs an epoch: its Grad-CAM and picture


@dataclass(frozen=True)
class BudgetDecision:
    """What was decided, in seconds: `spent_s` before training, `after_s` for evaluation and saving, `epoch_s` each.

    `restarts_s` went by since, between the start of a resumed process and its first step.
    """

    epochs: int
    max_epochs: int
    budget_s: float
    spent_s: float
    after_s: float
    epoch_s: float
    restarts_s: float = 0.0

    @property
    def expected_s(self) -> float:
        """What the whole training should take."""
        return self.spent_s + self.epochs * self.epoch_s + self.after_s

    @property
    def text(self) -> str:
        """The sentence for the person."""
        epochs = f"{self.epochs} epoch{'s' if self.epochs > 1 else ''}"
        if self.epochs == 1 and self.expected_s > self.budget_s:
            return (
                f"The whole does not fit into {self.budget_s:g} s: {self.spent_s:.0f} s went by before training, an "
                f"epoch takes about {self.epoch_s:.2g} s. One is trained, about {self.expected_s:.0f} s in all."
            )
        limit = ", the most that was asked for" if self.epochs == self.max_epochs else ""
        return (
            f"To fit into {self.budget_s:g} s: {epochs} of about {self.epoch_s:.2g} s{limit}; "
            f"the whole should take about {self.expected_s:.0f} s."
        )


def epochs_within(seconds: float, epoch_s: float, *, most: int) -> int:
    """How many epochs of `epoch_s` fit into `seconds`, one at least and `most` at most."""
    return max(1, min(most, math.floor(seconds * (1 - RESERVE_SHARE) / max(epoch_s, 1e-9))))


@dataclass
class TimeBudget:
    """Decides on the epochs of one run, once; a TrainingSession asks it.

    Args:
        config: resolved, with `time_budget_s`; its `epochs` are the most that may be chosen.
        compute: device and number format.
        folder: the run's; the decision is kept there before training, so that a resumed run goes on with it.
        num_images: of the whole data set, of which some are evaluated at the end.
        began_s: when this process began its work on the run, by time.time().
        worked_s: what earlier processes had worked on it when they stopped.
        listener: hears the decision as a notice.
    """

    config: TrainConfig
    compute: Compute
    folder: Path
    num_images: int
    began_s: float
    listener: Listener
    should_stop: ShouldStop = never_stop
    clock: Callable[[], float] = time.time
    worked_s: float = 0.0

    def choose(self, classifier: "Classifier", data: FitData) -> int:
        """The number of epochs: what was decided before, else what the measured steps allow."""
        before = read_decision(self.folder)
        if before is not None:
            decision = dataclasses.replace(before, restarts_s=before.restarts_s + self.clock() - self.began_s)
        else:
            tried = run_trial_steps(classifier, data, self.config, self.compute, should_stop=self.should_stop)
            decision = self._decide(tried, data)
        write_json(self.folder / BUDGET_FILE, dataclasses.asdict(decision))
        if before is None:
            self.listener(Noticed(decision.text))
        return decision.epochs

    def time_limit(self) -> TimeLimit | None:
        """How long training may take, over all interruptions, once the epochs are chosen; None with folds.

        The fits of folds share one time, of which none can tell how much the others have left.
        """
        decision = None if self.config.num_folds else read_decision(self.folder)
        if decision is None:
            return None
        left_s = decision.budget_s - decision.spent_s - decision.restarts_s
        return TimeLimit(left_s, decision.after_s / max(decision.epoch_s, 1e-9))

    def _decide(self, measured: TrialSteps, data: FitData) -> BudgetDecision:
        config = self.config
        assert config.time_budget_s is not None  # noqa: S101 (nobody asks otherwise)
        assert config.epochs is not None  # noqa: S101 (resolved)
        image_s, num_train, num_val = measured.evaluation_image_s, len(data.train_rows), len(data.val_rows)
        epoch_s = measured.epoch_s(num_train=num_train, num_val=num_val, batch_size=config.batch_size)
        epoch_s += len((config.pinned_images or "").split(",")) * _PINNED_COST * image_s if config.pinned_images else 0
        num_test = self.num_images - num_train - num_val
        after_s = measured.after_s(num_train=num_train, num_val=num_val, num_test=num_test)
        num_fits = 1.0
        if config.num_folds:  # one fit a fold, and a last one with the test part of a fold among its images
            num_fits = config.num_folds + config.num_folds / (config.num_folds - 1)
        spent_s = self.clock() - self.began_s + self.worked_s
        epochs = epochs_within(config.time_budget_s - spent_s - after_s, epoch_s * num_fits, most=config.epochs)
        return BudgetDecision(epochs, config.epochs, config.time_budget_s, spent_s, after_s, epoch_s * num_fits)


def read_decision(folder: Path) -> BudgetDecision | None:
    """What was decided for the run of this folder; None where nothing was."""
    try:
        content: dict[str, Any] = read_json(folder / BUDGET_FILE)
        return BudgetDecision(**content)
    except (OSError, ValueError, TypeError):
        return None
