"""Where a training stands: position, sums of the running epoch, and the best weights so far."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn


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
        """Loss and accuracy so far."""
        return {"loss": self.loss / max(self.weight, 1e-12), "accuracy": self.num_correct / max(self.num_images, 1)}

    @property
    def mean_gradient_norm(self) -> float:
        """The mean length of a step's gradient so far."""
        return self.gradient_norm / max(self.num_steps, 1)


@dataclass
class FitState:
    """Everything besides weights and moments that an interrupted training needs; `epoch` counts from 1."""

    epoch: int = 1
    batches_done: int = 0
    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    num_halvings: int = 0  # of the batch, since memory ran out (micro_batches.py)
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


def tuned_tensors(network: "nn.Module") -> dict[str, "torch.Tensor"]:
    """The tensors that training changes, by name, shared with the network: trainable parameters, and buffers.

    Buffers (BatchNorm statistics) are few numbers, so those of frozen stages are simply kept as well.
    """
    names = getattr(network, "tuned_names", None)  # where parts are frozen only for the time being (unfreezing.py)
    tensors = {
        name: p.detach()
        for name, p in network.named_parameters()
        if (p.requires_grad if names is None else name in names)
    }
    tensors.update(network.named_buffers())
    return tensors


def copied(tensors: dict[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """Copies on the CPU that later steps do not change."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def put_back(network: "nn.Module", tensors: dict[str, "torch.Tensor"]) -> None:
    """Write copied tensors into the network; raises ValueError if they are not the network's own."""
    own = tuned_tensors(network)
    if set(own) != set(tensors):
        raise ValueError(f"The tensors {sorted(set(own) ^ set(tensors))[:3]} do not fit this network.")
    for name, tensor in own.items():
        tensor.copy_(tensors[name])


def epoch_batches(rows: np.ndarray, *, batch_size: int, seed: int) -> list[np.ndarray]:
    """Shuffle rows and cut them into batches of nearly equal size.

    Equal sizes, because a last batch of one image has no BatchNorm statistics (and a small one has bad ones). One is
    left over only from an odd number in twos; such a step keeps the statistics (parallel.py, `spare_batchnorm`).
    """
    order = np.random.default_rng(seed).permutation(rows)
    return np.array_split(order, max(1, math.ceil(len(order) / batch_size)))


def balanced_rows(rows: np.ndarray, targets: np.ndarray, *, seed: int) -> np.ndarray:
    """As many rows as there are, every class equally often: rare classes repeat, large ones show a part of theirs.

    Within a class no image comes a second time before all others came once. A row more goes to classes in a drawn
    order where the number does not divide.

    Args:
        rows: the training rows (N,).
        targets: their classes (N,).
        seed: of this epoch's draw.
    """
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(targets))
    drawn = []
    for position, target in enumerate(classes):
        own = rows[targets == target]
        count = len(rows) // len(classes) + (position < len(rows) % len(classes))
        rounds = [rng.permutation(own) for _ in range(math.ceil(count / len(own)))]
        drawn.append(np.concatenate([np.empty(0, rows.dtype), *rounds])[:count])
    return np.concatenate(drawn)
