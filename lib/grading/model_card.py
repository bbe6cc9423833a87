"""What a classifier's calibration is worth, as sentences for page, report and bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.evaluation.calibration import Calibration, fit_temperature, in_sets, limit_of_scores, with_temperature
from lib.evaluation.intervals import metric_interval
from lib.evaluation.metric_table import METRICS
from lib.evaluation.metrics import wilson_interval
from lib.evaluation.verdict import describe_coverage
from lib.grading.manifest import manifest_calibration

CARD = "calibration_card"  # in the manifest of an exported bundle, which has no answers beside it
_NUM_DRAWS = 300
_MOST_SENTENCES, _MOST_LETTERS = 8, 600
Answers = tuple[np.ndarray, np.ndarray, np.ndarray]


def card_sentences(
    manifest: Mapping[str, Any], num_classes: int, *, coverage: float = 0.9, predictions: Path | None = None
) -> tuple[str, ...]:
    """What the calibration is worth, by the run's own answers to its test images where they are at hand.

    Args:
        manifest: of the bundle; an exported one brings the sentences along.
        num_classes: K.
        coverage: of the sets that are spoken of.
        predictions: the run's answers, a file that may be missing.
    """
    tested = None if predictions is None else answers_in_test(predictions, num_classes)
    kept = manifest.get(CARD)
    if tested is None and isinstance(kept, list) and kept:  # of strangers, so of bounded length
        return tuple(str(one)[:_MOST_LETTERS] for one in kept[:_MOST_SENTENCES])
    return tuple(calibration_sentences(manifest, num_classes, coverage=coverage, tested=tested))


def answers_in_test(predictions: Path, num_classes: int) -> Answers | None:
    """Targets (N,), raw probabilities (N, K) and folds (N,) of a run's test images; None where there are none.

    Of a run with folds these are all images, each answered by its own fold, and what the calibration was fitted on.
    """
    import pandas as pd

    columns = ["split", "fold", "target", *(f"probability_{number}" for number in range(num_classes))]
    try:
        table = pd.read_parquet(predictions, columns=columns)
    except (OSError, ValueError, KeyError):
        return None
    found = table[table["split"] == "test"]
    if found.empty:
        return None
    return (
        found["target"].to_numpy(np.int64), found[columns[3:]].to_numpy(np.float64), found["fold"].to_numpy(np.int64)
    )  # fmt: skip


def calibration_sentences(
    manifest: Mapping[str, Any],
    num_classes: int,
    *,
    coverage: float = 0.9,
    tested: Answers | None = None,
) -> list[str]:
    """The sentences; of an older or uncalibrated classifier the one that says so.

    Args:
        manifest: of the bundle.
        num_classes: K.
        coverage: of the sets that are spoken of, 0.5 to 0.99.
        tested: targets (N,), raw probabilities (N, K) and folds (N,) of test images, where they are at hand. The
            calibration was not fitted on those of a single split; on those of folds it was, and there each fold is
            judged by what the others give.
    """
    calibration = manifest_calibration(dict(manifest), num_classes)
    if calibration is None:
        why = str(manifest.get("why_not_calibrated") or "")
        return [why or "Not calibrated: this classifier is of before that; its probabilities are the network's own."]
    own = (
        f"Calibrated on {calibration.num:,} {calibration.fitted_on}: temperature {calibration.temperature:.2f}; on "
        f"these the calibration error went from {calibration.error_before:.3f} to {calibration.error_after:.3f}."
    )
    gain = f"On the answers of the calibration: {calibration.risk.sentence}"
    found = _tested_sentences(calibration, tested, coverage=coverage) if tested else []
    if calibration.is_out_of_fold:
        found.append(_OUT_OF_FOLD.format(words=describe_coverage(coverage, is_out_of_fold=True)))
    return [own, *found, gain]


_OUT_OF_FOLD = (
    "Temperature and limits were fitted on the answers of other fits than this classifier, which was trained on more "
    "images than they: its sets are expected to have {words}, which is not promised."
)


def _tested_sentences(calibration: Calibration, answers: Answers, *, coverage: float) -> list[str]:
    targets, raw, folds = answers
    num_folds = len(np.unique(folds))
    if num_folds > 1:
        stated, sets = _by_other_folds(answers, coverage=coverage)
        what = (
            f"Out of fold, {len(targets):,} images in {num_folds} folds, each calibrated by the answers of the other "
            "folds (this classifier has no test images of its own): the"
        )
    else:
        stated = calibration.calibrated(raw)
        sets, what = calibration.are_in_sets(stated, coverage), f"On {len(targets):,} test images the"
    words = []
    for probabilities in (raw, stated):
        error = metric_interval(METRICS["calibration_error"], targets, probabilities, num_draws=_NUM_DRAWS)
        words.append(f"{error.value:.3f}" + (f" ({error.low:.3f} to {error.high:.3f})" if error.is_known else ""))
    num = int(sets[np.arange(len(targets)), targets].sum())
    low, high = wilson_interval(num, len(targets))
    return [
        f"{what} calibration error is {words[0]} before and {words[1]} after (95 % intervals over images).",
        f"Sets of {100 * coverage:g} % coverage held the right class of {100 * num / len(targets):.1f} % of them "
        f"({100 * low:.1f} to {100 * high:.1f} %), with {sets.sum(1).mean():.1f} classes a set.",
    ]


def _by_other_folds(answers: Answers, *, coverage: float) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities and sets (N, K) of answers, by what the answers of the other folds gave."""
    targets, raw, folds = answers
    stated, sets = np.empty_like(raw), np.zeros(raw.shape, dtype=bool)
    for fold in np.unique(folds):
        own = folds == fold
        temperature = fit_temperature(targets[~own], raw[~own])
        fitted = with_temperature(raw[~own], temperature)
        limit = limit_of_scores(1 - fitted[np.arange(len(fitted)), targets[~own]], coverage)
        stated[own] = with_temperature(raw[own], temperature)
        sets[own] = in_sets(stated[own], limit)
    return stated, sets
