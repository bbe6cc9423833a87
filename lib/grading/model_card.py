"""What a classifier's calibration is worth, as sentences for page, report and bundle."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.evaluation.calibration import Calibration
from lib.evaluation.metrics import bootstrap_interval, calibration_error, wilson_interval
from lib.grading.manifest import manifest_calibration


def calibration_sentences(
    manifest: Mapping[str, Any],
    num_classes: int,
    *,
    coverage: float = 0.9,
    tested: tuple[np.ndarray, np.ndarray] | None = None,
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
