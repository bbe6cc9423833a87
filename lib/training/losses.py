"""What a step minimises: cross-entropy, smoothed or mixed, and losses that know that grades have an order."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lib.errors import UserError
from lib.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

# Classes differ so often by a factor of two by chance that weighting starts above three.
IMBALANCE_LIMIT = 3.0


@dataclass(frozen=True)
class LossSpec:
    """A loss; `per_image(logits, soft_targets)` gives one value an image, (N,), from two (N, K)."""

    name: str
    title: str
    per_image: Callable[["Tensor", "Tensor"], "Tensor"]
    is_ordinal: bool = False  # means something only where the classes are grades: `offered_losses`


def _cross_entropy(logits: "Tensor", soft_targets: "Tensor") -> "Tensor":
    return -(soft_targets * logits.log_softmax(1)).sum(1)


def _squared_distance(logits: "Tensor", soft_targets: "Tensor") -> "Tensor":
    """A distant grade is more wrong than a neighbour (Hou et al. 2016, arXiv 1611.05916)."""
    difference = logits.softmax(1).cumsum(1) - soft_targets.cumsum(1)
    return (difference**2).sum(1)


LOSSES: Registry[LossSpec] = Registry("loss")
LOSSES.add(LossSpec("cross_entropy", "Cross-entropy", _cross_entropy))
LOSSES.add(LossSpec("earth_mover", "Squared earth mover's distance", _squared_distance, is_ordinal=True))


def offered_losses(*, is_ordinal: bool) -> list[LossSpec]:
    """The losses that mean something for classes with or without an order."""
    return [loss for loss in LOSSES if is_ordinal or not loss.is_ordinal]


def check_loss(name: str, *, is_ordinal: bool) -> None:
    """Raise UserError for a loss that counts how far grades are apart where the classes are no grades."""
    offered = [loss.name for loss in offered_losses(is_ordinal=is_ordinal)]
    if LOSSES.get(name).name not in offered:
        raise UserError(
            f"The loss {name} counts how far grades are apart, but these classes have no order; choose one of: "
            f"{', '.join(offered)}. If they are grades, say so: "
            "python -m lib datasets change NAME --ordinal"
        )


def soft_targets(targets: "Tensor", num_classes: int, *, smoothing: float = 0.0) -> "Tensor":
    """Targets (N,) as probabilities (N, K): 1 - smoothing on the class, the rest spread over all."""
    from torch.nn import functional

    hard = functional.one_hot(targets, num_classes).float()
    return hard * (1 - smoothing) + smoothing / num_classes


def weighted_loss(
    logits: "Tensor", soft: "Tensor", *, loss: str = "cross_entropy", class_weights: "Tensor | None" = None
) -> tuple["Tensor", float]:
    """The mean of a loss of the table over images, each weighted by its (soft) class, and the sum of those weights.

    Logits (N, K) are float32, `soft` are target probabilities (N, K).
    """
    values = LOSSES.get(loss).per_image(logits, soft)
    if class_weights is None:
        return values.mean(), float(len(values))
    weights = soft @ class_weights
    return (values * weights).sum() / weights.sum(), float(weights.sum())


def class_weights(targets: Iterable[int], num_classes: int, policy: str) -> np.ndarray | None:
    """Weights (K,) that make all classes count the same, or None where `policy` and the counts call for none.

    weight_k = N / (K * N_k), the "balanced" rule of scikit-learn. "auto" weighs if max N_k > 3 * min N_k.
    """
    counts = np.bincount(np.asarray(list(targets), dtype=np.int64), minlength=num_classes)
    present = counts[counts > 0]
    if policy == "none" or (policy == "auto" and present.max() <= IMBALANCE_LIMIT * present.min()):
        return None
    weights = np.zeros(num_classes)
    weights[counts > 0] = counts.sum() / (len(present) * present)
    return weights


def loss_weights(
    targets: np.ndarray, num_classes: int, *, policy: str, sampling: str, device: str
) -> tuple["Tensor | None", "Tensor | None"]:
    """Class weights (K,) of the training loss and of the validation loss; None where all images weigh the same.

    Classes that are drawn equally often weigh the same in training, and count equally in the validation loss, too.

    `targets` are those of the training images (N,), `policy` is that of `class_weights`.
    """
    import torch

    is_drawn = sampling == "balanced"
    weights = class_weights(targets, num_classes, "balanced" if is_drawn else policy)
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)
    return None if is_drawn else tensor, tensor
