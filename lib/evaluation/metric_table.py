"""The metrics by which runs can be compared: one entry is a choice on the board, in the command and in the docs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.evaluation import metrics, weighted


@dataclass(frozen=True)
class Metric:
    """A metric of targets (N,) and probabilities (N, K).

    Attributes:
        key: in the figures of a run, after "test_", and in links.
        title: on the page.
        word: in a sentence.
        compute: the value; NaN where it is not defined.
        build: the same for many resamples at once, see `weighted`.
        meaning: one sentence that says what it is.
        limits: the smallest and the largest value that there can be.
        is_lower_better: whether the smaller value wins.
        needs_order: whether it is defined for ordered classes alone (and for two classes, which need no order).
        is_share: whether it is said in per cent.
        min_units: the fewest patients (or images that stand alone) of which a bootstrap interval is shown. The
            simulation of the tests decides: from so many on intervals hold the true value about as often as they say.
        noise: of a metric that chance alone makes larger, so that its draws lie above it: how far a draw may move it.
        is_of_ranks: whether only the order of the answers counts, not their size.
    """

    key: str
    title: str
    word: str
    compute: Callable[[np.ndarray, np.ndarray], float]
    build: weighted.Builder
    meaning: str
    limits: tuple[float, float] = (0.0, 1.0)
    is_lower_better: bool = False
    needs_order: bool = False
    is_share: bool = False
    noise: weighted.Builder | None = None
    is_of_ranks: bool = False
    min_units: int = 30

    def __reduce__(self) -> tuple[Any, ...]:
        """Kept and sent by its key, so that what comes back is the one of the table."""
        return find_metric, (self.key,)

    def text(self, value: float) -> str:
        """A value as it stands in a sentence: "48.0 %" or "0.73"; "not defined" for NaN."""
        if not math.isfinite(value):
            return "not defined"
        return f"{100 * value:.1f}\u00a0%" if self.is_share else f"{round(value, 2) + 0.0:.2f}"

    def difference_text(self, difference: float) -> str:
        """How far two values are apart, without a sign: "3.5 percentage points" or "0.02"."""
        return f"{100 * abs(difference):.1f} percentage points" if self.is_share else f"{abs(difference):.2f}"

    def fits(self, *, is_ordinal: bool, num_classes: int) -> bool:
        """Whether it is defined for such classes."""
        return is_ordinal or num_classes == 2 or not self.needs_order

    def worth(self, value: float) -> float:
        """The value with the sign that makes larger better; minus infinity for NaN."""
        if not math.isfinite(value):
            return -math.inf
        return -value if self.is_lower_better else value


ACCURACY = Metric(
    "accuracy", "Accuracy", "accuracy", metrics.accuracy,
    weighted.from_counts(weighted.accuracies),
    "Share of images whose most probable class is the true one.", is_share=True,
)  # fmt: skip
KAPPA = Metric(
    "quadratic_weighted_kappa", "Quadratic weighted kappa", "kappa", metrics.quadratic_weighted_kappa,
    weighted.from_counts(weighted.kappas),
    "Agreement with the true grades beyond chance; far misses count more.", (-1.0, 1.0), needs_order=True,
)  # fmt: skip
_ALL = (
    ACCURACY,
    Metric(
        "balanced_accuracy", "Balanced accuracy", "balanced accuracy", metrics.balanced_accuracy,
        weighted.from_counts(weighted.balanced_accuracies),
        "The mean of the recalls of the classes, so that rare classes count as much as common ones.", is_share=True,
    ),
    KAPPA,
    Metric(
        "macro_f1", "Macro F1", "macro F1", metrics.macro_f1,
        weighted.from_counts(weighted.macro_f1s),
        "The mean over the classes of F1, the harmonic mean of precision and recall.", min_units=50,
    ),
    Metric(
        "auroc", "AUROC", "AUROC", metrics.auroc,
        weighted.build_auroc,
        "Area under the ROC curve, one class against the rest, mean over the classes.", is_of_ranks=True,
    ),
    Metric(
        "log_loss", "Log loss", "log loss", metrics.log_loss,
        weighted.build_log_loss,
        "Mean negative logarithm of the true class's probability; lower is better.", (0.0, math.inf),
        is_lower_better=True,
    ),
    Metric(
        "calibration_error", "Calibration error", "calibration error", metrics.calibration_error,
        weighted.build_calibration_error,
        "How far stated confidence and share of right answers are apart, in ten bins of equal mass; lower is better.",
        is_lower_better=True, is_share=True, noise=weighted.build_calibration_noise,
    ),
)  # fmt: skip
METRICS = {metric.key: metric for metric in _ALL}


def find_metric(key: str) -> Metric:
    """The metric of that key; raises KeyError for one that is not in the table."""
    return METRICS[key]
