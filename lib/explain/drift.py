"""What fine-tuning moved: a run's network against its start, stage by stage, as tables that JSON can hold.

Similarity of answers is linear CKA (Kornblith et al. 2019, arXiv 1905.00414) on pooled outputs, in the debiased form of
Song et al. 2012 (JMLR 13): features that have nothing in common are near 0 also where they outnumber the images. No
torch: pages read what is kept without it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.evaluation.metric_table import METRICS, Metric
from lib.evaluation.metrics import Z, group_members
from lib.evaluation.resampling import Estimate, as_plain, estimate_of, number_of

MAX_IMAGES = 1000  # more would not narrow an interval that anybody could see, and memory grows with their square
NUM_CHANNELS, NUM_IMAGES = 6, 6
NUM_HALVES = 200
ALIKE = 0.9  # correlation above which a channel counts as one that answers as before
_FORMAT = 1


@dataclass(frozen=True)
class ChannelChange:
    """A channel whose pooled answer to the images changed much.

    `correlation` is that of its answers before and after over the images. `before` and `after` are the ids of the
    images that it answers to most, largest first.
    """

    channel: int
    correlation: float
    mean_before: float
    mean_after: float
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StageDrift:
    """One stage before and after.

    Attributes:
        stage: its name in the table of backbones, with its `title`.
        is_trained: whether the training could change it.
        num_parameters: of the stage.
        weights: relative change |after - before| / |before| (Euclidean norms over all numbers) of convolutions and
            linear layers; exactly 0.0 where nothing changed, NaN where the stage has none.
        normalization: the same of scale and shift of BatchNorm and the like.
        statistics: the same of BatchNorm's running means and variances.
        total: the same of all parameters together, without the statistics.
        cka: linear CKA of the pooled outputs; 1 where they are the same up to rotation and scale.
        median_correlation: over the channels, of a channel's answers before and after.
        num_alike: channels with a correlation of 0.9 or more, of `num_channels`.
        probe_before: score of a linear probe on the pooled output at the start; None where it was not measured.
        probe_after: the same for the run.
        gained: their difference on the same images.
        channels: those that changed most, most first.
    """

    stage: str
    title: str
    is_trained: bool
    num_parameters: int
    weights: float
    normalization: float
    statistics: float
    total: float
    cka: Estimate
    median_correlation: float
    num_alike: int
    num_channels: int
    probe_before: Estimate | None = None
    probe_after: Estimate | None = None
    gained: Estimate | None = None
    channels: tuple[ChannelChange, ...] = ()

    @property
    def has_moved(self) -> bool:
        """Whether any number of the stage changed."""
        return any(change > 0 for change in (self.weights, self.normalization, self.statistics))


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A run's network against its start, on the images of one data set.

    `num_images` were compared, of `num_units` patients (or other groups; as many as images where each stands alone).
    `is_held_out` says that the run has seen none of them. `why_no_probes` is a sentence; "" where there are probes.
    """

    run_id: str
    run_label: str
    strategy: str
    backbone: str
    backbone_title: str
    start: str  # in words: "pretrained on ImageNet", "random weights"
    dataset: str
    dataset_title: str
    dataset_version: str
    is_medical: bool
    metric: str
    num_images: int
    num_units: int
    is_held_out: bool
    rows: tuple[StageDrift, ...]
    num_fitted: int = 0
    num_folds: int = 0
    why_no_probes: str = ""
    split_caveat: str = ""
    seconds: float = 0.0

    @property
    def headline(self) -> Metric:
        """What probes and resets are scored by."""
        return METRICS[self.metric]

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; what is not defined is None."""
        return as_plain({**dataclasses.asdict(self), "format_version": _FORMAT})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Drift":
        """Rebuild from `to_dict`; raises ValueError for another format."""
        values = _checked(content)
        return cls(**{**values, "rows": tuple(_stage(row) for row in values["rows"])})


@dataclass(frozen=True, kw_only=True)
class StageReset:
    """The run's network with some stages put back as they were, on the test images.

    `cost` is the run's score minus this one's on the same images, with its interval; `p_value` is of the paired test.
    `num_changed` images get another answer.
    """

    stages: tuple[str, ...]
    score: Estimate
    accuracy: float
    cost: Estimate
    p_value: float
    num_changed: int


@dataclass(frozen=True, kw_only=True)
class ResetTable:
    """Resets of one run: its own score, and one row a reset. Complete once each stage that moved was put back alone."""

    run_id: str
    run_label: str
    metric: str
    num_images: int
    num_units: int
    score: Estimate
    accuracy: float
    titles: Mapping[str, str]
    rows: tuple[StageReset, ...] = ()
    split_caveat: str = ""

    @property
    def headline(self) -> Metric:
        """What is scored."""
        return METRICS[self.metric]

    def find(self, stages: Sequence[str]) -> StageReset | None:
        """The row that put back exactly these stages; None if it was not measured."""
        return next((row for row in self.rows if row.stages == tuple(stages)), None)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; what is not defined is None."""
        return as_plain({**dataclasses.asdict(self), "titles": dict(self.titles), "format_version": _FORMAT})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ResetTable":
        """Rebuild from `to_dict`; raises ValueError for another format."""
        values = _checked(content)
        rows = tuple(
            StageReset(
                **{
                    **row,
                    "stages": tuple(row["stages"]),
                    "p_value": number_of(row["p_value"]),
                    "accuracy": number_of(row["accuracy"]),
                    "score": estimate_of(row["score"]),
                    "cost": estimate_of(row["cost"]),
                }
            )
            for row in values["rows"]
        )
        return cls(**{**values, "rows": rows, "score": estimate_of(values["score"])})


