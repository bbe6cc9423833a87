"""Optimisers, their parameter groups, and class weights."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.errors import UserError
from lib.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn

# Classes differ so often by a factor of two by chance that weighting starts above three.
IMBALANCE_LIMIT = 3.0
Groups = list[dict[str, Any]]


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimiser; `build(groups, learning_rate, momentum)` makes it.

    `has_decoupled_decay` tells whether weight decay shrinks the weights themselves (Loshchilov & Hutter 2019) or
    enters the gradient as L2; `usual_learning_rate` is a sensible peak for a head on frozen features; `has_momentum`
    whether it reads the momentum at all.
    """

    name: str
    title: str
    summary: str
    build: Callable[[Groups, float, float], "torch.optim.Optimizer"]
    has_decoupled_decay: bool = False
    usual_learning_rate: float = 1e-3
    has_momentum: bool = False


def _adamw(groups: Groups, rate: float, _: float) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.AdamW(groups, lr=rate, fused=True)


def _adam(groups: Groups, rate: float, _: float) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.Adam(groups, lr=rate, fused=True)


def _sgd(groups: Groups, rate: float, momentum: float) -> "torch.optim.Optimizer":
    import torch

    # One kernel for all parameters on a GPU; on a CPU, as it always was, so that runs repeat to the bit.
    is_on_gpu = all(parameter.is_cuda for group in groups for parameter in group["params"])
    return torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=is_on_gpu or None)


def _rmsprop(groups: Groups, rate: float, momentum: float) -> "torch.optim.Optimizer":
    import torch

    return torch.optim.RMSprop(groups, lr=rate, momentum=momentum)


def _adadelta(groups: Groups, rate: float, _: float) -> "torch.optim.Optimizer":
    import torch

    # rho and eps of Keras, whose results the recipes repeat; torch's own are 0.9 and 1e-6.
    return torch.optim.Adadelta(groups, lr=rate, rho=0.95, eps=1e-7)


OPTIMIZERS: Registry[OptimizerSpec] = Registry("optimizer")
for _optimizer in (
    OptimizerSpec("adamw", "AdamW", "Adam with decoupled weight decay.", _adamw, has_decoupled_decay=True),
    OptimizerSpec("adam", "Adam", "Adam; weight decay acts as L2.", _adam),
    OptimizerSpec(
        "sgd", "SGD with Nesterov momentum", "Plain steps.", _sgd, usual_learning_rate=1e-2, has_momentum=True
    ),
    OptimizerSpec("rmsprop", "RMSprop", "Steps over the recent size of the gradient.", _rmsprop, has_momentum=True),
    OptimizerSpec("adadelta", "Adadelta", "Finds its step size; run at 1.", _adadelta, usual_learning_rate=1.0),
):
    OPTIMIZERS.add(_optimizer)


def check_momentum(optimizer: str, momentum: float, default: float) -> None:
    """Raise UserError for a momentum that the optimiser would pass over without a word."""
    if momentum != default and not OPTIMIZERS.get(optimizer).has_momentum:
        having = ", ".join(spec.name for spec in OPTIMIZERS if spec.has_momentum)
        raise UserError(
            f"The optimizer {optimizer} has no momentum to set (momentum={momentum:g}); choose one of: {having}, or "
            "leave the momentum out."
        )


def build_optimizer(
    network: Any,
    *,
    learning_rate: float,
    weight_decay: float,
    optimizer: str = "adamw",
    momentum: float = 0.9,
    head: "nn.Module | None" = None,
    head_rate_factor: float = 1.0,
    stage_rate_decay: float = 1.0,
) -> "torch.optim.Optimizer":
    """An optimiser of the table over the trainable parameters, without decay on biases and normalisation.

    The parameters of `head` learn `head_rate_factor` times faster: they start from nothing, the backbone does not.
    Below the last stage each one learns `stage_rate_decay` times as fast as the next (discriminative learning rates:
    Howard & Ruder 2018, arXiv 1801.06146).
    """
    groups = []
    for parameters, factor in _with_factors(network, head, head_rate_factor, stage_rate_decay):
        for has_decay in (True, False):
            chosen = [p for p in parameters if p.requires_grad and (p.ndim > 1) is has_decay]
            if chosen:
                groups.append(
                    {"params": chosen, "weight_decay": weight_decay if has_decay else 0.0, "rate_factor": factor}
                )
    return OPTIMIZERS.get(optimizer).build(groups, learning_rate, momentum)


def _with_factors(
    network: Any, head: "nn.Module | None", head_rate_factor: float, stage_rate_decay: float
) -> Iterator[tuple[list["nn.Parameter"], float]]:
    """Yield (parameters, factor of their learning rate): by stage where these differ, else the body in one piece."""
    in_head = {id(parameter) for parameter in head.parameters()} if head is not None else set()
    if stage_rate_decay == 1.0:
        yield [p for p in network.parameters() if id(p) not in in_head], 1.0
    else:
        stages = [list(stage.parameters()) for stage in network.stages.values()]
        for depth, parameters in enumerate(reversed(stages)):
            yield parameters, stage_rate_decay**depth
    if head is not None:
        yield list(head.parameters()), head_rate_factor


def set_learning_rate(optimizer: "torch.optim.Optimizer", learning_rate: float) -> None:
    """Give every group its share of the step's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate_factor", 1.0)


def gradient_norm(network: Any) -> float:
    """The Euclidean length of the gradient over all trained parameters; 0.0 before there is one."""
    from torch.nn.utils import get_total_norm

    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return float(get_total_norm(gradients)) if gradients else 0.0


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
) -> tuple["torch.Tensor | None", "torch.Tensor | None"]:
    """Class weights (K,) of the training loss and of the validation loss; None where all images weigh the same.

    Classes that are drawn equally often weigh the same in training, and count equally in the validation loss, too.

    Args:
        targets: classes of the training images (N,).
        num_classes: K.
        policy: "auto", "balanced" or "none" (`class_weights`).
        sampling: "balanced" where classes are drawn equally often.
        device: where the logits are.
    """
    import torch

    is_drawn = sampling == "balanced"
    weights = class_weights(targets, num_classes, "balanced" if is_drawn else policy)
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float32, device=device)
    return None if is_drawn else tensor, tensor
