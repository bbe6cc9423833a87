"""What a step minimises and how: losses, optimisers with their parameter groups, learning rates, unfreezing."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.errors import UserError
from lib.registry import Registry
from lib.training.strategies import STRATEGIES

if TYPE_CHECKING:
    from torch import Tensor

if TYPE_CHECKING:
    import torch
    from torch import nn

    from lib.training.config import TrainConfig
    from lib.training.protocols import Classifier

# A head starts from nothing, the backbone below it from good weights: the head learns this much faster.
HEAD_RATE_FACTOR = 10.0
PLATEAU_PATIENCE = 3
PLATEAU_FACTOR = 0.3
STEP_FACTOR = 0.1
# The share of a one-cycle schedule that rises, and the rate it starts from as a share of the peak (Smith & Topin 2018).
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
Groups = list[dict[str, Any]]


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimiser of torch.optim; `options(groups, momentum)` are its settings besides the learning rate.

    `has_decoupled_decay` tells whether weight decay shrinks the weights themselves (Loshchilov & Hutter 2019) or
    enters the gradient as L2; `usual_learning_rate` is a sensible peak for a head on frozen features; `has_momentum`
    whether it reads the momentum at all.
    """

    name: str
    title: str
    kind: str
    options: Callable[[Groups, float], dict[str, Any]]
    has_decoupled_decay: bool = False
    usual_learning_rate: float = 1e-3
    has_momentum: bool = False


def _sgd_options(groups: Groups, momentum: float) -> dict[str, Any]:
    # One kernel for all parameters on a GPU; on a CPU, as it always was, so that runs repeat to the bit.
    is_on_gpu = all(parameter.is_cuda for group in groups for parameter in group["params"])
    return {"momentum": momentum, "nesterov": momentum > 0, "fused": is_on_gpu or None}


OPTIMIZERS: Registry[OptimizerSpec] = Registry("optimizer")
for _optimizer in (
    OptimizerSpec("adamw", "AdamW", "AdamW", lambda *_: {"fused": True}, has_decoupled_decay=True),
    OptimizerSpec("adam", "Adam", "Adam", lambda *_: {"fused": True}),
    OptimizerSpec(
        "sgd", "SGD with Nesterov momentum", "SGD", _sgd_options, usual_learning_rate=1e-2, has_momentum=True
    ),
    OptimizerSpec("rmsprop", "RMSprop", "RMSprop", lambda _, momentum: {"momentum": momentum}, has_momentum=True),
    # rho and eps of Keras, whose results the recipes repeat; torch's own are 0.9 and 1e-6.
    OptimizerSpec("adadelta", "Adadelta", "Adadelta", lambda *_: {"rho": 0.95, "eps": 1e-7}, usual_learning_rate=1.0),
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
    import torch

    groups = []
    for parameters, factor in _with_factors(network, head, head_rate_factor, stage_rate_decay):
        for has_decay in (True, False):
            chosen = [p for p in parameters if p.requires_grad and (p.ndim > 1) is has_decay]
            if chosen:
                groups.append(
                    {"params": chosen, "weight_decay": weight_decay if has_decay else 0.0, "rate_factor": factor}
                )
    spec = OPTIMIZERS.get(optimizer)
    made: torch.optim.Optimizer = getattr(torch.optim, spec.kind)(
        groups, lr=learning_rate, **spec.options(groups, momentum)
    )
    return made


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


def optimizer_of(classifier: "Classifier", config: "TrainConfig") -> "torch.optim.Optimizer":
    """The optimiser of a resolved config over what is trainable in a classifier."""
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


def set_learning_rate(optimizer: "torch.optim.Optimizer", learning_rate: float) -> None:
    """Give every group its share of the step's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate_factor", 1.0)


def gradient_norm(network: Any) -> float:
    """The Euclidean length of the gradient over all trained parameters; 0.0 before there is one."""
    from torch.nn.utils import get_total_norm

    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return float(get_total_norm(gradients)) if gradients else 0.0


@dataclass(frozen=True)
class Position:
    """Where a training stands: `step` of `num_steps` from 0, and the validation losses of the finished epochs."""

    step: int
    num_steps: int
    val_losses: Sequence[float] = ()

    @property
    def share(self) -> float:
        """How much of the training is done, from 0 up to but not including 1."""
        return self.step / max(self.num_steps, 1)


@dataclass(frozen=True)
class ScheduleSpec:
    """A named course of the learning rate; `has_warmup` says whether a linear rise goes before it."""

    name: str
    title: str
    share_of_peak: Callable[[Position], float]
    has_warmup: bool = True


def _step(position: Position) -> float:
    """A tenth after each third of the training."""
    return STEP_FACTOR ** int(position.share * 3)


def _cosine(position: Position) -> float:
    """Half a cosine down to nearly zero (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * position.share))


