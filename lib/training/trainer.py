"""The trainer: epochs of batches, optimiser steps, validation and stopping, from top to bottom.

It tells typed events (events.py) to those that hang on it: `listener` records and shows them and looks at watched
images, `Checkpoints` saves. Where a step runs (ranks, compiled, micro-batches) is told in parallel.py.
"""

import math
from dataclasses import KW_ONLY, dataclass, field

import numpy as np
import torch

from lib.distributed import ALONE, Ranks
from lib.errors import Stopped
from lib.evaluation.metrics import confusion_matrix, evaluate_predictions
from lib.models.freezing import train_mode
from lib.precision import autocast
from lib.runtime import derived_seed
from lib.training import optimization, parallel
from lib.training.checkpoints import Checkpoints, CheckpointStore
from lib.training.config import TrainConfig
from lib.training.events import (
    EVALUATION_COST,
    TRAINING_COST,
    EpochEnded,
    Event,
    FitState,
    Listener,
    Noticed,
    Progressed,
    ShouldStop,
    StepEnded,
    Throughput,
    TimeLimit,
    TrainingDiverged,
    copied,
    ignore_events,
    never_stop,
    put_back,
    tuned_tensors,
)
from lib.training.inputs import FitData, predict_logits
from lib.training.network import Compute
from lib.training.optimization import loss_weights, soft_targets, weighted_loss
from lib.training.protocols import Classifier
from lib.training.strategies import STRATEGIES

PHASE = "Training"
SHOWN_METRICS = ("accuracy", "balanced_accuracy", "quadratic_weighted_kappa")
Confusion = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class FitResult:
    """What `fit` did; `seconds` count all of the training, `resumed_seconds` what was done before this call."""

    history: list[dict[str, float]]
    best_epoch: int
    seconds: float
    images_per_second: float
    resumed_seconds: float = 0.0


