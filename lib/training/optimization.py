"""The optimiser, its parameter groups, the learning rate of each step, and class weights."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn

# Classes differ so often by a factor of two by chance that weighting starts above three.
IMBALANCE_LIMIT = 3.0


def build_optimizer(
    network: "nn.Module", *, learning_rate: float, weight_decay: float, head: "nn.Module | None" = None,
    head_rate_factor: float = 1.0,
) -> "torch.optim.AdamW":  # fmt: skip
    """AdamW over the trainable parameters, without decay on biases and normalisation (Loshchilov & Hutter 2019).

    The parameters of `head` learn `head_rate_factor` times faster: they start from nothing, the backbone does not.
    """
    import torch

    head_parameters = {id(parameter) for parameter in head.parameters()} if head is not None else set()
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = []
    for is_head, factor in ((False, 1.0), (True, head_rate_factor)):
        for has_decay in (True, False):
            parameters = [p for p in trainable if (id(p) in head_parameters) is is_head and (p.ndim > 1) is has_decay]
            if parameters:
                decay = weight_decay if has_decay else 0.0
                groups.append({"params": parameters, "weight_decay": decay, "rate_factor": factor})
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def learning_rate_at(step: int, *, num_steps: int, peak: float, warmup_fraction: float) -> float:
    """Learning rate of step 0 ... num_steps - 1: a linear rise to `peak`, then half a cosine down to nearly zero.

    Source: Goyal et al. 2017 (warm-up), Loshchilov & Hutter 2017 (cosine).
    """
    warmup_steps = round(num_steps * warmup_fraction)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    share = (step - warmup_steps) / max(num_steps - warmup_steps, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * share))


def set_learning_rate(optimizer: "torch.optim.Optimizer", learning_rate: float) -> None:
    """Give every group its share of the step's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate_factor", 1.0)


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
