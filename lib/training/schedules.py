"""The learning rate of each step, as a share of its peak: pure functions of position and history."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lib.registry import Registry

PLATEAU_PATIENCE = 3
PLATEAU_FACTOR = 0.3
STEP_FACTOR = 0.1
# The share of a one-cycle schedule that rises, and the rate it starts from as a share of the peak (Smith & Topin 2018).
ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25


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
    summary: str
    share_of_peak: Callable[[Position], float]
    has_warmup: bool = True


def _constant(_: Position) -> float:
    return 1.0


def _step(position: Position) -> float:
    return STEP_FACTOR ** int(position.share * 3)


def _cosine(position: Position) -> float:
    return 0.5 * (1 + math.cos(math.pi * position.share))


def _one_cycle(position: Position) -> float:
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
    ScheduleSpec("cosine", "Cosine", "Half a cosine down to nearly zero (Loshchilov & Hutter 2017).", _cosine),
    ScheduleSpec("constant", "Constant", "The same rate throughout.", _constant),
    ScheduleSpec("step", "Steps", "A tenth after each third of the training.", _step),
    ScheduleSpec(
        "one_cycle", "One cycle", "Up over 30 %, then down (Smith & Topin 2018).", _one_cycle, has_warmup=False
    ),
    ScheduleSpec("plateau", "On a plateau", "0.3 times after three epochs without a better validation loss.", _plateau),
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

    Args:
        step: position from 0.
        num_steps: of the whole training.
        peak: the largest rate.
        warmup_fraction: share of all steps that rise; ignored by a schedule that rises by itself.
        schedule: a name in `SCHEDULES`.
        val_losses: of the finished epochs, for "plateau".
    """
    spec = SCHEDULES.get(schedule)
    warmup_steps = round(num_steps * warmup_fraction) if spec.has_warmup else 0
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * spec.share_of_peak(Position(step - warmup_steps, num_steps - warmup_steps, val_losses))