def linear_cka(before: np.ndarray, after: np.ndarray) -> float:
    """Debiased linear CKA of features (N, D) and (N, E) of the same N images, N at least 4; NaN where one is constant.

    In feature space, with centred X and Y, squared row norms x and y (N,): HSIC(X, Y) = |X'Y|^2 - N/(N-2) x.y +
    |X|^2 |Y|^2 / ((N-1)(N-2)), and CKA = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)). At most 1 for features that are the
    same up to rotation and scale, and around 0, also below it, for unrelated ones.
    """
    return _cka_of_grams(_gram(before), _gram(after))


def cka_estimate(
    before: np.ndarray, after: np.ndarray, groups: np.ndarray | Sequence[str] | None = None, *, seed: int = 0
) -> Estimate:
    """`linear_cka` with a 95 % interval from 200 halves of the images, whole groups together.

    Half of n drawn without replacement varies as the whole does (the delete-d jackknife of Shao and Wu 1989 with
    d = n/2, where its factor is 1); a bootstrap would draw images twice, whose similarity to themselves counts.
    """
    value = linear_cka(before, after)
    if np.array_equal(before, after) and math.isfinite(value):
        return Estimate(1.0, 1.0, 1.0, 0.0)
    members = group_members(groups, len(before))
    if len(members) < 8 or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan)
    grams = (_gram(before), _gram(after))
    random, values = np.random.default_rng(seed), []
    for _ in range(NUM_HALVES):
        chosen = random.permutation(len(members))[: len(members) // 2]
        rows = np.sort(np.concatenate([members[index] for index in chosen]))
        values.append(_cka_of_grams(*(gram[np.ix_(rows, rows)] for gram in grams)))
    kept = np.array([one for one in values if math.isfinite(one)])
    if len(kept) <= NUM_HALVES / 2:
        return Estimate(value, math.nan, math.nan)
    error = float(kept.std())
    return Estimate(value, value - Z * error, min(1.0, value + Z * error), error)


def _gram(features: np.ndarray) -> np.ndarray:
    """Inner products (N, N) of centred features."""
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    scale = float(np.abs(centred).max(initial=0.0))
    centred = centred / scale if scale > 0 else centred  # CKA has no scale; squares of huge outputs overflow
    return centred @ centred.T


def _cka_of_grams(first: np.ndarray, second: np.ndarray) -> float:
    num = len(first)
    if num < 4:
        return math.nan
    first, second = (_centred(gram) for gram in (first, second))
    cross, own, other = (_hsic(a, b, num) for a, b in ((first, second), (first, first), (second, second)))
    if not (own > 0 and other > 0):
        return math.nan
    return min(1.0, cross / math.sqrt(own * other))


def _centred(gram: np.ndarray) -> np.ndarray:
    rows = gram.mean(0)
    return gram - rows[:, None] - rows[None, :] + rows.mean()


def _hsic(first: np.ndarray, second: np.ndarray, num: int) -> float:
    """The debiased product of Kornblith's reference code, of which |X'Y|^2 is the sum of products of the grams."""
    x, y = first.diagonal(), second.diagonal()
    product = float((first * second).sum())
    return product - num / (num - 2) * float(x @ y) + float(x.sum() * y.sum()) / ((num - 1) * (num - 2))


def correlations(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Correlation (D,) of each channel's answers (N, D) before and after; NaN for one that is constant in either.

    1 exactly where the answers are the same.
    """
    first, second = (one.astype(np.float64) - one.mean(0, dtype=np.float64) for one in (before, after))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (first * second).sum(0) / np.sqrt((first**2).sum(0) * (second**2).sum(0))
    varies = (np.ptp(before, axis=0) > 0) & (np.ptp(after, axis=0) > 0)
    found = np.where((before == after).all(0), 1.0, np.clip(found, -1.0, 1.0))
    return np.where(varies, found, np.nan)


def channel_changes(
    before: np.ndarray, after: np.ndarray, image_ids: Sequence[str], *, number: int = NUM_CHANNELS
) -> tuple[ChannelChange, ...]:
    """The channels with the lowest correlation of their answers (N, D) before and after, lowest first; equal ones none.

    Channels that fell silent or woke up have no correlation and are left out.
    """
    found = correlations(before, after)
    order = [index for index in np.argsort(found, kind="stable") if found[index] < 1][:number]
    return tuple(
        ChannelChange(
            int(channel), float(found[channel]), float(before[:, channel].mean()), float(after[:, channel].mean()),
            _top(before[:, channel], image_ids), _top(after[:, channel], image_ids),
        )
        for channel in order
    )  # fmt: skip


def _top(answers: np.ndarray, image_ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(image_ids[row]) for row in np.argsort(-answers, kind="stable")[:NUM_IMAGES])


def _checked(content: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(content)
    if values.pop("format_version", None) != _FORMAT:
        raise ValueError(f"A table of what moved of format {content.get('format_version')!r}, not {_FORMAT}.")
    return values


def _stage(content: Mapping[str, Any]) -> StageDrift:
    values = dict(content)
    for name in ("weights", "normalization", "statistics", "total", "median_correlation"):
        values[name] = number_of(values[name])
    for name in ("cka", "probe_before", "probe_after", "gained"):
        values[name] = None if values[name] is None else estimate_of(values[name])
    numbers = ("correlation", "mean_before", "mean_after")
    values["channels"] = tuple(
        ChannelChange(
            **{
                **one,
                **{name: number_of(one[name]) for name in numbers},
                "before": tuple(one["before"]),
                "after": tuple(one["after"]),
            }
        )
        for one in values["channels"]
    )
    return StageDrift(**values)
