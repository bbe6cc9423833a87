"""The three gates of an image from left to right: readable, looks like the training images, graded.

To pass the second says only that the image looks like them, not that its class is right.
"""

from dataclasses import dataclass

from lib.evaluation.verdict import REFUSED, UNLIKE
from lib.grading.grades import NOT_CHECKED, Grade
from lib.models.seen_images import FITTED, VALIDATED

PASSED, CAUTION, STOPPED, NOT_REACHED = "passed", "caution", "stopped", "not_reached"
# A sign says what the colour says, for those who cannot see it; so do the titles.
SIGNS = {PASSED: "✓", CAUTION: "!", STOPPED: "✕", NOT_REACHED: "–"}

SEEN_TITLES = {FITTED: "Itself a training image", VALIDATED: "Itself a validation image"}

# A distance within the last tenth below the limit.
NEAR_LIMIT = 0.9


@dataclass(frozen=True)
class GateReading:
    """One gate: whether the image passed, in words, and why."""

    level: str
    title: str
    reason: str

    @property
    def sign(self) -> str:
        """A sign that goes with the level."""
        return SIGNS[self.level]


def read_passport(grade: Grade) -> tuple[GateReading, GateReading, GateReading]:
    """The readings of the three gates of one file; behind the gate that stopped it none is reached."""
    return _readable(grade), _like_training(grade), _graded(grade)


def _readable(grade: Grade) -> GateReading:
    if _is_unread(grade):
        return GateReading(STOPPED, "Not readable", grade.reason)
    said = "; ".join(notice for notice in grade.notices if notice != NOT_CHECKED)
    if said:
        return GateReading(CAUTION, "Readable, with a notice", f"{said[:1].upper()}{said[1:]}.")
    return GateReading(PASSED, "Readable", "Decoded whole.")


def _like_training(grade: Grade) -> GateReading:
    if _is_unread(grade):
        return GateReading(NOT_REACHED, "Not compared", "There is no picture.")
    if grade.seen and grade.is_graded:
        return GateReading(CAUTION, SEEN_TITLES[grade.seen], grade.seen_sentence)
    if grade.distance is None or grade.threshold is None:
        level = STOPPED if grade.status == UNLIKE else CAUTION
        reason = grade.reason or "This classifier keeps no training images."
        return GateReading(level, "Not compared", reason)
    numbers = f"Feature distance {grade.distance:.3f}, limit {grade.threshold:.3f}."
    if grade.status == UNLIKE:
        title, _, said = grade.reason.partition(": ")
        if title != "Unlike the training images":
            said = numbers if grade.distance > grade.threshold else grade.reason
        return GateReading(STOPPED, "Unlike the training images", f"{said[:1].upper()}{said[1:]}")
    if grade.distance > NEAR_LIMIT * grade.threshold:
        return GateReading(CAUTION, "Barely looks like the training images", f"Close to the limit. {numbers}")
    return GateReading(PASSED, "Looks like the training images", numbers)


def _graded(grade: Grade) -> GateReading:
    if not grade.is_graded:
        was_asked = grade.status == REFUSED and not _is_unread(grade)
        return GateReading(
            STOPPED if was_asked else NOT_REACHED, "Not graded", grade.reason if was_asked else "No class."
        )
    if grade.is_close_call:
        return GateReading(CAUTION, f"Graded: {grade.class_name}?", grade.sentence)
    return GateReading(PASSED, f"Graded: {grade.class_name}", grade.sentence)


def _is_unread(grade: Grade) -> bool:
    # Refused files have no distance, except where a diverged network gave no probabilities.
    return grade.status == REFUSED and grade.distance is None
