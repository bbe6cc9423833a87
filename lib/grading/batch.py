"""Whether a folder of images is like those that a classifier was validated on: counts, scores, expected PPV and NPV.

What is compared are the network's own scores with its own scores in validation. Without the right classes no figure
here says how many answers are right.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lib.evaluation.operating_point import predictive_values
from lib.evaluation.verdict import GRADED, REFUSED, UNGRADABLE, UNLIKE, UNSURE
from lib.grading.grades import STATUS_WORDS, Grade
from lib.grading.operating_point import OperatingPoint

FEW_IMAGES = 20
_CLEAR = 0.01  # of the two-sample test, before its difference is called clear


@dataclass(frozen=True, eq=False)
class DriftReport:
    """What is said of a folder.

    Attributes:
        sentences: the report in words.
        statuses: a row a status: how many files, and their share.
        classes: a row a class: share among the graded images, and of the answers in validation where there are some.
        p_value: of the two-sample Kolmogorov-Smirnov test of the largest score; None where it was not made.
    """

    sentences: tuple[str, ...]
    statuses: pd.DataFrame
    classes: pd.DataFrame
    p_value: float | None = None


def validation_scores(run_id: str) -> np.ndarray | None:
    """The network's own probabilities (N, K) of a run's validation images; None where the run has kept none."""
    from lib.tracking import predictions
    from lib.tracking.scores import probability_columns

    try:
        table = predictions(run_id)
    except (OSError, ValueError):
        return None
    rows = table[table["split"] == "val"]
    return rows[probability_columns(rows)].to_numpy(np.float64) if len(rows) else None


def drift_report(
    grades: Sequence[Grade],
    *,
    class_names: Sequence[str],
    validation: np.ndarray | None = None,
    point: OperatingPoint | None = None,
    prevalence: float | None = None,
) -> DriftReport:
    """Hold a folder's grades against the answers in validation.

    Args:
        grades: one a file.
        class_names: K names.
        validation: the network's own probabilities of validation images (N, K), if there are some.
        point: the stored operating point, for PPV and NPV.
        prevalence: share of referable images; None takes the one of the point.
    """
    counts = Counter(grade.status for grade in grades)
    statuses = pd.DataFrame(
        [(words, counts[status], counts[status] / max(len(grades), 1)) for status, words in STATUS_WORDS.items()],
        columns=["status", "files", "share"],
    )
    looked_at = [grade for grade in grades if grade.status in (GRADED, UNSURE) and grade.scores]
    scores = np.array([grade.scores for grade in looked_at], dtype=np.float64).reshape(len(looked_at), len(class_names))
    classes = _classes(scores, class_names, validation)
    said, p_value = _scores_sentences(scores, validation)
    sentences = [*_refused(grades, counts), *_distances(grades), *said, *_unsure(looked_at)]
    sentences += _referred(scores, class_names, point, prevalence)
    return DriftReport(tuple(sentences), statuses, classes, p_value)


def _refused(grades: Sequence[Grade], counts: Counter[str]) -> list[str]:
    total = len(grades)
    if not total:
        return ["There are no files."]
    parts = [f"{counts[status]:,} {words}" for status, words in STATUS_WORDS.items() if counts[status]]
    said = [f"Of {total:,} files: {', '.join(parts)}."]
    kinds = Counter(grade.quality.kind or "poor" for grade in grades if grade.status == UNGRADABLE and grade.quality)
    if kinds:
        said.append(f"Too poor to grade: {', '.join(f'{number:,} {kind}' for kind, number in kinds.most_common())}.")
    reasons = Counter(grade.reason for grade in grades if grade.status == REFUSED)
    if reasons:
        listed = "; ".join(f"{number:,} times: {reason.rstrip('.')}" for reason, number in reasons.most_common(3))
        said.append(f"Refused, the commonest reasons: {listed}.")
    return said


def _distances(grades: Sequence[Grade]) -> list[str]:
    ratios = np.array([grade.distance / grade.threshold for grade in grades if grade.distance and grade.threshold])
    if not len(ratios):
        return []
    unlike = sum(grade.status == UNLIKE for grade in grades)
    return [
        f"The distance to the training images is {np.median(ratios):.2f} of its limit in the median; "
        f"{unlike:,} of {len(grades):,} files ({100 * unlike / len(grades):.0f} %) are unlike them."
    ]


def _classes(scores: np.ndarray, class_names: Sequence[str], validation: np.ndarray | None) -> pd.DataFrame:
    def shares(found: np.ndarray) -> np.ndarray:
        return np.bincount(found.argmax(1), minlength=len(class_names)) / len(found)

    table = pd.DataFrame({"class": list(class_names)})
    table["share here"] = shares(scores) if len(scores) else np.nan
    table["share in validation"] = shares(validation) if validation is not None else np.nan
    return table


def _scores_sentences(scores: np.ndarray, validation: np.ndarray | None) -> tuple[list[str], float | None]:
    if validation is None:
        return ["The scores were not compared: no answers in validation are at hand."], None
    if not len(scores):
        return ["The scores were not compared: no image was graded."], None
    from scipy.stats import ks_2samp

    here, there = scores.max(1), validation.max(1)
    found = ks_2samp(here, there)
    said = [
        f"The largest score is {np.median(here):.2f} in the median, {np.median(there):.2f} among {len(there):,} "
        f"validation images (Kolmogorov-Smirnov distance {found.statistic:.2f}, p = {found.pvalue:.2g})."
    ]
    if len(here) < FEW_IMAGES:
        said.append(f"{len(here):,} images are few: only a large difference would show.")
    elif found.pvalue < _CLEAR:
        said.append("The scores differ clearly from those in validation: do not rely on the figures of the test here.")
    else:
        said.append("No clear difference from validation was found, which does not prove that there is none.")
    return said, float(found.pvalue)


def _unsure(looked_at: Sequence[Grade]) -> list[str]:
    with_set = [grade for grade in looked_at if grade.coverage is not None]
    if not with_set:
        return []
    unsure = sum(grade.status == UNSURE for grade in with_set)
    size = np.mean([len(grade.prediction_set) for grade in with_set])
    return [
        f"{unsure:,} of {len(with_set):,} images ({100 * unsure / len(with_set):.0f} %) are unsure; a set holds "
        f"{size:.1f} classes on average, with {with_set[0].coverage_words}, which holds for images like those in "
        "validation only."
    ]


def _referred(
    scores: np.ndarray, class_names: Sequence[str], point: OperatingPoint | None, prevalence: float | None
) -> list[str]:
    if point is None or not len(scores):
        return []
    referred = float(point.refers(scores, tuple(class_names)).mean())
    reading = point.reading
    assumed = reading.prevalence if prevalence is None else prevalence
    ppv, npv = predictive_values(reading.sensitivity.value, reading.specificity.value, assumed)
    return [
        f"{100 * referred:.0f} % of {len(scores):,} images are referred by the stored operating point. At a prevalence "
        f"of {100 * assumed:.0f} % and with the sensitivity and specificity of the test images, PPV is expected to be "
        f"{100 * ppv:.0f} % and NPV {100 * npv:.0f} %."
    ]