@dataclass
class Trainer:
    """Trains what is trainable in `classifier`.

    Attributes:
        classifier: a staged network whose parameters are frozen or not (models/freezing.py).
        data: inputs, targets and rows.
        config: with `epochs` and `learning_rate` filled in.
        listener: hears StepEnded, Progressed (each batch), EpochEnded and Noticed.
        should_stop: asked between stages, so several times a batch.
        checkpoints: written by time, after steps and epochs once due, and on a stop; None writes none.
        compute: where the classifier and the inputs are, and in which format forward passes are computed; weights and
            moments stay float32.
        ranks: who trains together; each makes a trainer alike, the first alone with `checkpoints`. Each batch is cut
            over them and steps as one process would on all of it, but for BatchNorm statistics that are trained (each
            rank has those of its part; those of the first are kept).
        limit: of the time, over all interruptions: training ends after the last epoch that fits. All ranks have one,
            or none does.
    """

    classifier: Classifier
    data: FitData
    config: TrainConfig
    _: KW_ONLY
    listener: Listener = ignore_events
    should_stop: ShouldStop = never_stop
    checkpoints: CheckpointStore | None = None
    compute: Compute = field(default_factory=Compute)
    ranks: Ranks = ALONE
    limit: TimeLimit | None = None

    def __post_init__(self) -> None:
        config, data = self.config, self.data
        if config.epochs is None or config.learning_rate is None:
            raise ValueError("A trainer needs a resolved config: epochs and learning_rate must be set.")
        self.epochs, self.peak_rate = config.epochs, config.learning_rate
        batches = data.batches(1, config)
        self.num_steps = self.epochs * len(batches)
        self.optimizer = optimization.optimizer_of(self.classifier, config)
        self.unfreezing: optimization.GradualUnfreezing | None = None
        if STRATEGIES.get(config.strategy).unfreezes_gradually:
            self.unfreezing = optimization.GradualUnfreezing(self.classifier, config.unfreeze_every)
        self.class_weights, self.val_weights = loss_weights(
            data.targets[data.train_rows], data.num_classes,
            policy=config.class_weights, sampling=config.sampling, device=self.compute.device,
        )  # fmt: skip
        self.network = parallel.StepNetwork(
            self.classifier, data.inputs,
            ranks=self.ranks, is_compiled=config.compile, should_stop=self.should_stop, listener=self.listener,
        )  # fmt: skip
        parallel.warn_of_single_images(self.classifier, [len(batch) for batch in batches], config, self.listener)
        self.state = FitState()
        self.best: dict[str, torch.Tensor] = {}
        self._epoch_cost = len(data.train_rows) * TRAINING_COST + len(data.val_rows) * EVALUATION_COST
        self.throughput = Throughput(self.epochs * self._epoch_cost)
        self.saving = Checkpoints(self, self.checkpoints)

    def fit(self) -> FitResult:
        """Train from the newest checkpoint on, if there is one, and leave the weights of the best epoch.

        They are those that an unbroken training reaches.

        Raises:
            Stopped: after `should_stop()`; the checkpoint holds all finished batches.
            TrainingDiverged: the loss became infinite or undefined.
            ShortOfMemory: memory ran out even with a sixteenth of the batch at a time.
        """
        if self.saving.resume():
            done = (self.state.epoch - 1) * self._epoch_cost + self.state.sums.num_images * TRAINING_COST
            self.throughput = Throughput(self.throughput.total, done=done)
        try:
            while not self._is_finished():
                self._train_epoch()
                self._end_epoch(*self._validate())
        except Stopped:
            self.saving.save_on_stop()
            raise
        if self.best:
            put_back(self.classifier, self.best)
        state = self.state
        speed = self.throughput.images_per_second
        return FitResult(state.history, state.best_epoch, self.seconds, speed, state.seconds)

    @property
    def seconds(self) -> float:
        """Time spent so far, over all interruptions."""
        return self.state.seconds + self.throughput.seconds

    def learning_rate(self, step: int) -> float:
        """The rate of a step (from 0): heads and earlier stages get their share of it."""
        return optimization.learning_rate_at(
            step,
            num_steps=self.num_steps,
            peak=self.peak_rate,
            warmup_fraction=self.config.warmup_fraction,
            schedule=self.config.schedule,
            val_losses=[epoch["val_loss"] for epoch in self.state.history],
        )

    def diverged(self, what: str, value: float) -> TrainingDiverged:
        """The error that says what became infinite or undefined, where, and which learning rate to try instead."""
        return TrainingDiverged(
            f"The {what} became {value} at step {self.state.step + 1} of epoch {self.state.epoch}; lower the learning "
            f"rate (now {self.peak_rate:g}), for example --set learning_rate={self.peak_rate / 10:g}."
        )

    def _is_finished(self) -> bool:
        """Whether all epochs are done, none of the last ones was better, or another would not fit into the time."""
        state = self.state
        if state.is_complete(epochs=self.epochs, patience=self.config.patience):
            return True
        if self.limit is None:
            return False
        num_batches = len(self.data.batches(state.epoch, self.config))
        # The clock of the first rank counts.
        is_late = bool(self.ranks.from_first(not self.limit.allows(state, self.seconds, num_batches)))
        if is_late:
            done = f"{state.epoch - 1} of {self.epochs} epochs"
            self._tell(Noticed(f"Training ends after {done}: another would not fit into the time given."))
        return is_late

    def _train_epoch(self) -> None:
        """Train on the batches of the epoch that are not done yet."""
        if self.unfreezing:
            self.unfreezing.apply(self.state.epoch)
        for rows in self.data.batches(self.state.epoch, self.config)[self.state.batches_done :]:
            self._stop_together()
            self._train_batch(rows)
            self._tell_progress(len(rows), TRAINING_COST)
        self._stop_together()
        parallel.share_buffers(self.classifier, self.ranks)

    def _train_batch(self, rows: np.ndarray) -> None:
        """Take the step of a whole batch; where it is stopped within (raises Stopped), it leaves no trace."""
        state, rate = self.state, self.learning_rate(self.state.step)
        train_mode(self.classifier, batchnorm=self.config.batchnorm)  # type: ignore[arg-type]
        buffers = {name: buffer.clone() for name, buffer in self.classifier.named_buffers()}

        def take_back() -> None:
            # The batch is done again; its first forward pass must leave no trace in BatchNorm.
            for name, buffer in self.classifier.named_buffers():
                buffer.copy_(buffers[name])
            self.optimizer.zero_grad(set_to_none=True)

        optimization.set_learning_rate(self.optimizer, rate)
        try:
            (loss, weight, num_correct), state.num_halvings = parallel.with_halvings(
                lambda num_halvings: self._gradients(rows, num_halvings),
                take_back,
                num_images=len(rows),
                num_halvings=state.num_halvings,
                listener=self.listener,
                is_alone=self.ranks.is_alone,
            )
        except Stopped:
            take_back()
            raise
        norm = optimization.gradient_norm(self.classifier)
        self.optimizer.step()
        state.sums.add(loss, weight, num_correct, len(rows), gradient_norm=norm)
        state.step += 1
        state.batches_done += 1
        self._tell(StepEnded(state.step, loss, rate, norm))

    def _gradients(self, rows: np.ndarray, num_halvings: int) -> tuple[float, float, int]:
        """Leave a batch's gradients in the parameters; returns mean loss, weight of the batch and number of hits."""
        # Dropout draws from the position in the run alone, so that a resumed run draws the same.
        torch.manual_seed(derived_seed(self.config.seed, "step", self.state.step) + self.ranks.rank)
        self.optimizer.zero_grad(set_to_none=True)
        positions, counts = parallel.positions_of(self.ranks, len(rows))
        if num_halvings or len(positions) < 2:
            parallel.freeze_batchnorm_statistics(self.classifier)
        targets = self.data.target_tensor(rows[positions], self.compute.device)
        inputs, soft = self._mixed(rows, positions, targets)
        own_weight = float(len(positions) if self.class_weights is None else (soft @ self.class_weights).sum())
        batch_weight = self.ranks.total(counts * own_weight)[0]
        mean_loss, num_correct = 0.0, 0
        for part in parallel.micro_batches(len(positions), num_halvings):
            with autocast(self.compute.device, self.compute.training_dtype):
                logits = self.network(inputs[part])
            loss, weight = weighted_loss(
                logits.float(), soft[part], loss=self.config.loss, class_weights=self.class_weights
            )
            loss = loss * (counts * weight / batch_weight)
            mean_loss += self.ranks.total(float(loss.detach()))[0]
            if not math.isfinite(mean_loss):
                raise self.diverged("loss", mean_loss)
            (loss * self.ranks.size).backward()  # gradients are averaged over ranks, and are to be summed
            num_correct += int(counts * (logits.argmax(1) == targets[part]).sum())
        return mean_loss, batch_weight, int(self.ranks.total(num_correct)[0])

    def _mixed(
        self, rows: np.ndarray, positions: np.ndarray, targets: "torch.Tensor"
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Inputs and smoothed targets (n, K) of this rank's positions in a batch.

        With mixup both are blended with those of another image of the batch, which may be one of another rank's.
        """
        config, epoch = self.config, self.state.epoch
        inputs, soft = self.data.inputs.for_training(rows[positions], epoch), self._soft(targets)
        if not config.mixup:
            return inputs, soft
        rng = np.random.default_rng([config.seed, self.state.step])
        share, order = float(rng.beta(config.mixup, config.mixup)), rng.permutation(len(rows))
        if self.ranks.is_alone:
            others, soft_others = inputs[order], soft[order]
        else:
            partners = rows[order[positions]]
            others = self.data.inputs.for_training(partners, epoch)
            soft_others = self._soft(self.data.target_tensor(partners, self.compute.device))
        return share * inputs + (1 - share) * others, share * soft + (1 - share) * soft_others

    def _soft(self, targets: "torch.Tensor") -> "torch.Tensor":
        return soft_targets(targets, self.data.num_classes, smoothing=self.config.label_smoothing)

    def _validate(self) -> tuple[dict[str, float], Confusion]:
        """Mean loss and metrics ("val_...") of the validation images, cut over the ranks, and the confusion (K x K)."""
        data, ranks, rows = self.data, self.ranks, self.data.val_rows
        own_rows = ranks.share(rows)
        logits = predict_logits(
            self.classifier,
            data.inputs,
            own_rows if len(own_rows) else rows[:1],
            device=self.compute.device,
            dtype=self.compute.training_dtype,
            should_stop=self.should_stop if ranks.is_alone else never_stop,  # several leave at the same point
            on_batch=lambda num_images: self._tell_progress(num_images * ranks.size, EVALUATION_COST),
        )
        logits = ranks.gathered(logits if len(own_rows) else None)
        weights = None if self.val_weights is None else self.val_weights.cpu()
        hard = soft_targets(data.target_tensor(rows, "cpu"), data.num_classes)
        loss = float(weighted_loss(logits, hard, loss=self.config.loss, class_weights=weights)[0])
        if not math.isfinite(loss):
            raise self.diverged("validation loss", loss)
        targets, probabilities = data.targets[rows], logits.softmax(1).numpy()
        measured = evaluate_predictions(targets, probabilities, is_ordinal=data.is_ordinal)
        metrics = {"val_loss": loss, **{f"val_{key}": measured[key] for key in SHOWN_METRICS}}
        confusion = tuple(tuple(row) for row in confusion_matrix(targets, probabilities).tolist())
        return ranks.from_first(metrics), confusion  # the first rank's numbers count

    def _end_epoch(self, validation: dict[str, float], confusion: Confusion) -> None:
        """Keep the weights if they are the best, and tell the epoch's numbers."""
        epoch, metrics = self.state.epoch, self.state.sums.metrics | validation
        metrics["learning_rate"] = self.learning_rate(self.state.step - 1)
        metrics["images_per_second"] = self.throughput.images_per_second
        if self.state.end_epoch(metrics):
            self.best = copied(tuned_tensors(self.classifier))
        self._tell(EpochEnded(epoch, self.epochs, metrics, confusion))

    def _stop_together(self) -> None:
        """Raise Stopped on all ranks at the same point, if one of them is to stop; alone, each stage asks."""
        if not self.ranks.is_alone and self.ranks.total(self.should_stop())[0]:
            raise Stopped("Stopped between two batches.")

    def _tell(self, event: Event) -> None:
        self.listener(event)
        self.saving(event)

    def _tell_progress(self, num_images: int, cost: int) -> None:
        self.throughput.add(num_images, cost)
        speed, left = self.throughput.images_per_second, self.throughput.seconds_left
        self._tell(Progressed(PHASE, self.state.step, self.num_steps, speed, left))
