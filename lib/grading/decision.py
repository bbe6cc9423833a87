"""What to do next with an image, in words: refer, screen again, take again, ask a person.

For ordered grades, and for two classes where a person has stored an operating point.

The cutoff is of the network's own scores, and these are compared with it; the probability that is shown is the
calibrated one. The cutoff is the operating point stored with the run; without one that fits the classes, the default
that the calibration holds (the highest with 90 % sensitivity on its answers), else one half.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.evaluation.calibration import Calibration
from lib.evaluation.operating_point import predictive_values
from lib.evaluation.roc import questions
from lib.evaluation.verdict import GRADED, UNGRADABLE, UNSURE, Verdict, describe_share
from lib.grading.grades import Decision
from lib.grading.operating_point import DEFAULT_PREVALENCE, OperatingPoint

REFER, SCREEN_AGAIN, TAKE_AGAIN, ASK = "refer", "screen again", "take again", "ask a person"
ACTIONS = (REFER, TAKE_AGAIN, ASK, SCREEN_AGAIN)  # the most pressing first
HALF = 0.5


@dataclass(frozen=True)
class Cutoff:
    """From which raw score on is referred, and what that is worth where it is known."""

    title: str
    positive: tuple[str, ...]
    value: float
    origin: str
    sensitivity: float | None = None
    specificity: float | None = None
    prevalence: float = DEFAULT_PREVALENCE
    is_default: bool = True


def point_fits(point: OperatingPoint | None, class_names: Sequence[str]) -> bool:
    """Whether a stored point speaks of some, but not all, of these classes."""
    return point is not None and set(point.positive) < set(class_names)


def cutoff_of(
    class_names: Sequence[str], *, point: OperatingPoint | None = None, calibration: Calibration | None = None
) -> Cutoff:
    """The stored operating point where its classes are the classifier's, else the calibration's default, else 0.5."""
    if point is not None and point_fits(point, class_names):
        reading = point.reading
        return Cutoff(
            point.title, point.positive, point.threshold, "the operating point stored with the run",
            reading.sensitivity.value, reading.specificity.value, reading.prevalence, is_default=False,
        )  # fmt: skip
    referral = calibration.referral if calibration else None
    if calibration and referral and set(referral.positive) < set(class_names):
        origin = f"a default chosen for 90 % sensitivity on {calibration.num:,} {calibration.fitted_on}"
        return Cutoff(
            referral.title, referral.positive, referral.cutoff, origin, referral.sensitivity, referral.specificity
        )
    question = questions(class_names, is_ordinal=True)[0]
    positive = tuple(class_names[number] for number in question.positive)
    return Cutoff(question.title, positive, HALF, "a default of one half, with unknown sensitivity")


def decide_next(
    verdict: Verdict, class_names: Sequence[str], *, cutoff: Cutoff, prevalence: float | None = None
) -> Decision | None:
    """What to do next with an image; None where it is unlike the training images or unreadable.

    `prevalence` is that of PPV and NPV; None takes that of the cutoff.
    """
    if verdict.status == UNGRADABLE:
        return Decision(action=TAKE_AGAIN, sentence="Take the photograph again: this one is too poor to grade.")
    if verdict.status not in (GRADED, UNSURE) or not verdict.scores:
        return None
    columns = [list(class_names).index(name) for name in cutoff.positive]
    score = float(np.asarray(verdict.scores)[columns].sum())  # raw, as the cutoff is
    probability = sum(verdict.probabilities[name] for name in cutoff.positive)
    at = cutoff.prevalence if prevalence is None else prevalence
    ppv = npv = None
    if cutoff.sensitivity is not None and cutoff.specificity is not None:
        ppv, npv = predictive_values(cutoff.sensitivity, cutoff.specificity, at)
    action = ASK if verdict.status == UNSURE else (REFER if score >= cutoff.value else SCREEN_AGAIN)
    return Decision(
        action=action, sentence=_sentence(action, cutoff, score, probability, values=(ppv, npv), prevalence=at),
        title=cutoff.title, probability=probability, score=score, cutoff=cutoff.value, ppv=_known(ppv), npv=_known(npv),
        prevalence=at, is_default=cutoff.is_default,
    )  # fmt: skip


def _known(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _sentence(
    action: str,
    cutoff: Cutoff,
    score: float,
    probability: float,
    *,
    values: tuple[float | None, float | None],
    prevalence: float,
) -> str:
    named = cutoff.title if cutoff.title.startswith("Referable") else f"Referable ({cutoff.title})"
    shown = f"{named}, probability {describe_share(probability)}"
    if action == ASK:
        return f"Ask a person: the class is not sure enough. {shown}."
    side, word = ("at or above", "Refer") if action == REFER else ("below", "Screen again at the usual time")
    said = f"{word}: {shown}; its score of {score:.3f} lies {side} {cutoff.value:.3f}, {cutoff.origin}."
    ppv, npv = map(_known, values)
    at = f"At a prevalence of {100 * prevalence:g} %"
    if action == REFER and ppv is not None:
        return f"{said} {at}, {100 * ppv:.0f} % of those referred have it (PPV)."
    if action == SCREEN_AGAIN and npv is not None:
        return f"{said} {at}, {100 * npv:.1f} % of those not referred are free of it (NPV)."
    return said
