"""The three gates of an image from left to right: readable, like the training images, graded."""

from dataclasses import dataclass

from lib.grading.grades import GRADED, NOT_CHECKED, REFUSED, UNLIKE, Grade
from lib.models.seen_images import FITTED, VALIDATED

PASSED, CAUTION, STOPPED, NOT_REACHED = "passed", "caution", "stopped", "not_reached"
# A sign says what the colour says, for those who cannot see it; so do the titles.
SIGNS = {PASSED: "✓", CAUTION: "!", STOPPED: "✕", NOT_REACHED: "–"}

SEEN_TITLES = {FITTED: "Itself a training image", VALIDATED: "Itself a validation image"}

# The two most probable classes closer than this: the network does not decide.
CLOSE_CALL = 0.2
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
    if grade.seen and grade.status == GRADED:
        return GateReading(CAUTION, SEEN_TITLES[grade.seen], grade.seen_sentence)
    if grade.distance is None or grade.threshold is None:
        level = STOPPED if grade.status == UNLIKE else CAUTION
        reason = grade.reason or "This classifier keeps no training images."
        return GateReading(level, "Not compared", reason)
    numbers = f"Feature distance {grade.distance:.3f}, limit {grade.threshold:.3f}."
    if grade.status == UNLIKE:
        is_far = grade.distance > grade.threshold
        return GateReading(STOPPED, "Unlike the training images", numbers if is_far else grade.reason)
    if grade.distance > NEAR_LIMIT * grade.threshold:
        return GateReading(CAUTION, "Barely like the training images", f"Close to the limit. {numbers}")
    return GateReading(PASSED, "Like the training images", numbers)


def _graded(grade: Grade) -> GateReading:
    if grade.status != GRADED:
        was_asked = grade.status == REFUSED and not _is_unread(grade)
        return GateReading(
            STOPPED if was_asked else NOT_REACHED, "Not graded", grade.reason if was_asked else "No class."
        )
    (best, share), (second, next_share) = sorted(grade.probabilities.items(), key=lambda pair: -pair[1])[:2]
    if share - next_share < CLOSE_CALL:
        return GateReading(
            CAUTION, f"Graded: {best}?", f"A close call: {100 * share:.0f} %, and {second} {100 * next_share:.0f} %."
        )
    return GateReading(PASSED, f"Graded: {best}", f"Probability {_percent(share)}.")


def _percent(share: float) -> str:
    # "100.0 %" would claim a certainty that no network has.
    return f"{100 * share:.1f} %" if share < 0.9995 else "above 99.9 %"


def _is_unread(grade: Grade) -> bool:
    # Refused files have no distance, except where a diverged network gave no probabilities.
    return grade.status == REFUSED and grade.distance is None
