"""The operating point of a run for referable disease: chosen, kept with its classifier, read again by whoever grades.

It lies in the bundle's folder, so that an export carries it. Beside it stand published points, of other data.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lib.atomic import read_kept, write_json
from lib.data.grades import known_grades
from lib.errors import UserError
from lib.evaluation.operating_point import Reading, choose_threshold, read_at
from lib.evaluation.resampling import Estimate, as_plain, estimate_of
from lib.evaluation.roc import (
    Question,
    from_grade,
    interval_text,
    is_constant,
    questions,
    referable_grade,
    why_undefined,
)
from lib.tracking.records import RunRecord, predictions
from lib.tracking.scores import probability_columns
from lib.tracking.state import BUNDLE_FOLDER
from lib.tracking.tested import TestedRun, read_tested

if TYPE_CHECKING:
    from lib.figures.roc_charts import MarkedPoint

FILE = "operating_point.json"  # beside the manifest of the classifier
FORMAT_VERSION = 1
VALIDATION, TEST = "validation", "test"
DEFAULT_SENSITIVITY, DEFAULT_PREVALENCE = 0.9, 0.1
_MEASURES = ("sensitivity", "specificity", "ppv", "npv")


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """From which score on an image is referred, and what that was worth on the test images.

    Attributes:
        title: of what is looked for, such as "Referable: Moderate and above".
        grade: the grade from which on; None where one of two classes is looked for.
        positive: the classes that count, by name.
        threshold: the least sum of their probabilities that is referred.
        wanted_sensitivity: what was asked for.
        chosen_on: "validation" or "test".
        num_chosen: images that the threshold was chosen on.
        reading: what it does on the test images.
    """

    title: str
    grade: int | None
    positive: tuple[str, ...]
    threshold: float
    wanted_sensitivity: float
    chosen_on: str
    num_chosen: int
    reading: Reading

    @property
    def is_optimistic(self) -> bool:
        """Whether the images that say what it is worth are those that it was chosen on."""
        return self.chosen_on == TEST

    def refers(self, probabilities: np.ndarray, class_names: tuple[str, ...] | list[str]) -> np.ndarray:
        """Whether each image (N,) is referred by probabilities (N, K) of these classes.

        Raises:
            UserError: a class of the point that the classifier does not have.
        """
        missing = [name for name in self.positive if name not in class_names]
        if missing:
            raise UserError(f"The operating point is for the class {missing[0]!r}, which the classifier does not know.")
        columns = [list(class_names).index(name) for name in self.positive]
        return probabilities[:, columns].sum(axis=1) >= self.threshold

    @property
    def title_of_images(self) -> str:
        """What is looked for, in how many of the test images."""
        found = self.reading
        return f"{self.title}: {found.num_positive} of {found.num_positive + found.num_negative} test images"

    @property
    def chosen_sentence(self) -> str:
        """What the threshold was chosen on, and what follows from that."""
        if self.is_optimistic:
            return (
                f"The threshold was chosen on the {self.num_chosen} test images themselves, since the run has kept no "
                "answers in validation: these figures are optimistic."
            )
        return (
            f"The threshold was chosen on {self.num_chosen} answers in validation, the figures are of the test images."
        )

    @property
    def sentence(self) -> str:
        """The point in one line."""
        reading, text = self.reading, "{:.0%}".format
        return (
            f"{self.title}: referred from {self.threshold:.3f} on; sensitivity "
            f"{interval_text(reading.sensitivity, text)}, specificity {interval_text(reading.specificity, text)}; at a "
            f"prevalence of {reading.prevalence:.0%}, PPV {interval_text(reading.ppv, text)} and NPV "
            f"{interval_text(reading.npv, text)}."
        ).replace("%", "\u00a0%")

    def to_dict(self) -> dict[str, Any]:
        """What is stored and what the command prints."""
        return {
            **as_plain(dataclasses.asdict(self)),
            "format_version": FORMAT_VERSION,
            "is_optimistic": self.is_optimistic,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "OperatingPoint":
        """Rebuild from `to_dict`; raises ValueError, TypeError or KeyError where it does not fit."""
        if content["format_version"] > FORMAT_VERSION:
            raise ValueError("newer than this program")
        own = {field.name: content[field.name] for field in dataclasses.fields(cls)}
        reading = {**own["reading"], **{key: estimate_of(own["reading"][key]) for key in _MEASURES}}
        if not math.isfinite(float(own["threshold"])) or not isinstance(own["positive"], list):
            raise ValueError("no threshold, or no classes")
        return cls(**{**own, "positive": tuple(map(str, own["positive"])), "reading": Reading(**reading)})


def read_operating_point(run: RunRecord | Path) -> OperatingPoint | None:
    """The stored point of a run, or of the folder of a bundle; None where there is none that can be read."""
    folder = run if isinstance(run, Path) else run.folder / BUNDLE_FOLDER
    return read_kept(folder / FILE, OperatingPoint.from_dict)


def store_operating_point(run: RunRecord, point: OperatingPoint) -> None:
    """Keep the point with the run's classifier, in place of an earlier one.

    Raises:
        UserError: the run has no classifier.
    """
    folder = run.folder / BUNDLE_FOLDER
    if not folder.is_dir():
        raise UserError(f"The run {run.short_id} is {run.state} and has no classifier yet; choose a finished run.")
    write_json(folder / FILE, point.to_dict())


def forget_operating_point(run: RunRecord) -> None:
    """Take the stored point away; nothing where there is none."""
    (run.folder / BUNDLE_FOLDER / FILE).unlink(missing_ok=True)


def referable_question(class_names: list[str], *, is_ordinal: bool, grade: int | None = None) -> Question:
    """What is looked for: all grades from `grade` on, by default those that are referred.

    Of two classes the second one.

    Raises:
        UserError: classes without an order, or a grade that there is not.
    """
    if len(class_names) == 2 and grade in (None, 1):
        return questions(class_names, is_ordinal=is_ordinal)[0]
    if not is_ordinal:
        raise UserError(
            "These classes have no order, so there is no grade to refer from: an operating point needs ordered grades "
            "or two classes. If they are grades, say so: python -m lib datasets change NAME --ordinal."
        )
    chosen = referable_grade(class_names) if grade is None else grade
    known = known_grades(class_names) or range(len(class_names))
    if not 1 <= chosen <= max(known):
        raise UserError(f"The grade to refer from must lie between 1 and {max(known)}, received {chosen}.")
    return from_grade(chosen, class_names)


def choose_operating_point(
    tested: TestedRun,
    question: Question,
    *,
    sensitivity: float = DEFAULT_SENSITIVITY,
    prevalence: float = DEFAULT_PREVALENCE,
    read: Callable[[RunRecord], pd.DataFrame] | None = None,
) -> OperatingPoint:
    """Choose a run's threshold for a sensitivity, and say what it is worth on the test images.

    The threshold is chosen on the run's answers in validation, none of which is of a classifier that was fitted on the
    image; of a run that has kept none, such as one with folds, on the test images themselves. `read` gives the run's
    predictions (from its folder by default).

    Raises:
        UserError: a share outside its range, one kind of image only, or a score that is the same for every image.
    """
    if not 0 < sensitivity <= 1:
        raise UserError(f"The sensitivity must lie above 0 and up to 1, received {sensitivity:g}.")
    if not 0 < prevalence < 1:
        raise UserError(f"The prevalence must lie between 0 and 1, received {prevalence:g}.")
    truth, score = question.truth(tested.targets), question.score(tested.probabilities)
    if why := why_undefined(truth, score, question.title):
        raise UserError(why)
    if is_constant(score):
        raise UserError(
            f"{tested.label} gives every test image the same score, so that no threshold tells anything apart."
        )
    table = read(tested.run) if read else predictions(tested.run.run_id)
    own_truth, own_score = _validation(table, question)
    is_chosen_apart = bool(own_truth.any()) and not is_constant(own_score)
    chosen_truth, chosen_score = (own_truth, own_score) if is_chosen_apart else (truth, score)
    threshold = choose_threshold(chosen_truth, chosen_score, sensitivity)
    return OperatingPoint(
        title=question.title, grade=int(question.key.removeprefix("from-")) if question.is_grade else None,
        positive=tuple(str(tested.class_names[number]) for number in question.positive), threshold=threshold,
        wanted_sensitivity=sensitivity, chosen_on=VALIDATION if is_chosen_apart else TEST, num_chosen=len(chosen_truth),
        reading=read_at(truth, score, threshold, prevalence=prevalence, groups=tested.groups),
    )  # fmt: skip


def operating_point_of(
    run: RunRecord, *, grade: int | None = None, sensitivity: float = DEFAULT_SENSITIVITY,
    prevalence: float = DEFAULT_PREVALENCE,
) -> OperatingPoint:  # fmt: skip
    """As `choose_operating_point`, of a run as it is kept.

    Raises:
        UserError: also where the run has no predictions, or its classes no order.
    """
    tested = read_tested(run, f"The run {run.short_id}")
    question = referable_question(tested.class_names, is_ordinal=tested.is_ordinal, grade=grade)
    return choose_operating_point(tested, question, sensitivity=sensitivity, prevalence=prevalence)


def _validation(table: pd.DataFrame, question: Question) -> tuple[np.ndarray, np.ndarray]:
    """Truth and score of the answers in validation."""
    own = table[table["split"] != "test"].drop_duplicates("image_id")
    if not len(own):
        return np.zeros(0, dtype=bool), np.zeros(0)
    probabilities = own[probability_columns(own)].to_numpy(np.float64)
    return question.truth(own["target"].to_numpy(np.int64)), question.score(probabilities)


@dataclass(frozen=True)
class PublishedPoint:
    """An operating point that was published, of other data and another definition than any run here."""

    name: str
    measured_on: str
    looked_for: str
    sensitivity: Estimate
    specificity: Estimate
    source: str
    url: str


_NONE = math.nan
_JAMA = ("Gulshan et al., JAMA 2016; 316:2402-2410", "https://doi.org/10.1001/jama.2016.17216")
_NPJ = ("Abràmoff et al., npj Digital Medicine 2018; 1:39", "https://www.nature.com/articles/s41746-018-0040-6")
_REFERABLE = "moderate and above, or macular oedema, by image"
_MORE_THAN_MILD = "more than mild retinopathy or macular oedema, by patient"


def _known(value: float, low: float = _NONE, high: float = _NONE) -> Estimate:
    return Estimate(value, low, high)


PUBLISHED_POINTS = (
    PublishedPoint("Gulshan 2016, high specificity", "EyePACS-1, 9,963 images", _REFERABLE,
                   _known(0.903), _known(0.981), *_JAMA),
    PublishedPoint("Gulshan 2016, high specificity", "Messidor-2, 1,748 images", _REFERABLE,
                   _known(0.870), _known(0.985), *_JAMA),
    PublishedPoint("Gulshan 2016, high sensitivity", "EyePACS-1, 9,963 images", _REFERABLE,
                   _known(0.975), _known(0.934), *_JAMA),
    PublishedPoint("Gulshan 2016, high sensitivity", "Messidor-2, 1,748 images", _REFERABLE,
                   _known(0.961), _known(0.939), *_JAMA),
    PublishedPoint("IDx-DR pivotal trial", "900 patients enrolled", _MORE_THAN_MILD,
                   _known(0.872, 0.818, 0.912), _known(0.907, 0.883, 0.927), *_NPJ),
    PublishedPoint("IDx-DR, label of the FDA", "its pivotal trial", _MORE_THAN_MILD,
                   _known(0.874), _known(0.895), "FDA De Novo DEN180001", "https://510k.innolitics.com/search/DEN180001"),
)  # fmt: skip
OTHER_DATA_SENTENCE = (
    "Published points are of other images, other cameras and another definition of disease; they say where such "
    "systems stand, not whether a run here is better."
)


def published_marks(*, is_ordinal: bool) -> "list[MarkedPoint]":
    """The published points as `operating_point_figure` draws them; of grades only, of other classes no yardstick."""
    from lib.figures.roc_charts import MarkedPoint

    return [
        MarkedPoint(one.name, one.measured_on, one.sensitivity.value, one.specificity.value)
        for one in PUBLISHED_POINTS
        if is_ordinal
    ]


def published_table() -> pd.DataFrame:
    """The published points, one row each."""
    return pd.DataFrame(
        {
            "point": [one.name for one in PUBLISHED_POINTS],
            "sensitivity": [interval_text(one.sensitivity, "{:.3f}".format) for one in PUBLISHED_POINTS],
            "specificity": [interval_text(one.specificity, "{:.3f}".format) for one in PUBLISHED_POINTS],
            "measured_on": [one.measured_on for one in PUBLISHED_POINTS],
            "looked_for": [one.looked_for for one in PUBLISHED_POINTS],
            "source": [one.source for one in PUBLISHED_POINTS],
            "url": [one.url for one in PUBLISHED_POINTS],
        }
    )