def _one_cycle(position: Position) -> float:
    """Up over 30 %, then down (Smith & Topin 2018)."""
    if position.share < ONE_CYCLE_RISE:
        rise = 0.5 * (1 - math.cos(math.pi * position.share / ONE_CYCLE_RISE))
        return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * rise
    return 0.5 * (1 + math.cos(math.pi * (position.share - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE)))


def _plateau(position: Position) -> float:
    """A third of the rate after each `PLATEAU_PATIENCE` epochs without a better validation loss."""
    share, best, waited = 1.0, math.inf, 0
    for loss in position.val_losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited >= PLATEAU_PATIENCE:
            share, waited = share * PLATEAU_FACTOR, 0
    return share


SCHEDULES: Registry[ScheduleSpec] = Registry("schedule")
for _schedule in (
    ScheduleSpec("cosine", "Cosine", _cosine),
    ScheduleSpec("constant", "Constant", lambda _: 1.0),
    ScheduleSpec("step", "Steps", _step),
    ScheduleSpec("one_cycle", "One cycle", _one_cycle, has_warmup=False),
    ScheduleSpec("plateau", "On a plateau", _plateau),
):
    SCHEDULES.add(_schedule)


def learning_rate_at(
    step: int,
    *,
    num_steps: int,
    peak: float,
    warmup_fraction: float,
    schedule: str = "cosine",
    val_losses: Sequence[float] = (),
) -> float:
    """Learning rate of step 0 ... num_steps - 1: a linear rise to `peak` (Goyal et al. 2017), then the schedule.

    The rise takes `warmup_fraction` of all steps, and none before a schedule that rises by itself; `val_losses` are
    those of the finished epochs, for "plateau".
    """
    spec = SCHEDULES.get(schedule)
    warmup_steps = round(num_steps * warmup_fraction) if spec.has_warmup else 0
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * spec.share_of_peak(Position(step - warmup_steps, num_steps - warmup_steps, val_losses))


class GradualUnfreezing:
    """Lets the stages of a network join the training, the last one first.

    Made while everything that shall ever be trained is trainable; then `apply` says what is trained in an epoch.
    The optimiser is made before the first `apply`, so that it knows all parameters; those without a gradient stay as
    they are. Checkpoints hold all of them, whatever epoch they are of (`tuned_names`).
    """

    def __init__(self, network: Any, every: int) -> None:
        if every < 1:
            raise ValueError(f"Stages need at least one epoch each, received {every}.")
        self._every = every
        by_stage = [[p for p in stage.parameters() if p.requires_grad] for stage in network.stages.values()]
        # From the last stage down; a stage without parameters, such as a pooling, does not count.
        self._stages: list[list[nn.Parameter]] = [parameters for parameters in reversed(by_stage) if parameters]
        network.tuned_names = frozenset(name for name, p in network.named_parameters() if p.requires_grad)

    def apply(self, epoch: int) -> None:
        """Freeze and unfreeze for an epoch (from 1)."""
        count = (epoch - 1) // self._every
        for position, parameters in enumerate(self._stages):
            for parameter in parameters:
                parameter.requires_grad = position < count


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
