"""What a grading gives: one grade a file with its three gates, and what is said of the classifier that gave it."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lib.evaluation.verdict import (
    EXPECTED_GRADE,
    GRADED,
    MOST_PROBABLE,
    REFUSED,
    UNGRADABLE,
    UNLIKE,
    UNSURE,
    Verdict,
)
from lib.models.seen_images import FITTED, VALIDATED

STATUS_WORDS = {
    GRADED: "graded",
    UNSURE: "unsure",
    UNGRADABLE: "too poor to grade",
    UNLIKE: "unlike the training images",
    REFUSED: "refused",
}
MEDICAL_NOTICE = "Research and education only. Not a medical device; not for diagnosis or treatment."
SEEN_SENTENCES = {
    FITTED: "This image was among the training images; its grade says nothing about new ones.",
    VALIDATED: "This image was among the validation images that tuned it; its grade says little about new ones.",
}
NOT_CHECKED = "not compared with the training images: this classifier keeps none"
ROTATED = "the answer is the mean over four rotations"
ROTATED_CALIBRATED = f"{ROTATED}; the calibration was fitted without them"
ROTATED_SET = "The calibration was fitted without rotations: what the coverage is with them was not measured."
PASSED, CAUTION, STOPPED, NOT_REACHED = "passed", "caution", "stopped", "not_reached"
# A sign says what the colour says, for those who cannot see it; so do the titles.
SIGNS = {PASSED: "✓", CAUTION: "!", STOPPED: "✕", NOT_REACHED: "–"}
SEEN_TITLES = {FITTED: "Itself a training image", VALIDATED: "Itself a validation image"}
# A distance within the last tenth below the limit.
NEAR_LIMIT = 0.9


@dataclass(frozen=True, kw_only=True)
class GradingOptions:
    """What a person chooses beside the classifier; the dashboard, the command line and the service pass the same.

    Attributes:
        by_thresholds: the class that the expected grade reaches instead of the most probable one.
        coverage: how often the conformal set is to hold the right class.
        largest_set: with more classes left than this, no class is given; None gives one always.
        rotations: whether the answer is the mean over rotations by 0, 90, 180 and 270 degrees.
        prevalence: share of referable images among those graded, for PPV and NPV; None takes the stored one.
        with_maps: whether a map is made of each graded image.
        num_cases: how many of the nearest training images are told.
    """

    by_thresholds: bool = False
    coverage: float = 0.9
    largest_set: int | None = None
    rotations: bool = False
    prevalence: float | None = None
    with_maps: bool = False
    num_cases: int = 3


USUAL_OPTIONS = GradingOptions()


@dataclass(frozen=True, kw_only=True)
class DomainDistance:
    """One way in which an image was compared with the training images: a bar with its limit.

    Attributes:
        title: what was measured, in words, such as "Features at block4" or "Energy".
        value: the larger, the less alike; `limit` is the largest that passes.
    """

    title: str
    value: float
    limit: float

    @property
    def is_passed(self) -> bool:
        """Whether the value lies within its limit."""
        return self.value <= self.limit


@dataclass(frozen=True, kw_only=True)
class NearestCase:
    """One of the training images that lie nearest in feature space.

    Attributes:
        image_id: in the data set of the training; its picture is there only where that data set is.
        jpeg: its picture, where it is at hand.
    """

    image_id: str
    class_name: str
    distance: float
    jpeg: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class QualityReading:
    """Whether a picture is good enough to be graded.

    Attributes:
        score: probability that it is ungradable, 0 to 1; `limit` is the largest that passes.
        kind: what spoils it most, such as "blurred"; "" where nothing does.
        reason: in words; `hint` says how to take it again.
        measures: what it was judged by, by name.
    """

    score: float
    limit: float
    kind: str = ""
    reason: str = ""
    hint: str = ""
    measures: dict[str, float] = field(default_factory=dict)

    @property
    def is_passed(self) -> bool:
        """Whether the picture may be graded."""
        return self.score <= self.limit


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do next with an image.

    Attributes:
        action: one of `lib.grading.decision`: "refer", "screen again", "take again", "ask a person".
        sentence: the decision in words, with PPV and NPV at the stated prevalence.
        probability: P(referable) as it is shown; `score` is what was compared with `cutoff`.
        is_default: whether no operating point was stored with the run.
    """

    action: str
    sentence: str
    title: str = ""
    probability: float | None = None
    score: float | None = None
    cutoff: float | None = None
    ppv: float | None = None
    npv: float | None = None
    prevalence: float | None = None
    is_default: bool = False

    @property
    def parts(self) -> tuple[str, str]:
        """What to do, and why: the sentence before and after its first colon, so that the first can stand out."""
        decided, _, why = self.sentence.partition(": ")
        return decided, f"{why[:1].upper()}{why[1:]}"


