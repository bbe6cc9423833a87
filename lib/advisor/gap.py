"""How far images are from those that a network learned from, stage by stage: what was measured, and what it means.

Where there is BatchNorm, a layer keeps the mean m' and variance v' that each channel had over the images of the
pretraining; the same channels have a mean m and a variance v over the images of a data set. Per channel:

    standardised mean shift   (m - m') / sqrt(v')
    log variance ratio        ln(v / v')
    distance                  sqrt(shift^2 + (sqrt(v / v') - 1)^2), in deviations of the source

the last being the Frechet distance of two Gaussians (as in Heusel et al. 2017, arXiv 1706.08500) in the source's units;
that these statistics tell domains apart is the observation of Li et al. 2016 (AdaBN, arXiv 1603.04779). A stage has the
root mean square over its channels, a network the median over its stages, which is the distance that the advisor's guide
goes by (lib/advisor/guide.py). Networks without BatchNorm keep nothing of what they learned from: their stages' outputs
are compared with those of some photographs that are at hand, and the advisor makes no use of it.

What a distance means differs from stage to stage, so each stage has anchors, measured with the same network: uniform
noise, which gives the words their scale, those photographs and generated eyes. Imports no torch: pages read it where it
is kept.
"""

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.advisor.guide import DIFFERENT_DISTANCE, SMALL_PER_CLASS, TINY_PER_CLASS
from lib.atomic import digest_of
from lib.models.weights import weights_digest
from lib.settings import cache_dir

RUNNING, PHOTOGRAPHS = "running statistics", "photographs"
_FORMAT = 2  # 1 measured stages at which the photographs tell nothing
# How far along the way from the source (0) to noise (1) a stage lies, below which a phrase applies.
# {sees} and {is_} agree with the number of stages, {saw} and {source} with what the distances are from.
_PHRASES = (
    (0.5, "{sees} what {it} {saw} in {source}", "as in {source}"),
    (0.75, "{sees} partly other things than in {source}", "partly other"),
    (1.0, "{sees} mostly other things than in {source}", "mostly other"),
    (float("inf"), "{is_} further from {source} than noise is", "beyond noise"),
)


@dataclass(frozen=True, kw_only=True)
class StageGap:
    """One stage; a value is None where it was not measured.

    Attributes:
        stage: its name, with its `title`.
        distance: of the data set, in deviations of the source.
        shift: root mean square of the standardised mean shifts.
        log_variance: root mean square of the log variance ratios.
        num_channels: that were compared.
        photographs: the distance of the photographs at hand (without BatchNorm: of one half of them from the other).
        eyes: that of the generated eyes that come with the program.
        noise: that of uniform noise.
    """

    stage: str
    title: str
    distance: float | None = None
    shift: float | None = None
    log_variance: float | None = None
    num_channels: int = 0
    photographs: float | None = None
    eyes: float | None = None
    noise: float | None = None

    @property
    def place(self) -> float | None:
        """How far along the way from the source itself (0) to noise (1) the images lie; may be above."""
        return self.distance / self.noise if self.distance is not None and self.noise else None

    @property
    def short(self) -> str:
        """The same in two words; {source} stands for what the network learned from."""
        return "not measured" if self.place is None else _phrase(self.place)[2]


