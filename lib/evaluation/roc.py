"""One class, or all grades from one on, against the rest: ROC and precision-recall curves with their areas.

The points are scikit-learn's. The intervals of the areas come from draws of whole groups (patients), or of images where
each stands alone; all runs that are read with one seed meet the same draws.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lib.data.grades import grade_of, known_grades
from lib.evaluation.headline import REFERABLE_GRADE
from lib.evaluation.intervals import too_few
from lib.evaluation.metric_table import METRICS
from lib.evaluation.metrics import LEVEL, group_members
from lib.evaluation.resampling import Estimate, Units

NUM_DRAWS = 2000
_AT_A_TIME = 64


class Valued(Protocol):
    """A value with an interval: `Estimate`, or `Interval` of a metric."""

    @property
    def value(self) -> float:
        """The value."""

    @property
    def low(self) -> float:
        """The lower end."""

    @property
    def high(self) -> float:
        """The upper end."""


@dataclass(frozen=True)
class Question:
    """Which classes count as positive, by their numbers; `key` stands in links ("class-3", "from-2")."""

    key: str
    title: str
    positive: tuple[int, ...]
    is_grade: bool = False

    def truth(self, targets: np.ndarray) -> np.ndarray:
        """Whether each image (N,) is positive."""
        return np.isin(targets, self.positive)

    def score(self, probabilities: np.ndarray) -> np.ndarray:
        """The probability (N,) that an image is positive, of probabilities (N, K)."""
        return probabilities[:, list(self.positive)].sum(axis=1)


def questions(class_names: Sequence[str], *, is_ordinal: bool) -> list[Question]:
    """All that can be asked of a classifier, the first one by default.

    Of ordered grades: "grade at or above k" for each k, referable disease (moderate and above, else anything above the
    lowest grade) first. Then each class against the rest; of two classes the second first.
    """
    singles = [Question(f"class-{number}", str(name), (number,)) for number, name in enumerate(class_names)]
    if len(class_names) == 2:
        return singles[::-1]
    if not is_ordinal:
        return singles
    first = referable_grade(class_names)
    return [from_grade(k, class_names) for k in sorted(range(1, len(class_names)), key=lambda k: k != first)] + singles


def find_question(
    class_names: Sequence[str], key: str | None = None, *, is_ordinal: bool, only_grades: bool = False
) -> Question:
    """The question of that key, the first one where there is none; `only_grades` where there are any."""
    asked = questions(class_names, is_ordinal=is_ordinal)
    asked = [one for one in asked if one.is_grade or not only_grades] or asked
    return next((one for one in asked if one.key == key), asked[0])


def from_grade(grade: int, class_names: Sequence[str]) -> Question:
    """Ordered classes from a grade on against those below; the five grades are known by name, in whatever order."""
    ranks = known_grades(class_names) or range(len(class_names))
    positive = tuple(number for number, rank in enumerate(ranks) if rank >= grade)
    name = class_names[next(number for number, rank in enumerate(ranks) if rank == grade)]
    above = f"{name} and above" if len(positive) > 1 else str(name)
    title = f"Referable: {above}" if grade == referable_grade(class_names) else above
    return Question(f"from-{grade}", title, positive, is_grade=True)


def referable_grade(class_names: Sequence[str]) -> int:
    """The grade from which disease is referred: moderate where a class says so, else the second lowest class."""
    if known_grades(class_names):
        return REFERABLE_GRADE
    grades = [grade_of(name) for name in class_names]
    known = [grade for grade in grades if grade is not None]
    is_rising = len(known) == len(grades) and known == sorted(set(known))
    found = [number for number, grade in enumerate(known) if grade >= REFERABLE_GRADE] if is_rising else []
    return found[0] if found and found[0] else 1


def why_undefined(truth: np.ndarray, score: np.ndarray, title: str) -> str:
    """Why there is no curve, in one sentence; empty where there is one.

    A score that is the same for every image has a curve, the diagonal: see `is_constant`.
    """
    if not len(truth):
        return "There is no test image."
    if truth.all() or not truth.any():
        which = "every one" if truth.all() else "none"
        return f"Not defined: {which} of the {len(truth)} test images is {title!r}, so there is nothing to tell apart."
    return ""


def is_constant(score: np.ndarray) -> bool:
    """Whether every image gets the same score, so that no threshold separates anything."""
    return bool(np.ptp(score) == 0)


@dataclass(frozen=True, eq=False)
class RankingCurves:
    """How well a score ranks positive images above the others, as points of both curves, and the areas below them.

    Attributes:
        false_positive_rate: 1 - specificity (P,), rising.
        true_positive_rate: sensitivity (P,).
        recall: (R,), falling.
        precision: (R,); the last point is (0, 1) by convention.
        area: under the ROC curve: the chance that a positive image scores higher than another one.
        average_precision: sum of (recall_n - recall_(n-1)) precision_n.
        num_positive: positive images.
        num: images.
    """

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    recall: np.ndarray
    precision: np.ndarray
    area: Estimate
    average_precision: Estimate
    num_positive: int
    num: int

    @property
    def share_positive(self) -> float:
        """The precision of a score that says nothing."""
        return self.num_positive / self.num


def ranking_curves(
    truth: np.ndarray,
    score: np.ndarray,
    groups: np.ndarray | Sequence[str] | None = None,
    *,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
) -> RankingCurves:
    """Both curves of a score (N,) for truth (N,), with the 95 % intervals of their areas.

    Args:
        truth: whether each image is positive; both kinds must occur (`why_undefined`).
        score: larger for positive.
        groups: names (N,) of patients or the like, which are drawn whole; "" for an image by itself.
        seed: of the draws.
        num_draws: how many; 0 for no interval.

    Raises:
        ValueError: one kind of image only.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

    truth, score = np.asarray(truth, dtype=bool), np.asarray(score, dtype=np.float64)
    if why := why_undefined(truth, score, "positive"):
        raise ValueError(why)
    false_positive, true_positive, _ = roc_curve(truth, score)
    precision, recall, _ = precision_recall_curve(truth, score, drop_intermediate=True)
    area, average = float(roc_auc_score(truth, score)), float(average_precision_score(truth, score))
    if few_units(groups, len(truth)):
        num_draws = 0
    areas, averages = drawn_areas(truth, score, groups, seed=seed, num_draws=num_draws)
    return RankingCurves(
        false_positive, true_positive, recall, precision, estimate(area, areas), estimate(average, averages),
        int(truth.sum()), len(truth),
    )  # fmt: skip


