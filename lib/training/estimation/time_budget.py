"""As many epochs as fit into a time: chosen from measured steps before training, and kept for a resume.

Where the machine turns out slower than measured, or a resume costs time, training ends after the last epoch that fits.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.atomic import read_json, write_json
from lib.training.config import TrainConfig
from lib.training.estimation.trial_steps import TrialSteps, run_trial_steps
from lib.training.events import Listener, Noticed, ShouldStop, never_stop
from lib.training.inputs import FitData
from lib.training.network import Compute
from lib.training.state import TimeLimit

if TYPE_CHECKING:
    from lib.models.classifier import Classifier

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
