"""The one figure that a result is judged by, what stands beside it, and the order of results that follows.

Ordered grades (three or more) are judged by quadratic weighted kappa, which counts how far off a grade is; all other
classes, also two classes that were merged from grades, by accuracy. The class that counts is the most probable one in
every run, also where limits of the expected grade were fitted: not every run has those. Results are put in order only
where the same images were tested, and one that is undefined (NaN) comes last.
"""

import hashlib
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lib.data.grades import known_grades
from lib.evaluation.metric_table import ACCURACY, KAPPA, METRICS, Metric
from lib.evaluation.resampling import NUM_DRAWS, Units, draws_of, interval_ends
from lib.evaluation.weighted import build_area, in_parts, mean_of_known

REFERABLE_GRADE = 2  # moderate and above are referred
Name = TypeVar("Name", bound=Hashable)


def headline_metric(*, is_ordinal: bool, num_classes: int) -> Metric:
    """Kappa for three or more ordered grades, else accuracy."""
    return KAPPA if is_ordinal and num_classes > 2 else ACCURACY


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a result is judged by, with its 95 % interval, and what stands beside it; NaN and "" where unknown.

    `baseline_accuracy` is what always answering `baseline_class`, the commonest of the same test images, would reach;
    its kappa is 0. `referable_auroc` is of five ordered grades alone. `test_set` tells which images were tested.
    """

    metric: Metric
    value: float
    low: float = math.nan
    high: float = math.nan
    accuracy: float = math.nan
    baseline_accuracy: float = math.nan
    baseline_class: str = ""
    referable_auroc: float = math.nan
    referable_low: float = math.nan
    referable_high: float = math.nan
    num: int = 0
    test_set: str = ""

    @classmethod
    def of(cls, figures: Mapping[str, Any], *, prefix: str = "test_") -> "Score | None":
        """Read it from the figures of a run (or of an evaluation, without prefix); None if they hold no result."""
        metric = METRICS.get(str(figures.get("headline")), ACCURACY)
        if figures.get(f"{prefix}accuracy") is None and figures.get(f"{prefix}{metric.key}") is None:
            return None
        found = {name: _number(figures.get(f"{prefix}{key}")) for name, key in _KEYS.items()}
        value, low, high = (_number(figures.get(f"{prefix}{metric.key}{end}")) for end in ("", "_low", "_high"))
        return cls(
            metric=metric, value=value, low=low, high=high, **found,
            baseline_class=str(figures.get("baseline_class") or ""),
            num=int(_number(figures.get("num_test", figures.get("num")), 0.0)),
            test_set=str(figures.get("test_set") or ""),
        )  # fmt: skip

    @property
    def headline_words(self) -> str:
        """Such as "kappa 0.73 (0.65 to 0.80)"."""
        interval = ""
        if math.isfinite(self.low) and math.isfinite(self.high):
            interval = f" ({self.metric.text(self.low)} to {self.metric.text(self.high)})"
        return f"{self.metric.word} {self.metric.text(self.value)}{interval}"

    @property
    def baseline_words(self) -> str:
        """Such as "always the commonest class (No DR): accuracy 74.0 %"; "" where it is not known."""
        if not math.isfinite(self.baseline_accuracy):
            return ""
        name = self.baseline_class if len(self.baseline_class) <= 40 else f"{self.baseline_class[:39]}…"
        what = f" ({name})" if name else ""
        return f"always the commonest class{what}: accuracy {ACCURACY.text(self.baseline_accuracy)}"

    @property
    def referable_words(self) -> str:
        """Such as "referable (moderate and above) AUC 0.88 (0.82 to 0.93)"; "" where it is not defined."""
        if not math.isfinite(self.referable_auroc):
            return ""
        ends = (self.referable_low, self.referable_high)
        interval = f" ({ends[0]:.2f} to {ends[1]:.2f})" if all(map(math.isfinite, ends)) else ""
        return f"referable (moderate and above) AUC {self.referable_auroc:.2f}{interval}"

    @property
    def words(self) -> str:
        """The whole result in a line: headline, accuracy where that is another, baseline, referable AUC."""
        parts = [self.headline_words]
        if self.metric is not ACCURACY and math.isfinite(self.accuracy):
            parts.append(f"accuracy {ACCURACY.text(self.accuracy)}")
        return "; ".join(filter(None, (*parts, self.baseline_words, self.referable_words)))


_KEYS = {
    "accuracy": "accuracy",
    "baseline_accuracy": "baseline_accuracy",
    "referable_auroc": "referable_auroc",
    "referable_low": "referable_auroc_low",
    "referable_high": "referable_auroc_high",
}


def in_order(scores: Mapping[Name, Score | None]) -> list[Name]:
    """Names without a score first, as they come; then one test set after the other, in each the best first.

    Test sets stand in the order of their first name; an undefined value comes last in its test set.
    """
    known = {name: score for name, score in scores.items() if score is not None}
    ordered = [name for name in scores if name not in known]
    for names in _by_test_set(known):
        ordered += sorted(names, key=lambda name: _falling(known[name]))
    return ordered


def best_of(scores: Mapping[Name, Score | None], *, preferred: Iterable[Name] = ()) -> tuple[Name, int] | None:
    """The best result among those that were tested on the same images, and how many those are.

    Never over several test sets: the one with most results counts (of those that hold a `preferred` one, if any does),
    the first of several. None where no result is defined.
    """
    known = {name: score for name, score in scores.items() if score is not None and math.isfinite(score.value)}
    sets, wanted = _by_test_set(known), set(preferred)
    if not sets:
        return None
    largest = max([names for names in sets if wanted & set(names)] or sets, key=len)
    return min(largest, key=lambda name: _falling(known[name])), len(largest)


def _by_test_set(scores: Mapping[Name, Score]) -> list[list[Name]]:
    """Names by what was tested and judged; where the images are not known, a result stands by itself."""
    sets: dict[Any, list[Name]] = {}
    for name, score in scores.items():
        sets.setdefault((score.test_set, score.metric.key) if score.test_set else (name,), []).append(name)
    return list(sets.values())


def _falling(score: Score) -> tuple[bool, float]:
    return (not math.isfinite(score.value), -score.metric.worth(score.value))


def score_figures(
    targets: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    *,
    is_ordinal: bool,
    folds: np.ndarray | None = None,
    groups: np.ndarray | Sequence[str] | None = None,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
) -> dict[str, Any]:
    """What stands beside the metrics of one test set: headline, baseline, and the referable AUC of five ordered grades.

    Args:
        targets: true classes (N,).
        probabilities: (N, K).
        class_names: of the K classes.
        is_ordinal: whether the classes are grades in their order.
        folds: the fold that tested each image (N,): values are then means over the folds, as all metrics of folds.
        groups: patients (N,), which the bootstrap draws whole.
        seed: of the bootstrap.
        num_draws: of the bootstrap; 0 for no interval.
    """
    counts = np.bincount(targets, minlength=len(class_names))
    commonest = int(counts.argmax())
    parts = [np.asarray(targets)] if folds is None else [targets[folds == fold] for fold in np.unique(folds)]
    figures: dict[str, Any] = {
        "headline": headline_metric(is_ordinal=is_ordinal, num_classes=len(class_names)).key,
        "baseline_class": class_names[commonest],
        "baseline_accuracy": float(np.mean([(part == commonest).mean() for part in parts])),
    }
    grades = known_grades(class_names) if is_ordinal else None
    if grades is None:
        return figures
    is_referable = np.array(grades) >= REFERABLE_GRADE
    truth, chance = is_referable[targets].astype(np.int64), probabilities[:, is_referable].sum(1)
    units = Units.of(groups, len(truth))
    parts_of = [np.ones(len(truth), bool)] if folds is None else [folds == fold for fold in np.unique(folds)]
    areas = [build_area(truth[own] == 1, chance[own], units.of_image[own], units.num) for own in parts_of]

    def mean_area(weights: np.ndarray) -> np.ndarray:
        """The mean over folds; those where it is not defined are left out."""
        return mean_of_known(np.stack([area(weights) for area in areas], axis=1))

    figures["referable_auroc"] = float(mean_area(np.ones((1, units.num)))[0])
    if num_draws and math.isfinite(figures["referable_auroc"]):
        drawn = draws_of(in_parts(mean_area, len(truth)), units.num, seed=seed, num_draws=num_draws)
        low, high = interval_ends(drawn, units.num)
        figures |= {"referable_auroc_low": low, "referable_auroc_high": high}
    return figures


def binary_auroc(truth: np.ndarray, chance: np.ndarray) -> float:
    """Area under the ROC curve of one score (N,) for 0 and 1 (N,): Mann and Whitney's U over its largest value.

    NaN where all are of one kind.
    """
    from scipy.stats import rankdata

    num = int(truth.sum())
    others = len(truth) - num
    if not num or not others:
        return math.nan
    ranks = rankdata(chance)
    return float((ranks[truth == 1].sum() - num * (num + 1) / 2) / (num * others))


def key_of_tested_images(image_ids: Iterable[str], targets: Iterable[int]) -> str:
    """A short text that is the same for the same images with the same classes, in whatever order."""
    pairs = sorted(f"{image_id}={int(target)}" for image_id, target in zip(image_ids, targets, strict=True))
    return hashlib.sha256("\n".join(pairs).encode()).hexdigest()[:16]


def _number(value: Any, missing: float = math.nan) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else missing