def few_units(groups: np.ndarray | Sequence[str] | None, num: int) -> str:
    """Why so few patients, or images that stand alone, allow no bootstrap; "" where they do."""
    return too_few(METRICS["auroc"], Units.of(groups, num))


def drawn_areas(
    truth: np.ndarray, score: np.ndarray, groups: np.ndarray | Sequence[str] | None, *, seed: int, num_draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve and average precision of each draw, both (draws,); NaN where a draw lacks a kind."""
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=np.inf))  # of each run of equal scores, the highest first
    is_positive = truth[order]
    areas, averages = np.full(num_draws, math.nan), np.full(num_draws, math.nan)
    for rows, weights in draw_weights(groups, len(truth), seed=seed, num_draws=num_draws):
        sorted_weights = weights[:, order]
        positive = np.add.reduceat(sorted_weights * is_positive, starts, axis=1)
        negative = np.add.reduceat(sorted_weights * ~is_positive, starts, axis=1)
        num_positive, num_negative = positive.sum(1), negative.sum(1)
        found, wrong = positive.cumsum(1), negative.cumsum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            below = num_negative[:, None] - wrong + negative / 2  # a tie counts half
            areas[rows] = (positive * below).sum(1) / (num_positive * num_negative)
            precision = np.where(found + wrong > 0, found / (found + wrong), 0.0)
            averages[rows] = (positive * precision).sum(1) / num_positive
    is_one_sided = ~np.isfinite(areas)
    averages[is_one_sided] = math.nan
    return areas, averages


def draw_weights(
    groups: np.ndarray | Sequence[str] | None, num: int, *, seed: int, num_draws: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """How often each of `num` images is in each draw of as many groups as there are: rows, and counts (rows, num)."""
    unit = group_of_each(groups, num)
    random, num_units = np.random.default_rng(seed), int(unit.max()) + 1
    for start in range(0, num_draws, _AT_A_TIME):
        size = min(_AT_A_TIME, num_draws - start)
        counts = random.multinomial(num_units, np.full(num_units, 1 / num_units), size=size)
        yield slice(start, start + size), counts[:, unit].astype(np.float64)


def group_of_each(groups: np.ndarray | Sequence[str] | None, num: int) -> np.ndarray:
    """The number of the group of each image (N,); an image by itself has one of its own."""
    unit = np.empty(num, dtype=np.int64)
    for number, rows in enumerate(group_members(groups, num)):
        unit[rows] = number
    return unit


def estimate(value: float, draws: np.ndarray) -> Estimate:
    """A value with the percentiles of its draws; without an interval where they are all alike or mostly undefined."""
    kept = draws[np.isfinite(draws)]
    if len(kept) <= len(draws) / 2 or not math.isfinite(value) or np.ptp(kept) == 0:
        return Estimate(value, math.nan, math.nan)
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), float(kept.std()))


def interval_text(found: Valued, text: Callable[[float], str] = "{:.2f}".format) -> str:
    """Such as "0.84 (0.78 to 0.90)"."""
    if not math.isfinite(found.value):
        return "not defined"
    ends = f" ({text(found.low)} to {text(found.high)})" if math.isfinite(found.low + found.high) else ""
    return f"{text(found.value)}{ends}"
