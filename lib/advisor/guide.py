"""Which strategy for which data: the guide of four scenarios, small or large by similar or different, made measurable.

The guide is the one of study 2 and of the Stanford course CS231n (https://cs231n.github.io/transfer-learning/).
Small and similar: a linear classifier on the features; large and similar: fine-tune the whole network; small and
different: a linear classifier on earlier activations; large and different: start from the pretrained weights and
fine-tune all of it.
Where "small" ends and "different" begins, the guide does not say: the thresholds below are this program's own.

That of the distance lies between anchors measured with 128 images each (median over stages; noise 32 images):

    network       its own images   cats and dogs   generated images   synthetic fundus   uniform noise
    Bundled VGG             0.29            0.27      (its own) 0.29               0.54            0.81
    MobileNetV2                -            0.13               0.35               0.50            0.96

"Its own images" are generated ones that the bundled network never saw; MobileNetV2 learned from photographs, of which
cats and dogs are some. At 0.42, half-way between 0.35 and 0.50, photographs and generated images count as similar to
either network, fundus images and noise as different.
"""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from lib.evaluation.intervals import wilson_interval

SMALL_PER_CLASS = 100  # training images of the rarest class: below, "small"
TINY_PER_CLASS = 10  # below, nothing but a linear probe can be fitted soundly
DIFFERENT_DISTANCE = 0.42  # in deviations of the source's own features, median over stages
SIMILAR_SKILL = 0.5  # of the nearest centroid above chance, where no distance can be had
# Frozen features separate the classes: the nearest centroid's skill, and that of the low end of its 95 % interval.
SEPARATED_SKILL, SURELY_SEPARATED_SKILL = 0.9, 0.8
GUESSING_SKILL = 0.2  # below, the nearest centroid hardly does better than chance
SOURCE = "four scenarios by size and similarity (study 2; CS231n, Transfer Learning)"


@dataclass(frozen=True)
class StageReading:
    """What was measured at one stage; None where it could not be: distance to the source domain, and LogME."""

    stage: str
    distance: float | None
    logme: float | None


@dataclass(frozen=True, kw_only=True)
class Readings:
    """All that was measured of a data set and a network.

    `nearest_centroid` is a cross-validated balanced accuracy and `logme` the log evidence per image, both of the
    features that heads usually read, over `num_scored` training images of `num_classes` classes; `was_cached` says
    whether those features were at hand. `stages` come in order and rest on `num_sampled` images.
    """

    least_per_class: int
    num_classes: int
    stages: tuple[StageReading, ...]
    nearest_centroid: float | None = None
    logme: float | None = None
    num_train: int = 0
    num_sampled: int = 0
    num_scored: int = 0
    was_cached: bool = False
    seconds: float = 0.0

    @property
    def distance(self) -> float | None:
        """The median over stages; None in a network without BatchNorm."""
        known = [reading.distance for reading in self.stages if reading.distance is not None]
        return statistics.median(known) if known else None

    @property
    def skill(self) -> float | None:
        """The nearest centroid's accuracy above chance: 0 guesses, 1 is perfect."""
        return None if self.nearest_centroid is None else self._above_chance(self.nearest_centroid)

    def _above_chance(self, share: float) -> float | None:
        chance = 1 / max(self.num_classes, 1)
        return None if self.num_classes < 2 else (share - chance) / (1 - chance)

    @property
    def is_separated(self) -> bool:
        """Whether frozen features tell the classes apart already: a high skill, and not by the luck of few images."""
        if self.nearest_centroid is None or self.skill is None or not self.num_scored:
            return False
        low = self._above_chance(wilson_interval(self.nearest_centroid * self.num_scored, self.num_scored)[0])
        return self.skill >= SEPARATED_SKILL and low is not None and low >= SURELY_SEPARATED_SKILL

    @property
    def is_similar(self) -> bool:
        """By the distance; without one, by how well the features tell the classes apart; else nothing is promised."""
        if self.distance is not None:
            return self.distance < DIFFERENT_DISTANCE
        return self.skill is not None and self.skill >= SIMILAR_SKILL