@dataclass(frozen=True, eq=False)
class Grade(Verdict):
    """What became of one file: its verdict, with the pictures that go with it.

    Attributes:
        name: the file's name, as the person or an archive gave it.
        notices: what was done to the file to read it.
        pixels: the square that the network saw, uint8 (S, S, 3), before its resize.
        cam: Grad-CAM map of the verdict's class, (h, w) in 0..1, if asked for and if the head has one.
        seen: "fitted" or "validated" where the classifier was trained on this very file or tuned by it, else "".
        domain: each comparison with the training images, with its limit.
        quality: whether the picture is good enough; None where nothing of the kind is asked of such images.
        cases: the nearest training images, nearest first.
        decision: what to do next; None where nothing says which classes are referred.
        map_stage: where its map was taken; `map_verdict` is what the checks of the map say, "" until they are done.
        sha256: of the file's content; "" where there was none.
        is_left_out: whether nobody looked into the file: beyond a limit, twice in an archive, encrypted.
    """

    name: str
    notices: tuple[str, ...] = ()
    pixels: np.ndarray | None = None
    cam: np.ndarray | None = None
    seen: str = ""
    domain: tuple[DomainDistance, ...] = ()
    quality: QualityReading | None = None
    cases: tuple[NearestCase, ...] = ()
    decision: Decision | None = None
    map_stage: str = ""
    map_verdict: str = ""
    sha256: str = ""
    is_left_out: bool = False

    @property
    def seen_sentence(self) -> str:
        """What it means that the classifier has seen this file in its training; empty for a new one."""
        return SEEN_SENTENCES.get(self.seen, "")

    @property
    def set_caveats(self) -> tuple[str, ...]:
        """What is to be said beside the set of classes, a sentence each."""
        if not self.prediction_set:
            return ()
        outside = f"{self.class_name}, which the expected grade means, is not among them."
        return (
            *((outside,) if self.is_outside_set else ()),
            *((ROTATED_SET,) if ROTATED_CALIBRATED in self.notices else ()),
        )

    @property
    def explanation(self) -> str:
        """The reason, and that the classifier has seen the file if it has."""
        return f"{self.reason} {self.seen_sentence}".strip()

    @classmethod
    def of(cls, verdict: Verdict, name: str = "", **pictures: Any) -> "Grade":
        """A verdict with a name and pictures."""
        said = {one.name: getattr(verdict, one.name) for one in dataclasses.fields(Verdict)}
        return cls(name, **said, **pictures)


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
    is_calibrated: bool = False
    knows_seen_images: bool = True
    split_caveat: str = ""  # of the data set that it was trained on
    num_folds: int = 0  # of a run with folds, whose test images were answered by them and not by this classifier
    result: str = ""  # what it reached on its test images, beside always the commonest class
    dataset_version: str = ""  # the hash of the data that it was trained on
    operating_point: str = ""  # from which score on it refers, where that was stored with it
    calibration_card: tuple[str, ...] = ()  # what its calibration is worth, a sentence each
    false_alarm_range: tuple[float, float] | None = None  # where that rate lies in 95 of 100 draws of held-out images

    @property
    def result_sentence(self) -> str:
        """What was reached on the test images, of a run with folds by those; empty where the bundle does not say."""
        if self.result and self.num_folds:
            return (
                f"Of {self.num_folds} folds, each image answered by a classifier that had not seen it: {self.result}. "
                "This classifier itself was trained on images of all folds and tested on none."
            )
        return f"On the test images of its training: {self.result}." if self.result else ""

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
    def rule(self) -> str:
        """What decides: the most probable class or the expected grade."""
        return EXPECTED_GRADE if self.is_by_expected_grade else MOST_PROBABLE

    @property
    def rule_sentence(self) -> str:
        """How the class follows from the probabilities, where it is not simply the most probable one."""
        if not self.is_by_expected_grade:
            return ""
        return (
            "The class is the one that the expected grade reaches, by limits fitted in validation; it need not "
            "be the most probable one."
        )

    @property
    def confidence_sentence(self) -> str:
        """What the column of confidence holds."""
        if self.is_calibrated:
            return (
                "Confidence is the calibrated probability of the class that is given: of images like those of the "
                "training, about that share is right."
            )
        return (
            "Confidence is the network's own probability of the class that is given, not the chance that it is right."
        )

    @property
    def gate_sentence(self) -> str:
        """What passing the comparison with the training images means, with its rate of mistakes."""
        if self.false_alarm_rate is None:
            return "The images were not compared with the training images: this classifier keeps none."
        by_chance = ""
        if self.false_alarm_range is not None:
            low, high = (100 * share for share in self.false_alarm_range)
            by_chance = f" (by the chance of which these were, {low:.1f} to {high:.1f} %, in 95 of 100 cases)"
        return (
            f"The limit of likeness is set by {self.num_calibration} held-out images: beyond it no class is given, "
            f"and on average {100 * self.false_alarm_rate:.0f} %{by_chance} of new images drawn like them are "
            "turned away by mistake. An image within it looks like the training images, no more: its class may still "
            "be wrong."
        )


