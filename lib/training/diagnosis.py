"""Overfitting and underfitting in plain words, from the curves alone.

Two rules on the losses of the finished epochs, so that a person can follow them on the picture:

* Overfitting: the validation loss has been above its lowest value for `RISING_EPOCHS` epochs, the last of them by at
  least `MIN_RISE`, while the training loss went on falling (Prechelt 1998, "Early stopping, but when?": generalisation
  loss).
* Underfitting: after `SLOW_EPOCHS` epochs both losses fall by less than `MIN_FALL` over the last `SLOW_EPOCHS` epochs
  while the training images themselves are not learned: training accuracy below `LEARNED_ACCURACY`, and not better than
  on the validation images by more than `SMALL_GAP`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RISING_EPOCHS = 3
MIN_RISE = 0.02  # of the lowest validation loss
SLOW_EPOCHS = 5
MIN_FALL = 0.01  # of the loss, over SLOW_EPOCHS epochs
LEARNED_ACCURACY = 0.9
SMALL_GAP = 0.05

Epoch = Mapping[str, float]


@dataclass(frozen=True)
class Diagnosis:
    """`kind` is "overfitting", "underfitting", "fine" or "early" (too few epochs to tell); `text` says it."""

    kind: str
    text: str
    best_epoch: int = 0


def generalisation_gap(epoch: Epoch) -> float:
    """Training minus validation accuracy; NaN where one of them is missing. Above 0: training images are better."""
    return float(epoch.get("train_accuracy", math.nan)) - float(epoch.get("val_accuracy", math.nan))


def diagnose(history: Sequence[Epoch]) -> Diagnosis:
    """Judge the epochs so far, the first one first.

    Args:
        history: train_loss, val_loss, train_accuracy and val_accuracy (fractions) of each finished epoch.
    """
    val_losses = [float(epoch.get("val_loss", math.nan)) for epoch in history]
    train_losses = [float(epoch.get("train_loss", math.nan)) for epoch in history]
    if len(history) < 2 or not all(map(math.isfinite, [*val_losses, *train_losses])):
        return Diagnosis("early", "Too early to tell: trends need a few epochs.")
    best = val_losses.index(min(val_losses))
    since, last = len(history) - 1 - best, history[-1]
    if (
        since >= RISING_EPOCHS
        and val_losses[-1] >= val_losses[best] * (1 + MIN_RISE)
        and (train_losses[-1] < train_losses[best])
    ):
        rise = 100 * (val_losses[-1] / val_losses[best] - 1)
        return Diagnosis(
            "overfitting",
            f"Overfitting: the validation loss was lowest {since} epochs ago (epoch {best + 1}; now {rise:.0f}\u00a0% "
            f"higher) while the training loss still falls. The weights of epoch {best + 1} are kept; more images, "
            "augmentation, weight decay or frozen stages help.",
            best + 1,
        )
    if len(history) > SLOW_EPOCHS and not _has_fallen(val_losses, train_losses) and _is_unlearned(last):
        return Diagnosis(
            "underfitting",
            f"Underfitting: for {SLOW_EPOCHS} epochs neither loss has fallen noticeably, and even the training images "
            f"are not learned (accuracy {100 * last['train_accuracy']:.0f}\u00a0%). A higher learning rate, "
            "more trained stages or less regularisation help.",
            best + 1,
        )
    if len(history) <= RISING_EPOCHS:
        return Diagnosis("early", "Too early to tell: trends need a few epochs.", best + 1)
    state = "the validation loss is at its lowest"
    if since:
        state = f"the validation loss was lowest {since} epoch{'s' if since > 1 else ''} ago (epoch {best + 1})"
    return Diagnosis("fine", f"No sign of overfitting: {state}.", best + 1)


def _has_fallen(*curves: Sequence[float]) -> bool:
    earlier = -1 - SLOW_EPOCHS
    return any(1 - losses[-1] / losses[earlier] >= MIN_FALL for losses in curves if losses[earlier])


def _is_unlearned(epoch: Epoch) -> bool:
    reached = float(epoch.get("train_accuracy", math.nan))
    return reached < LEARNED_ACCURACY and generalisation_gap(epoch) <= SMALL_GAP
