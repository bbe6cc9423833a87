"""One optimiser step of a whole batch: in micro-batches where memory is short, cut over all ranks."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.distributed import Ranks
from lib.errors import Stopped
from lib.number_format import autocast
from lib.runtime import derived_seed
from lib.training.config import TrainConfig
from lib.training.divergence import diverged
from lib.training.events import Listener
from lib.training.inputs import FitData
from lib.training.losses import soft_targets, weighted_loss
from lib.training.micro_batches import freeze_batchnorm_statistics, micro_batches, with_halvings
from lib.training.optimization import gradient_norm, set_learning_rate
from lib.training.parallel import StepNetwork, positions_of, spare_batchnorm
from lib.training.state import FitState

if TYPE_CHECKING:
    import torch


@dataclass
class BatchStep:
    """What a step needs: the network as it runs, its optimiser, what it reads, and how classes weigh in the loss."""

    classifier: Any
    network: StepNetwork
    optimizer: "torch.optim.Optimizer"
    data: FitData
    config: TrainConfig
    class_weights: "torch.Tensor | None"
    listener: Listener
    device: str
    dtype: str
    ranks: Ranks

    def take(self, rows: np.ndarray, state: FitState, learning_rate: float) -> tuple[float, float]:
        """Take the step of the images `rows` and count them in `state.sums`; returns mean loss and gradient norm.

        Raises:
            Stopped: within the step, which has then left no trace.
            TrainingDiverged: the loss became infinite or undefined.
            ShortOfMemory: memory ran out even with a sixteenth of the batch at a time.
        """
        from lib.models.freezing import train_mode

        train_mode(self.classifier, batchnorm=self.config.batchnorm)
        buffers = {name: buffer.clone() for name, buffer in self.classifier.named_buffers()}

        def take_back() -> None:
            # The batch is done again; its first forward pass must leave no trace in BatchNorm.
            for name, buffer in self.classifier.named_buffers():
                buffer.copy_(buffers[name])
            self.optimizer.zero_grad(set_to_none=True)

        set_learning_rate(self.optimizer, learning_rate)
        try:
            return self._step(rows, state, take_back)
        except Stopped:
            take_back()
            raise

    def _step(self, rows: np.ndarray, state: FitState, take_back: Callable[[], None]) -> tuple[float, float]:
        sums, state.num_halvings = with_halvings(
            lambda num_halvings: self._gradients(rows, state, num_halvings),
            take_back,
            num_images=len(rows),
            num_halvings=state.num_halvings,
            listener=self.listener,
            is_alone=self.ranks.is_alone,
        )
        norm = gradient_norm(self.classifier)
        self.optimizer.step()
        loss, weight, num_correct = sums
        state.sums.add(loss, weight, num_correct, len(rows), gradient_norm=norm)
        return loss, norm

    def _gradients(self, rows: np.ndarray, state: FitState, num_halvings: int) -> tuple[float, float, int]:
        """Leave a batch's gradients in the parameters; returns mean loss, weight of the batch and number of hits."""
        import torch

        # Dropout draws from the position in the run alone, so that a resumed run draws the same.
        torch.manual_seed(derived_seed(self.config.seed, "step", state.step) + self.ranks.rank)
        self.optimizer.zero_grad(set_to_none=True)
        if num_halvings:
            freeze_batchnorm_statistics(self.classifier)
        positions, counts = positions_of(self.ranks, len(rows))
        spare_batchnorm(self.classifier, len(positions))
        targets = self.data.target_tensor(rows[positions], self.device)
        inputs, soft = self._mixed(rows, positions, targets, state)
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
                raise diverged("loss", mean_loss, state, self.config)
            (loss * self.ranks.size).backward()  # gradients are averaged over ranks, and are to be summed
            num_correct += int(counts * (logits.argmax(1) == targets[part]).sum())
        return mean_loss, batch_weight, int(self.ranks.total(num_correct)[0])

    def _mixed(
        self, rows: np.ndarray, positions: np.ndarray, targets: "torch.Tensor", state: FitState
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Inputs and smoothed targets (n, K) of this rank's positions in a batch.

        With mixup both are blended with those of another image of the batch, which may be one of another rank's.
        """
        inputs = self.data.inputs.for_training(rows[positions], state.epoch)
        soft = self._soft(targets)
        if not self.config.mixup:
            return inputs, soft
        rng = np.random.default_rng([self.config.seed, state.step])
        share, order = float(rng.beta(self.config.mixup, self.config.mixup)), rng.permutation(len(rows))
        if self.ranks.is_alone:
            others, soft_others = inputs[order], soft[order]
        else:
            partners = rows[order[positions]]
            others = self.data.inputs.for_training(partners, state.epoch)
            soft_others = self._soft(self.data.target_tensor(partners, self.device))
        return share * inputs + (1 - share) * others, share * soft + (1 - share) * soft_others

    def _soft(self, targets: "torch.Tensor") -> "torch.Tensor":
        return soft_targets(targets, self.data.num_classes, smoothing=self.config.label_smoothing)
