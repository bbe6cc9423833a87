"""What a grading gives: one grade a file, and what is said of the classifier that gave it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from lib.grading.uploads import Skipped
from lib.models.seen_images import FITTED, VALIDATED

GRADED, UNLIKE, REFUSED = "graded", "unlike", "refused"
STATUS_WORDS = {GRADED: "graded", UNLIKE: "unlike the training images", REFUSED: "refused"}
MEDICAL_NOTICE = "Research and education only. Not a medical device; not for diagnosis or treatment."
SEEN_SENTENCES = {
    FITTED: "This image was among the training images; its grade says nothing about new ones.",
    VALIDATED: "This image was among the validation images that tuned it; its grade says little about new ones.",
}
NOT_CHECKED = "not compared with the training images: this classifier keeps none"


@dataclass(frozen=True, eq=False)
class Grade:
    """What became of one file.

    Attributes:
        name: the file's name, as the person or an archive gave it.
        status: "graded", "unlike" (the training images; no class is given) or "refused" (no image).
        class_name: the most probable class, number `target`; None unless graded.
        confidence: its probability.
        probabilities: class name to probability, in the order of the classes; empty unless graded.
        distance: feature distance to the training images; `threshold` is the largest that passes.
        reason: why it is unlike or refused; for a graded image, what the check found.
        notices: what was done to the file to read it.
        pixels: the square that the network saw, uint8 (S, S, 3), before its resize.
        cam: Grad-CAM map of the class, (h, w) in 0..1, if asked for and if the head has one.
        seen: "fitted" or "validated" where the classifier was trained on this very file or tuned by it, else "".
    """

    name: str
    status: str
    class_name: str | None = None
    target: int | None = None
    confidence: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    distance: float | None = None
    threshold: float | None = None
    reason: str = ""
    notices: tuple[str, ...] = ()
    pixels: np.ndarray | None = None
    cam: np.ndarray | None = None
    seen: str = ""

    @property
    def seen_sentence(self) -> str:
        """What it means that the classifier has seen this file in its training; empty for a new one."""
        return SEEN_SENTENCES.get(self.seen, "")

    @property
    def explanation(self) -> str:
        """The reason, and that the classifier has seen the file if it has."""
        return f"{self.reason} {self.seen_sentence}".strip()


@dataclass(frozen=True)
class ReportHeader:
    """What a report says of the classifier that graded."""

    run: str
    dataset: str
    backbone: str
    strategy: str
    class_names: tuple[str, ...]
    is_medical: bool
    false_alarm_rate: float | None
    num_calibration: int
    created: str = ""
    is_by_expected_grade: bool = False
    knows_seen_images: bool = True

    @property
    def seen_sentence(self) -> str:
        """That training images cannot be marked, where the classifier keeps no list of them; else empty."""
        if self.knows_seen_images:
            return ""
        return (
            "This classifier keeps no list of its training images, so they are not marked: a grade of one of them says "
            "nothing about new images."
        )

    @property
    def notice(self) -> str:
        """The notice that every report of a medical data set carries; empty otherwise."""
        return MEDICAL_NOTICE if self.is_medical else ""

    @property
    def rule_sentence(self) -> str:
        """How the class follows from the probabilities, where it is not simply the most probable one."""
        if not self.is_by_expected_grade:
            return ""
        return "The class is the one that the expected grade reaches, by limits fitted on validation images."

    @property
    def gate_sentence(self) -> str:
        """What passing the comparison with the training images means, with its rate of mistakes."""
        if self.false_alarm_rate is None:
            return "The images were not compared with the training images: this classifier keeps none."
        return (
            f"The limit of likeness is set by {self.num_calibration} validation images: beyond it no class is given, "
            f"and on average {100 * self.false_alarm_rate:.0f} % of fitting images are turned away by mistake."
        )


def skipped_grades(skipped: Iterable[Skipped]) -> list[Grade]:
    """Rows for what was left out before grading, so that a report has one for each file."""
    return [Grade(entry.name, REFUSED, reason=entry.reason) for entry in skipped]
