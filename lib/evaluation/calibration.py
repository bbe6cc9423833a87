"""Probabilities that come true: one temperature, conformal sets, and what the most confident answers are worth.

All of it is fitted on answers to images that the classifier had not seen: held-out or out-of-fold ones. The temperature
divides the logarithms of the probabilities (Guo et al. 2017, arXiv 1706.04599). A set holds every class whose
probability is at least a limit (least ambiguous set-valued classifiers: Sadinle, Lei and Wasserman 2019, arXiv
1609.00451): of all sets with a given coverage these are the smallest, and their coverage is near the target from both
sides without a random draw, which the cumulative score (APS) needs for that. Only where a single class is right more
often than asked for do they hold it more often than that, since a set is never empty.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.errors import UserError
from lib.evaluation.metrics import LEAST_PROBABILITY, calibration_error, log_loss, wilson_interval
from lib.evaluation.operating_point import choose_threshold
from lib.evaluation.resampling import Estimate, as_plain, estimate_of
from lib.evaluation.roc import questions
from lib.evaluation.verdict import fit_thresholds

FORMAT_VERSION = 1
LEAST_IMAGES = 30
COVERAGES = tuple(round(0.5 + step / 100, 2) for step in range(50))  # 0.50 .. 0.99
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
WANTED_SENSITIVITY = 0.9
# In `Calibration.fitted_on`, where others than the kept classifier gave the answers.
BY_OTHERS = "each answered by"
_LOG_BOUND = math.log(10.0)  # temperatures from 0.1 to 10
_ROUNDING = 1e-9
_NUM_DRAWS = 1000


@dataclass(frozen=True)
class ReferralCutoff:
    """From which raw score on an ordered grade is referred, where no operating point was stored.

    Attributes:
        positive: the classes that are looked for, by name.
        cutoff: the least sum of their raw (not calibrated) probabilities that is referred.
        sensitivity: on the answers that it was chosen on, as is `specificity`: both are optimistic.
    """

    title: str
    positive: tuple[str, ...]
    cutoff: float
    sensitivity: float
    specificity: float


@dataclass(frozen=True)
class SharePoint:
    """Accuracy of the most confident share of the images, with its 95 % interval."""

    share: float
    accuracy: float
    low: float
    high: float
    num: int


@dataclass(frozen=True)
class RiskCoverage:
    """What is gained by leaving the least confident images to a person.

    Attributes:
        points: from all images down to a tenth of them.
        error_fall: by which fraction the error is lower among the most confident 80 %; NaN without errors.
    """

    points: tuple[SharePoint, ...]
    error_fall: Estimate

    @property
    def sentence(self) -> str:
        """The gain at 80 % coverage in words."""
        everything, most = self.points[0], next(point for point in self.points if point.share == 0.8)
        if not math.isfinite(self.error_fall.value):
            return f"None of {everything.num:,} answers is wrong, so that leaving some to a person gains nothing."
        fall = self.error_fall
        within = f" (95 % interval {100 * fall.low:.0f} to {100 * fall.high:.0f} %)" if math.isfinite(fall.low) else ""
        word = "falls" if fall.value >= 0 else "rises"
        return (
            f"With the least confident fifth left to a person, the error {word} from "
            f"{100 * (1 - everything.accuracy):.1f} to {100 * (1 - most.accuracy):.1f} %: by "
            f"{100 * abs(fall.value):.0f} % of itself{within}."
        )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How a classifier's probabilities become ones that come true, and sets that hold the right class.

    Attributes:
        temperature: divides the logarithms of the probabilities; above 1 they come closer to each other.
        limits: the K - 1 limits of the expected grade of calibrated probabilities; none for other classes than grades.
        set_limits: for each of `COVERAGES`, the largest 1 - probability of a class that is in the set.
        num: answers that it was fitted on.
        num_classes: K.
        fitted_on: what those answers are, such as "validation images".
        log_loss_before: of those answers; `log_loss_after` is never larger.
        error_before: calibration error of those answers (10 bins of equal mass); `error_after` with the temperature.
        risk: accuracy of the most confident of those answers.
        referral: the default cutoff of ordered grades; None for other classes.
    """

    temperature: float
    limits: tuple[float, ...]
    set_limits: tuple[float, ...]
    num: int
    num_classes: int
    fitted_on: str
    log_loss_before: float
    log_loss_after: float
    error_before: float
    error_after: float
    risk: RiskCoverage
    referral: ReferralCutoff | None = None

    @property
    def is_out_of_fold(self) -> bool:
        """Whether other fits than the kept classifier gave the answers, which was trained on more images than they.

        It is then no worse, as a rule, and its sets hold the right class about as often as asked for or more often.
        Nothing bounds by how much: split conformal sets promise their coverage of the classifier that answered.
        """
        return BY_OTHERS in self.fitted_on

    def calibrated(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of the network's own ones, (..., K); rows that are not finite stay so."""
        return with_temperature(probabilities, self.temperature)

    def prediction_set(self, probabilities: np.ndarray, coverage: float) -> tuple[int, ...]:
        """Numbers of the classes in the set of one image's calibrated probabilities (K,), most probable first.

        A coverage between two hundredths takes the upper one.

        Raises:
            UserError: a coverage outside 0.5 to 0.99.
        """
        ranked = np.argsort(-probabilities, kind="stable")
        is_in = 1 - probabilities[ranked] <= self.set_limit(coverage) + _ROUNDING
        is_in[0] = True
        return tuple(int(number) for number in ranked[is_in])

    def are_in_sets(self, probabilities: np.ndarray, coverage: float) -> np.ndarray:
        """Which classes are in the set of each image, (N, K) of calibrated probabilities (N, K)."""
        return in_sets(probabilities, self.set_limit(coverage))

    def set_limit(self, coverage: float) -> float:
        """The largest 1 - probability of a class in a set of that coverage; raises UserError outside 0.5 to 0.99."""
        return self.set_limits[COVERAGES.index(checked_coverage(coverage))]

    def to_dict(self) -> dict[str, Any]:
        """What a bundle's manifest holds."""
        return {"format_version": FORMAT_VERSION, **as_plain(dataclasses.asdict(self))}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Calibration":
        """Rebuild from `to_dict`.

        Raises:
            UserError: of a newer version, or damaged.
        """
        version = content.get("format_version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise UserError("The calibration of this classifier is of a newer version; update this program.")
        try:
            own = {field.name: content[field.name] for field in dataclasses.fields(cls)}
            risk, referral = own["risk"], own["referral"]
            own["risk"] = RiskCoverage(
                tuple(SharePoint(**point) for point in risk["points"]), estimate_of(risk["error_fall"])
            )
            if referral is not None:
                own["referral"] = ReferralCutoff(**{**referral, "positive": tuple(map(str, referral["positive"]))})
            for key in ("limits", "set_limits"):
                own[key] = tuple(float(number) for number in own[key])
            found = cls(**own)
            _check(found)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError("The calibration of this classifier is damaged; export it again from its run.") from None
        return found


def _check(found: Calibration) -> None:
    numbers = (*found.set_limits, *found.limits, found.temperature)
    if not all(math.isfinite(number) for number in numbers) or not 0 < found.temperature < math.inf:
        raise ValueError("not a number")
    if len(found.set_limits) != len(COVERAGES) or len(found.limits) not in (0, found.num_classes - 1):
        raise ValueError("another number of limits")
    if list(found.limits) != sorted(found.limits):
        raise ValueError("limits that fall")


def checked_coverage(coverage: float) -> float:
    """The hundredth at or above a coverage; raises UserError outside 0.5 to 0.99."""
    if not COVERAGES[0] <= coverage <= COVERAGES[-1]:
        raise UserError(f"The coverage must lie between {COVERAGES[0]:g} and {COVERAGES[-1]:g}, received {coverage:g}.")
    return next(known for known in COVERAGES if known >= coverage - _ROUNDING)


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of log-probabilities (..., K) over a temperature, float64; unchanged at 1."""
    if temperature == 1.0:
        return np.asarray(probabilities, dtype=np.float64)
    logits = np.log(np.clip(probabilities, LEAST_PROBABILITY, None)) / temperature
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    result: np.ndarray = exponentials / exponentials.sum(-1, keepdims=True)
    return result


def why_not_calibrated(targets: np.ndarray, probabilities: np.ndarray, *, fitted_on: str) -> str:
    """Why these answers (N,), (N, K) do not do for a calibration; "" where they do."""
    if len(targets) < LEAST_IMAGES:
        return (
            f"Not calibrated: it takes {LEAST_IMAGES} images that the classifier has not seen, and there are "
            f"{len(targets)} ({fitted_on})."
        )
    if not np.isfinite(probabilities).all():
        return "Not calibrated: the network answers with no number; train the run again."
    missing = probabilities.shape[1] - len(np.unique(targets))
    if missing:
        return f"Not calibrated: {missing} of {probabilities.shape[1]} classes have no image among the {fitted_on}."
    return ""


def fit_calibration(
    targets: np.ndarray,
    probabilities: np.ndarray,
    *,
    is_ordinal: bool,
    fitted_on: str,
    class_names: Sequence[str] = (),
    seed: int = 0,
) -> Calibration:
    """Fit temperature, limits and sets on answers to images that the classifier has not seen.

    Args:
        targets: true classes (N,).
        probabilities: the network's own (N, K).
        is_ordinal: whether the classes are grades in their order.
        fitted_on: what the answers are, in words that follow "fitted on 200".
        class_names: K names; with them ordered grades get a default cutoff of referral.
        seed: of the draws of the interval.

    Raises:
        UserError: too few answers, a class without any, or numbers that are none.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities, dtype=np.float64)
    if why := why_not_calibrated(targets, probabilities, fitted_on=fitted_on):
        raise UserError(why)
    temperature = fit_temperature(targets, probabilities)
    calibrated, num_classes = with_temperature(probabilities, temperature), probabilities.shape[1]
    own = calibrated[np.arange(len(targets)), targets]
    return Calibration(
        temperature=temperature,
        limits=tuple(map(float, fit_thresholds(targets, calibrated))) if is_ordinal and num_classes > 2 else (),
        set_limits=tuple(limit_of_scores(1 - own, coverage) for coverage in COVERAGES),
        num=len(targets), num_classes=num_classes, fitted_on=fitted_on,
        log_loss_before=log_loss(targets, probabilities), log_loss_after=log_loss(targets, calibrated),
        error_before=calibration_error(targets, probabilities), error_after=calibration_error(targets, calibrated),
        risk=risk_coverage(targets, calibrated, seed=seed),
        referral=_referral(targets, probabilities, class_names) if is_ordinal and class_names else None,
    )  # fmt: skip


def calibration_entry(
    targets: np.ndarray,
    probabilities: np.ndarray,
    *,
    is_ordinal: bool,
    fitted_on: str,
    class_names: Sequence[str] = (),
) -> dict[str, Any]:
    """What a manifest gets: `calibration` as `Calibration.to_dict`, or None with the reason in `why_not_calibrated`."""
    try:
        found = fit_calibration(
            targets, probabilities, is_ordinal=is_ordinal, fitted_on=fitted_on, class_names=class_names
        )
    except UserError as error:
        return {"calibration": None, "why_not_calibrated": str(error)}
    return {"calibration": found.to_dict(), "why_not_calibrated": ""}


def fit_temperature(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature of the least log loss, from 0.1 to 10; 1 where none is better, or the calibration error rises.

    One number for all probabilities can lower the log loss and yet make the largest ones come true less often.

    The target of the true class is (N + 1) / (N + 2) as in Platt 1999, so that answers which are all right do not ask
    for certainty.
    """
    from scipy.optimize import minimize_scalar

    num, num_classes = probabilities.shape
    smoothed = np.full((num, num_classes), 1 / (num + 2) / (num_classes - 1))
    smoothed[np.arange(num), targets] = 1 - 1 / (num + 2)
    logits = np.log(np.clip(probabilities, LEAST_PROBABILITY, None))

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        scaled -= scaled.max(1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(1)) - (smoothed * scaled).sum(1)).mean())

    found = minimize_scalar(loss, bounds=(-_LOG_BOUND, _LOG_BOUND), method="bounded", options={"xatol": 1e-5})
    temperature = math.exp(float(found.x))
    calibrated = with_temperature(probabilities, temperature)
    is_better = log_loss(targets, calibrated) < log_loss(targets, probabilities)
    is_worse = calibration_error(targets, calibrated) > calibration_error(targets, probabilities)
    return temperature if is_better and not is_worse else 1.0


def risk_coverage(targets: np.ndarray, probabilities: np.ndarray, *, seed: int = 0) -> RiskCoverage:
    """Accuracy of the most confident shares of images (N,), (N, K), and by how much the error falls at 80 %.

    Of images with the same confidence those that come first are kept. The interval of the fall is that of images drawn
    again, each draw with its own most confident 80 %.
    """
    confidence = probabilities.max(1)
    order = np.argsort(-confidence, kind="stable")
    is_right = (probabilities.argmax(1) == targets)[order]
    points = [_share_point(is_right, share) for share in SHARES]
    generator = np.random.default_rng(seed)
    falls = np.empty(_NUM_DRAWS)
    for draw in range(_NUM_DRAWS):  # rows are in order of confidence, and so are sorted draws
        drawn = is_right[np.sort(generator.integers(len(is_right), size=len(is_right)))]
        falls[draw] = _error_fall(drawn)
    known = falls[np.isfinite(falls)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) > _NUM_DRAWS / 2 else (math.nan, math.nan)
    return RiskCoverage(tuple(points), Estimate(_error_fall(is_right), float(low), float(high)))


def _share_point(is_right: np.ndarray, share: float) -> SharePoint:
    num = max(1, round(share * len(is_right)))
    right = int(is_right[:num].sum())
    low, high = wilson_interval(right, num)
    return SharePoint(share, right / num, low, high, num)


def _error_fall(is_right: np.ndarray) -> float:
    error = 1 - is_right.mean()
    most = is_right[: max(1, round(0.8 * len(is_right)))]
    return float(1 - (1 - most.mean()) / error) if error > 0 else math.nan


def limit_of_scores(scores: np.ndarray, coverage: float) -> float:
    """The ceil((N + 1) coverage)-th smallest score (N,); 1, every class, where there are too few."""
    rank = math.ceil(round((len(scores) + 1) * coverage, 6))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else 1.0


def in_sets(probabilities: np.ndarray, limit: float) -> np.ndarray:
    """Which classes are in the set of each image, (N, K) of calibrated probabilities; the most probable one always."""
    is_in = 1 - probabilities <= limit + _ROUNDING
    is_in[np.arange(len(probabilities)), probabilities.argmax(1)] = True
    return is_in


def _referral(targets: np.ndarray, probabilities: np.ndarray, class_names: Sequence[str]) -> ReferralCutoff | None:
    names = list(class_names)
    question = questions(names, is_ordinal=True)[0]
    truth, score = question.truth(targets), question.score(probabilities)
    if truth.all() or not truth.any():
        return None
    cutoff = choose_threshold(truth, score, WANTED_SENSITIVITY)
    called = score >= cutoff
    return ReferralCutoff(
        question.title, tuple(names[number] for number in question.positive), cutoff,
        float(called[truth].mean()), float((~called[~truth]).mean()),
    )  # fmt: skip
