"""The one verdict on an image: which class by which rule, or why none. Every place that names a class reads this.

Two rules turn probabilities into a class: the most probable one, or, for ordered grades, the one that the expected
grade reaches. They can differ: a network that is torn between grade 1 and grade 4 may mean grade 2 or 3
by the second rule. So a table, a card, a file and a map all take class, confidence and rule from here, never from a
maximum of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from lib.evaluation.metrics import quadratic_weighted_kappa

if TYPE_CHECKING:
    from lib.evaluation.calibration import Calibration

GRADED, UNLIKE, REFUSED = "graded", "unlike", "refused"
UNGRADABLE, UNSURE = "ungradable", "unsure"  # too poor a picture; too many classes left at the chosen coverage
MOST_PROBABLE, EXPECTED_GRADE = "most probable class", "expected grade"
# The two most probable classes closer than this, or an expected grade closer to a limit: the network does not decide.
CLOSE_CALL, CLOSE_GRADE = 0.2, 0.1


@dataclass(frozen=True, eq=False, kw_only=True)
class Verdict:
    """What is said of one image.

    Attributes:
        status: "graded", or why no class is given: "unlike" (the training images), "ungradable" (too poor a
            picture), "unsure" (too many classes left in its conformal set), "refused" (no image, no number).
        class_name: the class that the rule gives, number `target`; None unless graded.
        confidence: the probability of that class, calibrated where the classifier was; under the rule of the expected
            grade it need not be the largest one.
        probabilities: class name to probability, calibrated where the classifier was, in the order of the classes;
            empty unless graded or unsure.
        limits: the K - 1 limits of the expected grade, where that decides; else the most probable class does.
        scores: what the network computed (K,), also where it does not count: to be shown in grey and nowhere else.
        distance: feature distance to the training images; `threshold` is the largest that passes.
        prediction_set: the classes that hold the right one with probability `coverage` (split conformal), most
            probable first; empty where the classifier was not calibrated.
        is_coverage_out_of_fold: whether the limits of the set are those of other fits than the classifier
            (`Calibration.is_out_of_fold`).
        reason: why it is unlike or refused; for a graded image, what the comparison found.
    """

    status: str
    class_name: str | None = None
    target: int | None = None
    confidence: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    limits: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    distance: float | None = None
    threshold: float | None = None
    reason: str = ""
    prediction_set: tuple[str, ...] = ()
    coverage: float | None = None
    is_coverage_out_of_fold: bool = False

    @property
    def is_graded(self) -> bool:
        """Whether a class is given."""
        return self.status == GRADED

    @property
    def rule(self) -> str:
        """What decides: "most probable class" or "expected grade"."""
        return EXPECTED_GRADE if self.limits else MOST_PROBABLE

    @property
    def expected_grade(self) -> float | None:
        """The mean grade, 0 to K - 1, where it decides."""
        if not self.limits or not self.probabilities:
            return None
        return float(expected_grade(np.array([list(self.probabilities.values())]))[0])

    @property
    def is_outside_set(self) -> bool:
        """Whether the class that is given is not in its set: that of the expected grade need not be."""
        return self.class_name is not None and bool(self.prediction_set) and self.class_name not in self.prediction_set

    @property
    def coverage_words(self) -> str:
        """How often the set holds the right class; "" where there is none."""
        if self.coverage is None:
            return ""
        return describe_coverage(self.coverage, is_out_of_fold=self.is_coverage_out_of_fold)

    @property
    def most_probable(self) -> str | None:
        """The class of the largest probability, whatever the rule."""
        return max(self.probabilities, key=self.probabilities.__getitem__, default=None)

    @property
    def runner_up(self) -> str | None:
        """The class that nearly was given: the next in probability, or the one behind the nearest limit."""
        if self.target is None or len(self.probabilities) < 2:
            return None
        names = list(self.probabilities)
        if not self.limits:
            ranked = sorted(self.probabilities, key=self.probabilities.__getitem__, reverse=True)
            return next(name for name in ranked if name != self.class_name)
        return names[self._beyond_nearest_limit()]

    @property
    def is_close_call(self) -> bool:
        """Whether a little more or less would have given the runner-up."""
        other = self.runner_up
        if other is None or self.confidence is None:
            return False
        if not self.limits:
            return self.confidence - self.probabilities[other] < CLOSE_CALL
        return abs(self._nearest_limit() - (self.expected_grade or 0.0)) < CLOSE_GRADE

    @property
    def sentence(self) -> str:
        """How the class came about, in words; empty unless graded."""
        if self.confidence is None or self.class_name is None:
            return ""
        share, other = describe_share(self.confidence), self.runner_up
        if not self.limits:
            if self.is_close_call and other is not None:
                shares = 100 * self.confidence, 100 * self.probabilities[other]
                return f"A close call: {shares[0]:.0f} %, and {other} {shares[1]:.0f} %."
            return f"Probability {share}."
        words = f"Expected grade {self.expected_grade:.2f}"
        if self.is_close_call:
            words = (
                f"A close call: expected grade {self.expected_grade:.2f}, limit to {other} {self._nearest_limit():.2f}"
            )
        best = self.most_probable
        if best is None or best == self.class_name:
            return f"{words}; probability of this class {share}."
        largest = describe_share(self.probabilities[best])
        return f"{words}; the most probable class is {best} ({largest}), this one has {share}."

    def _nearest_limit(self) -> float:
        """The limit beside the class that lies nearest to the expected grade."""
        mean, target = self.expected_grade or 0.0, self.target or 0
        beside = [self.limits[index] for index in (target - 1, target) if 0 <= index < len(self.limits)]
        return min(beside, key=lambda limit: abs(limit - mean))

    def _beyond_nearest_limit(self) -> int:
        target, limit = self.target or 0, self._nearest_limit()
        is_below = target > 0 and limit == self.limits[target - 1]
        return target - 1 if is_below else target + 1


def decide(
    scores: np.ndarray,
    class_names: Sequence[str],
    *,
    limits: Sequence[float] | None = None,
    seen: Verdict | None = None,
    calibration: "Calibration | None" = None,
    coverage: float = 0.9,
    largest_set: int | None = None,
) -> Verdict:
    """The verdict on the network's probabilities (K,).

    Args:
        scores: (K,) from 0 to 1, not calibrated.
        class_names: K names in the order of the targets.
        limits: the K - 1 limits of the expected grade, if that decides; of calibrated probabilities where there is a
            calibration.
        seen: what is known of the image already (distance, reason); where it is not "graded" it stays so.
        calibration: makes the probabilities, and the set of classes that holds the right one with `coverage`.
        largest_set: with more classes than this in the set, or where the class of the expected grade is not in it, no
            class is given; None gives one always.
    """
    known = replace(seen or Verdict(status=GRADED), limits=tuple(limits or ()), scores=tuple(map(float, scores)))
    if known.status != GRADED:
        return known
    if not np.isfinite(scores).all():
        return replace(known, status=REFUSED, reason="The network answers with no number; train the run again.")
    stated = np.asarray(scores)
    if calibration is not None:
        stated = calibration.calibrated(stated)
        numbers = calibration.prediction_set(stated, coverage)
        known = replace(
            known, prediction_set=tuple(class_names[number] for number in numbers), coverage=coverage,
            is_coverage_out_of_fold=calibration.is_out_of_fold,
        )  # fmt: skip
    known = replace(known, probabilities=dict(zip(class_names, map(float, stated), strict=True)))
    target = int(decided_classes(stated[None], limits)[0])
    given = replace(known, class_name=class_names[target], target=target, confidence=float(stated[target]))
    why = "" if largest_set is None else _why_unsure(given, largest_set)
    return replace(known, status=UNSURE, reason=why) if why else given


def _why_unsure(given: Verdict, largest_set: int) -> str:
    """Why the class is not given after all; "" where it is."""
    names = given.prediction_set
    left = f"left at {given.coverage_words} ({', '.join(names)})"
    if len(names) > largest_set:
        most = f"at most {largest_set} {'is' if largest_set == 1 else 'are'} allowed"
        return f"Unsure: {len(names)} classes are {left}; {most}."
    if given.is_outside_set:
        return f"Unsure: the expected grade means {given.class_name}, which is not among the classes {left}."
    return ""


def describe_coverage(coverage: float, *, is_out_of_fold: bool) -> str:
    """A coverage in words; with limits of other fits than the classifier it is a lower bound, and no promise."""
    return f"about {100 * coverage:g} % coverage or more" if is_out_of_fold else f"{100 * coverage:g} % coverage"


def decided_classes(probabilities: np.ndarray, limits: Sequence[float] | None = None) -> np.ndarray:
    """Class numbers (N,) by the rule: the most probable ones, or with limits those of the expected grade."""
    if limits:
        return grades_by_thresholds(probabilities, list(limits))
    return np.asarray(probabilities).argmax(axis=1)


def describe_share(share: float) -> str:
    """A probability in words: "100.0 %" would claim a certainty that no network has."""
    return f"{100 * share:.1f} %" if share < 0.9995 else "above 99.9 %"


_MAX_CANDIDATES = 64
_MAX_ROUNDS = 10


def expected_grade(probabilities: np.ndarray) -> np.ndarray:
    """The mean grade (N,) of probabilities (N, K), from 0 to K - 1."""
    return np.asarray(probabilities) @ np.arange(np.asarray(probabilities).shape[1], dtype=np.float64)


def grades_by_thresholds(probabilities: np.ndarray, thresholds: np.ndarray | list[float]) -> np.ndarray:
    """Grades (N,): how many of the K - 1 rising limits the expected grade has reached.

    Raises:
        ValueError: another number of limits, or limits that fall.
    """
    limits = np.asarray(thresholds, dtype=np.float64)
    if len(limits) != np.asarray(probabilities).shape[1] - 1 or (np.diff(limits) < 0).any():
        raise ValueError(f"{np.asarray(probabilities).shape[1]} grades need one rising limit less, received {limits}.")
    return np.searchsorted(limits, expected_grade(probabilities), side="right")


def fit_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Limits (K - 1,) that maximise quadratic kappa on these images, found one after the other until none moves.

    They start halfway between the grades, and a limit moves only if the kappa rises, so that images which say nothing
    about it leave it there.

    Args:
        targets: true grades of images that validate, (N,).
        probabilities: of the same images, (N, K).
    """
    num_grades = probabilities.shape[1]
    limits = np.arange(num_grades - 1) + 0.5
    values = np.unique(expected_grade(probabilities))
    between = (values[1:] + values[:-1]) / 2
    if len(between) > _MAX_CANDIDATES:
        between = np.quantile(between, np.linspace(0, 1, _MAX_CANDIDATES))
    best = kappa_by_thresholds(targets, probabilities, limits)
    for _ in range(_MAX_ROUNDS):
        before = limits.copy()
        for index in range(num_grades - 1):
            low = limits[index - 1] if index else -np.inf
            high = limits[index + 1] if index + 2 < num_grades else np.inf
            for candidate in between[(between >= low) & (between <= high)]:
                tried = limits.copy()
                tried[index] = candidate
                kappa = kappa_by_thresholds(targets, probabilities, tried)
                if kappa > best + 1e-12 or np.isnan(best):
                    best, limits = kappa, tried
        if np.array_equal(before, limits):
            break
    return limits


def kappa_by_thresholds(targets: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray | list[float]) -> float:
    """Quadratic kappa of the grades that the limits give."""
    graded = np.eye(probabilities.shape[1])[grades_by_thresholds(probabilities, thresholds)]
    return quadratic_weighted_kappa(targets, graded)
