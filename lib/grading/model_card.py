"""What a classifier's calibration is worth, as sentences for page, report and bundle."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.evaluation.calibration import Calibration
from lib.evaluation.metrics import bootstrap_interval, calibration_error, wilson_interval
from lib.grading.manifest import manifest_calibration

CARD = "calibration_card"  # in the manifest of an exported bundle, which has no answers beside it
_MOST_SENTENCES, _MOST_LETTERS = 8, 600
Answers = tuple[np.ndarray, np.ndarray]


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
    """Targets (N,) and raw probabilities (N, K) of a run's test images; None where there are none.

    Of a run with folds too: the answers to its test images are those that the calibration was fitted on.
    """
    import pandas as pd

    columns = ["split", "target", *(f"probability_{number}" for number in range(num_classes))]
    try:
        table = pd.read_parquet(predictions, columns=columns)
    except (OSError, ValueError, KeyError):
        return None
    is_test = (table["split"] == "test").to_numpy()
    if is_test.all() or not is_test.any():
        return None
    found = table[is_test]
    return found["target"].to_numpy(np.int64), found[columns[2:]].to_numpy(np.float64)


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
        tested: targets (N,) and raw probabilities (N, K) of test images that the calibration was not fitted on, where
            they are at hand.
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
    return [own, *(_tested_sentences(calibration, *tested, coverage=coverage) if tested else []), gain]


def _tested_sentences(calibration: Calibration, targets: np.ndarray, raw: np.ndarray, *, coverage: float) -> list[str]:
    stated = calibration.calibrated(raw)
    words = []
    for probabilities in (raw, stated):
        low, high = bootstrap_interval(calibration_error, targets, probabilities, n=300)
        words.append(f"{calibration_error(targets, probabilities):.3f} ({low:.3f} to {high:.3f})")
    sets = calibration.are_in_sets(stated, coverage)
    num = int(sets[np.arange(len(targets)), targets].sum())
    low, high = wilson_interval(num, len(targets))
    return [
        f"On {len(targets):,} test images the calibration error is {words[0]} before and {words[1]} after (95 % "
        "intervals over images).",
        f"Sets of {100 * coverage:g} % coverage held the right class of {100 * num / len(targets):.1f} % of them "
        f"({100 * low:.1f} to {100 * high:.1f} %), with {sets.sum(1).mean():.1f} classes a set.",
    ]
