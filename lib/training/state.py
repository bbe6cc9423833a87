"""Where a training stands: position, sums of the running epoch, and the tensors that it changes."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib.errors import UserError

if TYPE_CHECKING:
    import torch

    from lib.training.protocols import Classifier


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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "FitState":
        """Rebuild from `to_dict`."""
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
