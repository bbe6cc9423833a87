"""A training in progress: its epochs, batch by batch, validation, best weights, checkpoints."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.distributed import ALONE, Ranks
from lib.errors import Stopped
from lib.runtime import derived_seed
from lib.training.batch_step import BatchStep
from lib.training.checkpoints import CheckpointStore
from lib.training.config import TrainConfig
from lib.training.divergence import TrainingDiverged, diverged
from lib.training.events import EpochEnded, Listener, Noticed, Progressed, ShouldStop, StepEnded
from lib.training.inputs import FitData
from lib.training.optimization import build_optimizer, loss_weights
from lib.training.pace import EVALUATION_COST, TRAINING_COST, Pace
from lib.training.parallel import StepNetwork, share_buffers, warn_of_single_images
from lib.training.schedules import learning_rate_at
from lib.training.snapshot import are_finite, restore_snapshot, take_snapshot
from lib.training.state import FitState, TimeLimit, balanced_rows, copied, epoch_batches, tuned_tensors
from lib.training.strategies import STRATEGIES
from lib.training.unfreezing import GradualUnfreezing
from lib.training.validation import Confusion, measure_validation

if TYPE_CHECKING:
    import torch

PHASE = "Training"
# A head starts from nothing, the backbone below it from good weights: the head learns this much faster.
HEAD_RATE_FACTOR = 10.0


@dataclass
class Training:
    """The parts that the loop moves: network, optimiser, state, best weights."""

    classifier: Any
    data: FitData
    config: TrainConfig
    listener: Listener
    should_stop: ShouldStop
    checkpoints: CheckpointStore | None
    device: str
    dtype: str
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if self.config.epochs is None or self.config.learning_rate is None:
            raise ValueError("fit needs a resolved config: epochs and learning_rate must be set.")
        self.epochs, self.peak_rate = self.config.epochs, self.config.learning_rate
        self.num_steps = self.epochs * len(self._batches(1))
        self.optimizer = _optimizer_of(self.classifier, self.config)
        self.unfreezing: GradualUnfreezing | None = None
        if STRATEGIES.get(self.config.strategy).unfreezes_gradually:
            self.unfreezing = GradualUnfreezing(self.classifier, self.config.unfreeze_every)
        class_weights, self.val_weights = loss_weights(
            self.data.targets[self.data.train_rows], self.data.num_classes,
            policy=self.config.class_weights, sampling=self.config.sampling, device=self.device,
        )  # fmt: skip
        network = StepNetwork(
            self.classifier, self.data.inputs,
            ranks=self.ranks, is_compiled=self.config.compile, should_stop=self.should_stop, listener=self.listener,
        )  # fmt: skip
        self.batch_step = BatchStep(
            self.classifier, network, self.optimizer, self.data, self.config, class_weights, self.listener,
            self.device, self.dtype, self.ranks,
        )  # fmt: skip
        warn_of_single_images(self.classifier, [len(batch) for batch in self._batches(1)], self.config, self.listener)
        self.state = FitState()
        self.best: dict[str, torch.Tensor] = {}
        self.pace = Pace(self.epochs * self._epoch_cost)

    def is_complete(self) -> bool:
        """Whether all epochs are done, or none of the last ones brought a better validation loss."""
        return self.state.is_complete(epochs=self.epochs, patience=self.config.patience)

    def is_out_of_time(self, limit: TimeLimit) -> bool:
        """Whether the rest of this epoch would not fit into the time; the clock of the first rank counts."""
        num_batches = len(self._batches(self.state.epoch))
        is_late = bool(self.ranks.from_first(not limit.allows(self.state, self.seconds, num_batches)))
        if is_late:
            done = f"{self.state.epoch - 1} of {self.epochs} epochs"
            self.listener(Noticed(f"Training ends after {done}: another would not fit into the time given."))
        return is_late

    def resume(self) -> None:
        """Go to where the newest checkpoint stands."""
        content = self.ranks.from_first(self.checkpoints.load() if self.checkpoints else None)
        if self.checkpoints and self.checkpoints.notice:
            self.listener(Noticed(self.checkpoints.notice))
        if content is None:
            return
        folder = self.checkpoints.folder if self.checkpoints else Path()
        self.state, self.best = restore_snapshot(
            content, self.classifier, self.optimizer, config=self.config, folder=folder
        )
        done = (self.state.epoch - 1) * self._epoch_cost + self.state.sums.num_images * TRAINING_COST
        self.pace = Pace(self.pace.total, done=done)

    def save(self) -> None:
        """Write a checkpoint; raises TrainingDiverged, and keeps the last good one, if a weight is not a number."""
        if self.checkpoints is None:
            return
        if not are_finite(tuned_tensors(self.classifier)):
            raise diverged("weights", math.nan, self.state, self.config)
        schedule = {"name": self.config.schedule, "step": self.state.step, "num_steps": self.num_steps}
        content = take_snapshot(
            self.classifier,
            self.optimizer,
            self.state,
            best=self.best,
            config=self.config,
            schedule={**schedule, "learning_rate": self._rate(self.state.step)},
            seconds=self.seconds,
        )
        self.checkpoints.save(content)

    def save_on_stop(self) -> None:
        """Write a last checkpoint if the one before was quick (else the process is ended meanwhile)."""
        if self.checkpoints is None or not self.checkpoints.is_quick():
            return
        try:
            self.save()
        except (OSError, TrainingDiverged) as error:
            reason = error.strerror if isinstance(error, OSError) else "a weight is no longer a number"
            self.listener(Noticed(f"No checkpoint could be written on the stop ({reason}); the one before counts."))

    def train_epoch(self) -> None:
        """Train on the batches of the epoch that are not done yet."""
        if self.unfreezing:
            self.unfreezing.apply(self.state.epoch)
        batches = self._batches(self.state.epoch)
        for index in range(self.state.batches_done, len(batches)):
            self._stop_together()
            self._train_batch(batches[index])
            self._tell(len(batches[index]), TRAINING_COST)
            if self.checkpoints and self.checkpoints.is_due():
                self.save()
        self._stop_together()
        share_buffers(self.classifier, self.ranks)

    def _stop_together(self) -> None:
        """Raise Stopped on all ranks at the same point, if one of them is to stop; alone, each stage asks."""
        if not self.ranks.is_alone and self.ranks.total(self.should_stop())[0]:
            raise Stopped("Stopped between two batches.")

    def validate(self) -> tuple[dict[str, float], Confusion]:
        """Loss and metrics of the validation images, and which classes were taken for which."""
        return measure_validation(
            self.classifier,
            self.data,
            self.config,
            self.state,
            class_weights=self.val_weights,
            device=self.device,
            dtype=self.dtype,
            should_stop=self.should_stop,
            ranks=self.ranks,
            on_batch=lambda num_images: self._tell(num_images, EVALUATION_COST),
        )

    def end_epoch(self, validation: dict[str, float], confusion: Confusion) -> None:
        """Keep the weights if they are the best, tell the epoch's numbers, save if it is time."""
        epoch = self.state.epoch
        metrics = {f"train_{key}": value for key, value in self.state.sums.metrics.items()} | validation
        metrics |= {"gradient_norm": self.state.sums.mean_gradient_norm}
        metrics |= {"learning_rate": self._rate(self.state.step - 1), "images_per_second": self.pace.images_per_second}
        if self.state.end_epoch(metrics):
            self.best = copied(tuned_tensors(self.classifier))
        self.listener(EpochEnded(epoch, self.epochs, metrics, confusion))
        if self.checkpoints and self.checkpoints.is_due():
            self.save()

    @property
    def seconds(self) -> float:
        """Time spent so far, over all interruptions."""
        return self.state.seconds + self.pace.seconds

    def _train_batch(self, rows: np.ndarray) -> None:
        rate = self._rate(self.state.step)
        loss, norm = self.batch_step.take(rows, self.state, rate)
        self.state.step += 1
        self.state.batches_done += 1
        self.listener(StepEnded(self.state.step, loss, rate, norm))

    def _tell(self, num_images: int, cost: int) -> None:
        self.pace.add(num_images, cost)
        speed, left = self.pace.images_per_second, self.pace.seconds_left
        self.listener(Progressed(PHASE, self.state.step, self.num_steps, speed, left))

    def _rate(self, step: int) -> float:
        return learning_rate_at(
            step,
            num_steps=self.num_steps,
            peak=self.peak_rate,
            warmup_fraction=self.config.warmup_fraction,
            schedule=self.config.schedule,
            val_losses=[epoch["val_loss"] for epoch in self.state.history],
        )

    def _batches(self, epoch: int) -> list[np.ndarray]:
        seed = derived_seed(self.config.seed, "order", epoch)
        rows = self.data.train_rows
        if self.config.sampling == "balanced":
            draw = derived_seed(self.config.seed, "sampling", epoch)
            rows = balanced_rows(rows, self.data.targets[rows], seed=draw)
        return epoch_batches(rows, batch_size=self.config.batch_size, seed=seed)

    @property
    def _epoch_cost(self) -> int:
        return len(self.data.train_rows) * TRAINING_COST + len(self.data.val_rows) * EVALUATION_COST


def _optimizer_of(classifier: Any, config: TrainConfig) -> "torch.optim.Optimizer":
    strategy = STRATEGIES.get(config.strategy)
    is_tuning = strategy.family in ("partly_tuned", "fully_tuned")
    has_new_head = not strategy.starts_from_probe and config.head_from is None
    return build_optimizer(
        classifier,
        learning_rate=config.learning_rate or 0.0,
        weight_decay=config.weight_decay,
        optimizer=config.optimizer,
        momentum=config.momentum,
        stage_rate_decay=config.stage_rate_decay,
        head=classifier.head,
        head_rate_factor=HEAD_RATE_FACTOR if is_tuning and has_new_head else 1.0,
    )