@dataclass(frozen=True, kw_only=True)
class DomainGap:
    """What was measured of one data set and one network.

    Attributes:
        source: what the distances are from: `RUNNING` statistics, or `PHOTOGRAPHS`.
        num_images: of the data set that were looked at, of `num_train` that are trained on.
        least_per_class: training images of the rarest class.
        num_photographs: the anchors' and, without BatchNorm, the source's; in `num_crops` pieces.
        num_eyes: generated eyes.
        num_noise: images of noise.
        seconds: that the measurement took.
    """

    dataset: str
    dataset_title: str
    dataset_version: str
    backbone: str
    backbone_title: str
    pretrained_on: str
    source: str
    stages: tuple[StageGap, ...]
    num_images: int
    num_train: int
    least_per_class: int
    num_photographs: int
    num_crops: int
    num_eyes: int
    num_noise: int
    split_seed: int = 0
    seconds: float = 0.0

    @property
    def distance(self) -> float | None:
        """The median over stages, as the advisor's; None where no stage was measured."""
        return _median([stage.distance for stage in self.stages])

    @property
    def place(self) -> float | None:
        """The median over stages of how far the images lie on the way from the source (0) to noise (1)."""
        return _median([stage.place for stage in self.stages])

    @property
    def source_words(self) -> str:
        """What the distances are from, in words."""
        return self.pretrained_on if self.source == RUNNING else "photographs"

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold, with what follows."""
        rows = [{**dataclasses.asdict(stage), "place": stage.place, "word": stage.short} for stage in self.stages]
        follows = {"distance": self.distance, "place": self.place, "format_version": _FORMAT}
        said = {"reading": reading(self), "consequence": consequence(self)}
        return {**dataclasses.asdict(self), "stages": rows, **follows, **said}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "DomainGap":
        """Rebuild from `to_dict`; raises ValueError for another format, KeyError or TypeError for a broken one."""
        if content.get("format_version") != _FORMAT:
            raise ValueError(f"A gap of format {content.get('format_version')!r}, not {_FORMAT}.")
        values = {field.name: content[field.name] for field in dataclasses.fields(cls)}
        known = [field.name for field in dataclasses.fields(StageGap)]
        rows = tuple(StageGap(**{name: row[name] for name in known}) for row in values["stages"])
        return cls(**{**values, "stages": rows})


def kept_gap(dataset_version: str, backbone: str, split_seed: int = 0) -> Path:
    """Where a measurement is kept, by all that it depends on."""
    described = [_FORMAT, dataset_version, backbone, weights_digest(backbone, "pretrained"), split_seed]
    return cache_dir() / "gap" / f"{digest_of(described)}.json"


def kept_anchors(backbone: str) -> Path:
    """Where the anchors of a network are kept."""
    return (
        cache_dir() / "gap" / f"anchors_{digest_of([_FORMAT, backbone, weights_digest(backbone, 'pretrained')])}.json"
    )


def reading(gap: DomainGap) -> str:
    """Stage by stage in words, stages of one kind together."""
    known = [(number, stage) for number, stage in enumerate(gap.stages, start=1) if stage.place is not None]
    if not known:
        return f"{gap.backbone_title}: not measured, for want of anything to compare with."
    groups: dict[str, list[int]] = {}
    for number, stage in known:
        groups.setdefault(_phrase(stage.place or 0.0)[1], []).append(number)
    said = []
    for phrase, numbers in groups.items():
        is_one = len(numbers) == 1
        words = phrase.format(
            sees="sees" if is_one else "see", is_="is" if is_one else "are", it="it" if is_one else "they",
            saw="saw" if gap.source == RUNNING else "sees" if is_one else "see", source=gap.source_words,
        )  # fmt: skip
        said.append(f"{'stage' if is_one else 'stages'} {_ranges(numbers)} {words}")
    text = "; ".join(said)
    silent = [number for number, stage in enumerate(gap.stages, start=1) if stage.place is None]
    if silent and gap.source == PHOTOGRAPHS:
        text += f"; {'stages' if len(silent) > 1 else 'stage'} {_ranges(silent)} not measured, since there the "
        text += "photographs differ from each other as much as noise does"
    return f"{text[:1].upper()}{text[1:]}."


def consequence(gap: DomainGap) -> str:
    """What it means for the choice of a strategy, by the advisor's own threshold and guide."""
    distance = gap.distance
    if distance is None:
        return "The advisor goes by how well frozen features tell the classes apart."
    if gap.source != RUNNING:
        return (
            f"{gap.backbone_title} has no BatchNorm and keeps nothing of what it learned from: this is a comparison "
            f"with {gap.num_photographs} photographs, of which the advisor makes no use. It goes by how well frozen "
            "features tell the classes apart."
        )
    is_similar, least = distance < DIFFERENT_DISTANCE, gap.least_per_class
    side = "similar" if is_similar else "different"
    told = (
        f"The median over stages is {distance:.2f}, {'below' if is_similar else 'not below'} {DIFFERENT_DISTANCE:g}: "
    )
    told += f"to the advisor these images are {side}. "
    if least < TINY_PER_CLASS:
        return f"{told}With {least} training images in the rarest class little but a linear classifier can be fitted."
    few = "few" if least < SMALL_PER_CLASS else "many"
    points = {
        ("few", True): "a linear classifier on frozen features",
        ("few", False): "a linear classifier on an earlier stage, since late features are specific to the source",
        ("many", True): "fine-tuning the whole network",
        ("many", False): "fine-tuning every stage, from the pretrained weights",
    }[few, is_similar]
    return (
        f"{told}With {few} of them ({least} training images in the rarest class) its guide points to {points}, unless "
        "frozen features separate the classes already."
    )


def method_words(gap: DomainGap) -> str:
    """How it was measured."""
    eyes = f", {gap.num_eyes} generated eyes that come with the program" if gap.num_eyes else ""
    source = (
        f"the running statistics of BatchNorm, which are those of {gap.pretrained_on}"
        if gap.source == RUNNING
        else f"the stages' outputs of {gap.num_photographs} photographs, since there is no BatchNorm"
    )
    return (
        f"{gap.num_images} of {gap.num_train:,} training images, the classes in turn; test images are not looked at. "
        f"Compared, channel by channel, with {source}: the distance of two Gaussians in the source's deviations, root "
        f"mean square over channels. Anchors with the same network: {gap.num_photographs} photographs of scikit-image "
        f"and scikit-learn in {gap.num_crops} pieces{eyes}, and {gap.num_noise} images of noise. Which phrase a stage "
        "gets depends on how far it lies on the way from the source (0) to noise (1): up to half, up to three "
        "quarters, up to noise."
    )


def _phrase(place: float) -> tuple[float, str, str]:
    return next(entry for entry in _PHRASES if place < entry[0] or entry is _PHRASES[-1])


def _ranges(numbers: list[int]) -> str:
    """Rising numbers in words, such as "1, 3 to 5 and 9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts: list[str] = []
    for run in runs:
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(number) for number in run]
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
