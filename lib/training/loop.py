"""The training loop: epochs of batches, validation, early stopping, checkpoints."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.distributed import ALONE, Ranks
from lib.errors import Stopped, UserError
from lib.evaluation.metrics import confusion_matrix, evaluate_predictions
from lib.runtime import autocast, derived_seed
from lib.training.checkpoints import CheckpointStore
from lib.training.config import TrainConfig
from lib.training.events import (
    EpochEnded,
    Listener,
    Noticed,
    Progressed,
    ShouldStop,
    StepEnded,
    ignore_events,
    never_stop,
)
from lib.training.inputs import FitData
from lib.training.losses import soft_targets, weighted_loss
from lib.training.micro_batches import freeze_batchnorm_statistics, micro_batches, with_halvings
from lib.training.optimization import build_optimizer, class_weights, gradient_norm, set_learning_rate
from lib.training.pace import EVALUATION_COST, TRAINING_COST, Pace
from lib.training.parallel import StepNetwork, positions_of, share_buffers, spare_batchnorm, stage_stop
from lib.training.prediction import predict_logits
from lib.training.schedules import learning_rate_at
from lib.training.snapshot import are_finite, restore_snapshot, take_snapshot
from lib.training.state import FitState, balanced_rows, copied, epoch_batches, put_back, tuned_tensors
from lib.training.strategies import STRATEGIES
from lib.training.unfreezing import GradualUnfreezing

if TYPE_CHECKING:
    import torch

PHASE = "Training"
# A head starts from nothing, the backbone below it from good weights: the head learns this much faster.
HEAD_RATE_FACTOR = 10.0


class TrainingDiverged(UserError):
    """The loss is no longer a number."""

    ending = "diverged"


@dataclass(frozen=True)
class FitResult:
    """What `fit` did; the classifier itself holds the weights of the best epoch.

    `seconds` counts all of the training, `resumed_seconds` that part of it which was done before this call.
    """

    history: list[dict[str, float]]
    best_epoch: int
    seconds: float
    images_per_second: float
    resumed_seconds: float = 0.0


def fit(
    classifier: Any,
    data: FitData,
    config: TrainConfig,
    *,
    listener: Listener = ignore_events,
    should_stop: ShouldStop = never_stop,
    checkpoints: CheckpointStore | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    ranks: Ranks = ALONE,
) -> FitResult:
    """Train what is trainable in `classifier` and leave the weights of the best epoch in it.

    Continues from the newest checkpoint where there is one, to the same weights that an unbroken training reaches.

    Args:
        classifier: a staged network whose parameters are frozen or not (models/freezing.py).
        data: inputs, targets and rows.
        config: with `epochs` and `learning_rate` filled in.
        listener: hears StepEnded, Progressed (each batch) and EpochEnded.
        should_stop: asked between stages, so several times a batch.
        checkpoints: written by time, after epochs once due, and on a stop; None writes none.
        device: where the classifier and the inputs are.
        dtype: "bfloat16" computes forward passes under autocast; weights and moments stay float32.
        ranks: who trains together; each calls this alike, the first alone with `checkpoints`. Each batch is cut over
            the ranks and steps as one process would on all of it, but for BatchNorm statistics that are trained (each
            rank has those of its part; those of the first are kept).

    Raises:
        Stopped: after `should_stop()`; the checkpoint holds all finished batches.
        TrainingDiverged: the loss became infinite or undefined.
        ShortOfMemory: memory ran out even with a sixteenth of the batch at a time.
    """
    training = Training(classifier, data, config, listener, should_stop, checkpoints, device, dtype, ranks)
    training.resume()
    try:
        while not training.state.is_complete(epochs=training.epochs, patience=config.patience):
            training.train_epoch()
            training.end_epoch(training.validate())
    except Stopped:
        training.save_on_stop()
        raise
    if training.best:
        put_back(classifier, training.best)
    state, speed = training.state, training.pace.images_per_second
    return FitResult(state.history, state.best_epoch, training.seconds, speed, state.seconds)


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
        strategy = STRATEGIES.get(self.config.strategy)
        is_tuning = strategy.family in ("partly_tuned", "fully_tuned")
        has_new_head = not strategy.starts_from_probe and self.config.head_from is None
        self.optimizer = build_optimizer(
            self.classifier,
            learning_rate=self.peak_rate,
            weight_decay=self.config.weight_decay,
            optimizer=self.config.optimizer,
            momentum=self.config.momentum,
            stage_rate_decay=self.config.stage_rate_decay,
            head=self.classifier.head,
            head_rate_factor=HEAD_RATE_FACTOR if is_tuning and has_new_head else 1.0,
        )
        self.unfreezing: GradualUnfreezing | None = None
        if strategy.unfreezes_gradually:
            self.unfreezing = GradualUnfreezing(self.classifier, self.config.unfreeze_every)
        self.class_weights = self._class_weights(self.config.class_weights)
        # Classes that are drawn equally often count equally in the validation loss, too.
        self.val_weights = self.class_weights
        if self.config.sampling == "balanced":
            self.class_weights, self.val_weights = None, self._class_weights("balanced")
        self.network = StepNetwork(
            self.classifier,
            self.data.inputs,
            ranks=self.ranks,
            is_compiled=self.config.compile,
            should_stop=self.should_stop,
            listener=self.listener,
        )
        self.state = FitState()
        self.best: dict[str, torch.Tensor] = {}
        self.pace = Pace(self.epochs * self._epoch_cost)
        self.confusion: tuple[tuple[int, ...], ...] = ()

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
            raise self._diverged("weights", math.nan)
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

    def validate(self) -> dict[str, float]:
        """Mean loss and metrics of the validation images, cut over the ranks and gathered; the first rank's count."""
        rows, targets = self.data.val_rows, self.data.targets[self.data.val_rows]
        own_rows = self.ranks.share(rows)
        logits = predict_logits(
            self.classifier,
            self.data.inputs,
            own_rows if len(own_rows) else rows[:1],
            device=self.device,
            dtype=self.dtype,
            should_stop=stage_stop(self.should_stop, self.ranks),
            on_batch=lambda num_images: self._tell(num_images * self.ranks.size, EVALUATION_COST),
        )
        logits = self.ranks.gathered(logits if len(own_rows) else None)
        weights = None if self.val_weights is None else self.val_weights.cpu()
        hard = soft_targets(self._target_tensor(rows).cpu(), self.data.num_classes)
        loss = float(weighted_loss(logits, hard, loss=self.config.loss, class_weights=weights)[0])
        if not math.isfinite(loss):
            raise self._diverged("validation loss", loss)
        probabilities = logits.softmax(1).numpy()
        self.confusion = tuple(tuple(row) for row in confusion_matrix(targets, probabilities).tolist())
        measured = evaluate_predictions(targets, probabilities, is_ordinal=self.data.is_ordinal)
        shown = ("accuracy", "balanced_accuracy", "quadratic_weighted_kappa")
        return self.ranks.from_first({"val_loss": loss, **{f"val_{key}": measured[key] for key in shown}})

    def end_epoch(self, validation: dict[str, float]) -> None:
        """Keep the weights if they are the best, tell the epoch's numbers, save if it is time."""
        epoch = self.state.epoch
        metrics = {f"train_{key}": value for key, value in self.state.sums.metrics.items()} | validation
        metrics |= {"gradient_norm": self.state.sums.mean_gradient_norm}
        metrics |= {"learning_rate": self._rate(self.state.step - 1), "images_per_second": self.pace.images_per_second}
        if self.state.end_epoch(metrics):
            self.best = copied(tuned_tensors(self.classifier))
        self.listener(EpochEnded(epoch, self.epochs, metrics, self.confusion))
        if self.checkpoints and self.checkpoints.is_due():
            self.save()

    @property
    def seconds(self) -> float:
        """Time spent so far, over all interruptions."""
        return self.state.seconds + self.pace.seconds

    def _train_batch(self, rows: np.ndarray) -> None:
        from lib.models.freezing import train_mode

        train_mode(self.classifier, batchnorm=self.config.batchnorm)
        buffers = {name: buffer.clone() for name, buffer in self.classifier.named_buffers()}

        def take_back() -> None:
            # The batch is done again; its first forward pass must leave no trace in BatchNorm.
            for name, buffer in self.classifier.named_buffers():
                buffer.copy_(buffers[name])
            self.optimizer.zero_grad(set_to_none=True)

        try:
            loss, norm = self._step(rows, take_back)
        except Stopped:
            take_back()
            raise
        self.state.step += 1
        self.state.batches_done += 1
        self.listener(StepEnded(self.state.step, loss, self._rate(self.state.step - 1), norm))

    def _step(self, rows: np.ndarray, take_back: Callable[[], None]) -> tuple[float, float]:
        set_learning_rate(self.optimizer, self._rate(self.state.step))
        sums, self.state.num_halvings = with_halvings(
            lambda num_halvings: self._gradients(rows, num_halvings),
            take_back,
            num_images=len(rows),
            num_halvings=self.state.num_halvings,
            listener=self.listener,
            is_alone=self.ranks.is_alone,
        )
        norm = gradient_norm(self.classifier)
        self.optimizer.step()
        loss, weight, num_correct = sums
        self.state.sums.add(loss, weight, num_correct, len(rows), gradient_norm=norm)
        return loss, norm

    def _gradients(self, rows: np.ndarray, num_halvings: int) -> tuple[float, float, int]:
        """Leave a batch's gradients in the parameters; returns mean loss, weight of the batch and number of hits."""
        import torch

        # Dropout draws from the position in the run alone, so that a resumed run draws the same.
        torch.manual_seed(derived_seed(self.config.seed, "step", self.state.step) + self.ranks.rank)
        self.optimizer.zero_grad(set_to_none=True)
        if num_halvings:
            freeze_batchnorm_statistics(self.classifier)
        positions, counts = positions_of(self.ranks, len(rows))
        spare_batchnorm(self.classifier, len(positions), self.ranks)
        targets = self._target_tensor(rows[positions])
        inputs, soft = self._mixed(rows, positions, targets)
        own_weight = float(len(positions) if self.class_weights is None else (soft @ self.class_weights).sum())
        batch_weight = self.ranks.total(counts * own_weight)[0]
        mean_loss, num_correct = 0.0, 0
        for part in micro_batches(len(positions), num_halvings):
            with autocast(self.device, self.dtype):
                logits = self.network(inputs[part])
            loss, weight = weighted_loss(
                logits.float(), soft[part], loss=self.config.loss, class_weights=self.class_weights
            )
            loss = loss * (counts * weight / batch_weight)
            mean_loss += self.ranks.total(float(loss.detach()))[0]
            if not math.isfinite(mean_loss):
                raise self._diverged("loss", mean_loss)
            (loss * self.ranks.size).backward()  # gradients are averaged over ranks, and are to be summed
            num_correct += int(counts * (logits.argmax(1) == targets[part]).sum())
        return mean_loss, batch_weight, int(self.ranks.total(num_correct)[0])

    def _mixed(
        self, rows: np.ndarray, positions: np.ndarray, targets: "torch.Tensor"
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Inputs and smoothed targets (n, K) of this rank's positions in a batch.

        With mixup both are blended with those of another image of the batch, which may be one of another rank's.
        """
        inputs = self.data.inputs.for_training(rows[positions], self.state.epoch)
        soft = soft_targets(targets, self.data.num_classes, smoothing=self.config.label_smoothing)
        if not self.config.mixup:
            return inputs, soft
        rng = np.random.default_rng([self.config.seed, self.state.step])
        share, order = float(rng.beta(self.config.mixup, self.config.mixup)), rng.permutation(len(rows))
        if self.ranks.is_alone:
            others, soft_others = inputs[order], soft[order]
        else:
            partners = rows[order[positions]]
            others = self.data.inputs.for_training(partners, self.state.epoch)
            smoothing = self.config.label_smoothing
            soft_others = soft_targets(self._target_tensor(partners), self.data.num_classes, smoothing=smoothing)
        return share * inputs + (1 - share) * others, share * soft + (1 - share) * soft_others

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

    def _class_weights(self, policy: str) -> "torch.Tensor | None":
        import torch

        train_targets = self.data.targets[self.data.train_rows]
        weights = class_weights(train_targets, self.data.num_classes, policy)
        return None if weights is None else torch.tensor(weights, dtype=torch.float32, device=self.device)

    def _target_tensor(self, rows: np.ndarray) -> "torch.Tensor":
        import torch

        return torch.as_tensor(self.data.targets[rows].astype(np.int64), device=self.device)

    def _diverged(self, what: str, value: float) -> TrainingDiverged:
        return TrainingDiverged(
            f"The {what} became {value} at step {self.state.step + 1} of epoch {self.state.epoch}; lower the learning "
            f"rate (now {self.peak_rate:g}), for example --set learning_rate={self.peak_rate / 10:g}."
        )
