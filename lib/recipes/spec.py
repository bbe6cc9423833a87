"""What an entry of the recipe table says, and what the images of the studies show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Study:
    """Where an experiment was published; `line` is what stands at the end of its line in a picture."""

    title: str
    line: str
    year: int
    framework: str


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a study found: fractions, kappa with quadratic weights; None where it gives no such figure.

    `leaderboard_places` are those of this kappa on the public leaderboard of the competition, as of 9 November 2016.
    `confusion` has a row for each true and a column for each predicted class. `validation_accuracy` is the best of all
    epochs, `seconds` the wall time of the training.
    """

    accuracy: float | None = None
    quadratic_weighted_kappa: float | None = None
    leaderboard_places: str = ""
    measured_on: str = ""
    confusion: tuple[tuple[int, ...], ...] = ()
    validation_accuracy: float | None = None
    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What the images of a study show, and how to know a data set of them in the library.

    A data set fits if its name holds one of `words`, or its classes are exactly `class_words` in some spelling.
    `bring` is the command that imports them, "" where there is none, and `bring_note` what to know of it.
    `stand_in` are settings that turn the five grades of the generated set into as many classes as the study has.
    """

    published_data: str
    bring: str = ""
    bring_note: str = ""
    words: tuple[str, ...] = ()
    class_words: tuple[str, ...] = ()
    stand_in: Mapping[str, Any] = field(default_factory=dict)
    stand_in_words: str = ""


FUNDUS = Subject(
    published_data="photographs of a retinopathy competition (2015)",
    bring="python -m lib datasets import train --labels trainLabels.csv --name eyepacs --per-class 200",
    bring_note="files of the competition, for those with an account there; 750 and 200 of each grade as in the thesis "
    "report: --train-per-class 750 --test-per-class 200",
    words=("eyepacs", "diabetic-retinopathy", "diabetic_retinopathy", "kaggle-dr"),
)
CATS_DOGS = Subject(
    published_data="photographs of a cats-and-dogs competition",
    bring="python -m lib datasets import --source oxford_pets --set cats_and_dogs=yes",
    bring_note="other photographs of the same two classes: those of the competition cannot be had by a command",
    class_words=("cat", "dog"),
    stand_in={"target_map": "any_dr"},
    stand_in_words="as two classes, no retinopathy and any",
)
FOOD = Subject(
    published_data="Food-101, its first ten classes",
    bring="python -m lib datasets import --source food101 --set classes=10",
    words=("food",),
    stand_in_words="with its five grades for ten classes",
)


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """One published result: the figures of one classifier, and where they come from.

    Attributes:
        title: what was tested.
        values: metric -> value; keys of `PUBLISHED_METRICS`.
        intervals: metric -> 95 % interval as published.
        source: who published it; `url` where it is, "" where it has no address.
        read_in: where the figure was read.
        year: of the publication, where it is known.
        note: what else must be known to read it.
        places: on the leaderboard of its time.
        recipe: the recipe that repeats it, "" where none does.
        confusion: counts, a row for each true and a column for each predicted class.
        seconds: wall time of the training.
    """

    title: str
    values: Mapping[str, float]
    source: str
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    url: str = ""
    read_in: str = ""
    year: int | None = None
    note: str = ""
    places: str = ""
    recipe: str = ""
    confusion: tuple[tuple[int, ...], ...] = ()
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What results must share to be held against each other: images, split, and the definition of their metrics.

    Attributes:
        name: in the table.
        title: on the board.
        data: the images.
        split: which of them train, validate and test.
        definition: of the metrics.
        comparable: whether runs of this program may be held against it, with what, and why not.
        task: which runs stand beside it, a key of `TASKS`.
        subject: what the images show, so that runs on other ones can be marked.
        num_images: test images; 0 where it is not known, or they are no images by themselves.
        study: the title of the recipes' study whose figures these are; "" for those of others.
        lines: the results; those of a study come from its recipes.
        is_ranked: whether one line is better than another: not where each is of other images.
    """

    name: str
    title: str
    data: str
    split: str
    definition: str
    comparable: str
    task: str
    subject: Subject
    num_images: int = 0
    study: str = ""
    lines: tuple[PublishedResult, ...] = ()
    is_ranked: bool = True


@dataclass(frozen=True, kw_only=True)
class RecipeSpec:
    """One published experiment.

    `settings` are fields of TrainConfig. On another backbone than the published one the settings that name stages give
    way to `elsewhere`, and to what `stages_on` says for that backbone. `small` are the settings of a run of at most two
    minutes on two cores, `small_on` those with a backbone on which they differ.
    `follows` names the recipe whose trained head this one starts from. `deviations` say in a line each what cannot be
    repeated to the letter.
    """

    name: str
    title: str
    study: Study
    subject: Subject
    protocol: str
    settings: Mapping[str, Any]
    elsewhere: Mapping[str, Any] = field(default_factory=dict)
    stages_on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)
    small_on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    published: Published = Published()
    deviations: tuple[str, ...] = ()
    follows: str = ""

    @property
    def backbone(self) -> str:
        """The published backbone."""
        return str(self.settings["backbone"])