@dataclass(frozen=True)
class GateCheck:
    """One gate: whether the image passed, in words, and why."""

    level: str
    title: str
    reason: str

    @property
    def sign(self) -> str:
        """A sign that goes with the level."""
        return SIGNS[self.level]


def check_gates(grade: Grade) -> tuple[GateCheck, GateCheck, GateCheck]:
    """The three gates of one file, from left to right: readable, looks like the training images, graded.

    Behind the gate that stopped it none is reached. To pass the second says only that the image looks like the training
    images, not that its class is right.
    """
    return _readable(grade), _like_training(grade), _graded(grade)


def check_all_gates(grade: Grade) -> tuple[GateCheck, ...]:
    """The same with whether the picture is good enough in its place, before the class, where that was asked."""
    readable, like, graded = check_gates(grade)
    return tuple(gate for gate in (readable, like, _good_enough(grade), graded) if gate is not None)


def _good_enough(grade: Grade) -> GateCheck | None:
    reading = grade.quality
    if reading is None or grade.status == UNLIKE:  # how to take an eye again says nothing of a cat
        return None
    said = " ".join(filter(None, (reading.reason, reading.hint)))
    if grade.status == UNGRADABLE:
        return GateCheck(STOPPED, "Too poor to grade", said or grade.reason)
    if not reading.is_passed:
        return GateCheck(CAUTION, "A poor picture", said)
    return GateCheck(PASSED, "Good enough to grade", said)


def _readable(grade: Grade) -> GateCheck:
    if _is_unread(grade):
        return GateCheck(STOPPED, "Not readable", grade.reason)
    apart = (NOT_CHECKED, ROTATED, ROTATED_CALIBRATED)
    said = "; ".join(notice for notice in grade.notices if notice not in apart)
    if said:
        return GateCheck(CAUTION, "Readable, with a notice", f"{said[:1].upper()}{said[1:]}.")
    return GateCheck(PASSED, "Readable", "Decoded whole.")


def _like_training(grade: Grade) -> GateCheck:
    if _is_unread(grade):
        return GateCheck(NOT_REACHED, "Not compared", "There is no picture.")
    if grade.seen and grade.is_graded:
        return GateCheck(CAUTION, SEEN_TITLES[grade.seen], grade.seen_sentence)
    if grade.distance is None or grade.threshold is None:
        level = STOPPED if grade.status == UNLIKE else CAUTION
        reason = grade.reason or "This classifier keeps no training images."
        return GateCheck(level, "Not compared", reason)
    numbers = f"Feature distance {grade.distance:.3f}, limit {grade.threshold:.3f}."
    if grade.status == UNLIKE:
        title, _, said = grade.reason.partition(": ")
        if title != "Unlike the training images":
            said = numbers if grade.distance > grade.threshold else grade.reason
        return GateCheck(STOPPED, "Unlike the training images", f"{said[:1].upper()}{said[1:]}")
    if grade.distance > NEAR_LIMIT * grade.threshold:
        # Only an eye that is too poor a picture gets here from beyond the limit.
        is_beyond = grade.distance > grade.threshold
        title = "An eye, unlike the training images" if is_beyond else "Barely looks like the training images"
        return GateCheck(CAUTION, title, numbers if is_beyond else f"Close to the limit. {numbers}")
    return GateCheck(PASSED, "Looks like the training images", numbers)


def _graded(grade: Grade) -> GateCheck:
    if grade.status == UNSURE:
        return GateCheck(CAUTION, "Unsure", grade.reason)
    if not grade.is_graded:
        was_asked = grade.status == REFUSED and not _is_unread(grade)
        return GateCheck(
            STOPPED if was_asked else NOT_REACHED, "Not graded", grade.reason if was_asked else "No class."
        )
    if grade.is_close_call or grade.is_outside_set:
        return GateCheck(CAUTION, f"Graded: {grade.class_name}?", grade.sentence)
    return GateCheck(PASSED, f"Graded: {grade.class_name}", grade.sentence)


def _is_unread(grade: Grade) -> bool:
    # Refused files have no distance, except where a diverged network gave no probabilities.
    return grade.status == REFUSED and grade.distance is None
