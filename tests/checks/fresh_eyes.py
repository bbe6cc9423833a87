"""What a run's calibration is worth on eyes that nobody has seen: `python -m tests.checks.fresh_eyes --run ID`.

Draws 2,000 eyes that can be graded and 400 that cannot, 100 of each kind, with a seed of their own, grades all of them
and prints calibration error, coverage, refusals and accuracy over coverage. Drawing takes minutes; a folder that holds
the eyes already is taken as it is. The run must be one of the generated set of another seed. Intervals count the two
eyes of a patient together.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.fundus.generation import CLASS_FOLDERS, Spoiling, generate
from lib.evaluation.calibration import risk_coverage
from lib.evaluation.intervals import Interval, metric_interval
from lib.evaluation.metric_table import ACCURACY, KAPPA, METRICS
from lib.evaluation.metrics import Z, log_loss
from lib.evaluation.verdict import GRADED, UNGRADABLE, UNLIKE
from lib.grading.grader import Grader

_NUM_PER_CLASS, _SHARE = 480, 1 / 6  # 2,400 images, 400 of them ungradable


def main() -> None:
    """Draw, grade, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--folder", type=Path, required=True, help="Where the eyes lie, or are to be drawn.")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if not (asked.folder / "metadata.csv").is_file():
        generate(asked.folder, per_class=_NUM_PER_CLASS, size_px=512, seed=asked.seed, spoiling=Spoiling(share=_SHARE))
    table = pd.read_csv(asked.folder / "metadata.csv", keep_default_na=False)
    grader = Grader.open(asked.run)
    items = [(path, asked.folder / path) for path in table["path"]]
    grades = list(grader.grade(items))
    table["status"] = [grade.status for grade in grades]
    table["seen"] = [grade.seen for grade in grades]
    table["distance"] = [grade.distance for grade in grades]
    table["target"] = [CLASS_FOLDERS.index(path.split("/")[0]) for path in table["path"]]
    scores = np.array([grade.scores for grade in grades])
    table[[f"probability_{number}" for number in range(scores.shape[1])]] = scores
    table.to_csv(asked.folder / f"graded_{asked.run[:8]}.csv", index=False)
    tell(grader, table, scores)


def tell(grader: Grader, table: pd.DataFrame, scores: np.ndarray) -> None:
    """Print what was found."""
    calibration = grader.calibration
    if calibration is None:
        raise SystemExit(f"This run has no calibration: {grader.manifest.get('why_not_calibrated', 'it is older')}")
    print(f"T {calibration.temperature:.3f}, fitted on {calibration.num} {calibration.fitted_on}")
    print(f"among them seen in training: {(table['seen'] != '').sum()}")
    fault = table["flags"].str.replace("ungradable: ", "")
    good, statuses, patients = (fault == "").to_numpy(), table["status"].to_numpy(), table["patient"].to_numpy(str)
    for status in (UNLIKE, UNGRADABLE):
        print(f"good eyes called {status}: {_share(statuses[good] == status, patients[good])}")
        for kind in sorted(set(fault[~good])):
            rows = (fault == kind).to_numpy()
            print(f"  {kind}: {_share(statuses[rows] == status, patients[rows])}")
    if grader.gate is not None:  # whatever the quality says of them
        is_beyond = table["distance"].to_numpy() > grader.gate.threshold
        print(f"good eyes beyond a limit of the gate: {_share(is_beyond[good], patients[good])}")
        for kind in sorted(set(fault[~good])):
            rows = (fault == kind).to_numpy()
            print(f"  {kind}: {_share(is_beyond[rows], patients[rows])}")
    for title, rows in (
        ("all good eyes", good),
        ("good eyes that were graded", good & (statuses == GRADED)),
    ):
        targets, raw, groups = table["target"].to_numpy()[rows], scores[rows], patients[rows]
        calibrated = calibration.calibrated(raw)
        print(f"{title}: {len(targets)}, accuracy {_share(raw.argmax(1) == targets, groups)}, kappa "
              f"{_words(metric_interval(KAPPA, targets, raw, groups=groups))}")  # fmt: skip
        for name, stated in (("raw", raw), ("calibrated", calibrated)):
            error = metric_interval(METRICS["calibration_error"], targets, stated, groups=groups, num_draws=500)
            print(f"  {name}: calibration error {_words(error)}, log loss {log_loss(targets, stated):.4f}")
        for coverage in (0.8, 0.9, 0.95):
            sets = calibration.are_in_sets(calibrated, coverage)
            is_in = sets[np.arange(len(targets)), targets]
            # The sets were fitted on a sample too: the second interval counts both.
            both = Z * np.sqrt(coverage * (1 - coverage) * (1 / len(targets) + 1 / calibration.num))
            print(f"  coverage {coverage}: {_share(is_in, groups)}; counting the calibration's sample too, expected "
                  f"{coverage - both:.4f} to {coverage + both:.4f}; mean size {sets.sum(1).mean():.2f}")  # fmt: skip
        risk = risk_coverage(targets, calibrated)
        for point in risk.points:
            print(f"  most confident {point.share:.0%}: accuracy {point.accuracy:.4f} ({point.low:.4f} to "
                  f"{point.high:.4f})")  # fmt: skip
        print(f"  {risk.sentence}")


def _words(found: Interval) -> str:
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def _share(values: np.ndarray, patients: np.ndarray) -> str:
    """The share of True (N,) and its interval, as the accuracy of a classifier that is right there."""
    right = np.asarray(values, dtype=np.float64)
    found = metric_interval(ACCURACY, np.ones(len(right), int), np.stack([1 - right, right], 1), groups=patients)
    return f"{_words(found)}; {int(right.sum())} of {len(right)}"


if __name__ == "__main__":
    main()