@dataclass(frozen=True)
class Advice:
    """A recommended strategy with the settings that go with it, its reason, and the readings that it rests on."""

    strategy: str
    feature_stage: str | None
    epochs: int | None
    scenario: str
    reason: str
    source: str
    readings: Readings

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold, with what follows from the readings."""
        names = ("distance", "skill", "is_similar", "is_separated")
        follows = {name: getattr(self.readings, name) for name in names}
        return {**asdict(self), **follows}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Advice":
        """Rebuild from `to_dict`; raises TypeError or KeyError for another format."""
        known = {item.name: content[item.name] for item in fields(cls)}
        readings = dict(known["readings"])
        readings["stages"] = tuple(StageReading(**stage) for stage in readings["stages"])
        return cls(**{**known, "readings": Readings(**readings)})


def recommend(readings: Readings, stage_titles: Mapping[str, str] | None = None) -> Advice:
    """Apply the guide to what was measured; the reason calls a stage by its title, where titles are given."""
    stages, least, is_similar = readings.stages, readings.least_per_class, readings.is_similar
    facts = f"{least} training images in the rarest class, {_how_far(readings)}"
    strategy, stage, epochs = "full_finetuning", None, None
    scenario = f"{'small' if least < SMALL_PER_CLASS else 'large'} and {'similar' if is_similar else 'different'}"
    if readings.is_separated:
        # Whatever the guide says of such data: what is measured goes before a rule of thumb.
        strategy = "linear_probe"
        reason = (
            f"{facts}, and frozen features already separate the classes ({_found(readings)}): a linear classifier on "
            "them takes seconds, and fine-tuning has hardly anything left to gain."
        )
    elif least < TINY_PER_CLASS:
        strategy, scenario = "linear_probe", "very small"
        reason = f"{facts}: too few to train more than a linear classifier on frozen features."
    elif least < SMALL_PER_CLASS and is_similar:
        strategy = "linear_probe"
        hold = "the frozen features should hold, and fine-tuning would overfit"
        if readings.skill is not None and readings.skill < GUESSING_SKILL:
            hold = f"fine-tuning would overfit, but frozen features say little of these classes ({_found(readings)})"
        reason = f"{facts}: {hold}."
    elif least < SMALL_PER_CLASS:
        strategy, stage = "linear_probe", _earlier_stage(stages)
        where = (
            f"features of the earlier stage {(stage_titles or {}).get(stage, stage)}" if stage else "frozen features"
        )
        reason = f"{facts}: late features are specific to the source, so a linear classifier on {where}."
    elif is_similar:
        epochs = 8
        reason = f"{facts}: enough images to fine-tune the whole network without overfitting."
    else:
        epochs = 15
        reason = f"{facts}: every stage has to adapt, and the pretrained weights are still the better start."
    return Advice(strategy, stage, epochs, scenario, reason, SOURCE, readings)


def _found(readings: Readings) -> str:
    """What the nearest centroid finds, as it stands in a bracket."""
    share = "nothing" if readings.nearest_centroid is None else f"{100 * readings.nearest_centroid:.0f} %"
    return (
        f"their nearest centroid finds {share} of the classes, where guessing finds {100 / readings.num_classes:.0f} %"
    )


def _how_far(readings: Readings) -> str:
    if readings.distance is not None:
        return f"features at a distance of {readings.distance:.2f} from the source domain"
    if readings.nearest_centroid is None or readings.is_separated:  # said behind, where they are separated
        return "features of unknown distance from the source domain"
    return (
        "features of unknown distance from the source domain (the network has no BatchNorm statistics), whose "
        f"nearest centroid finds {100 * readings.nearest_centroid:.0f} % of the classes"
    )


def _earlier_stage(stages: tuple[StageReading, ...]) -> str | None:
    """The stage before the last with the highest LogME; the middle one where none was measured."""
    earlier = stages[:-1]
    scored = [reading for reading in earlier if reading.logme is not None]
    if scored:
        return max(scored, key=lambda reading: reading.logme or 0.0).stage
    return earlier[len(earlier) // 2].stage if earlier else None
