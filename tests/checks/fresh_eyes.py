"""What a run's calibration is worth on eyes that nobody has seen: `python -m tests.checks.fresh_eyes --run ID`.

Draws 2,000 eyes that can be graded and 400 that cannot, 100 of each kind, with a seed of their own, grades all of them
and prints calibration error, coverage, refusals and accuracy over coverage. Drawing takes minutes; a folder that holds
the eyes already is taken as it is. The run must be one of the generated set of another seed.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from lib.data.fundus.generation import CLASS_FOLDERS, Spoiling, generate
from lib.evaluation.calibration import risk_coverage
from lib.evaluation.metrics import Z, bootstrap_interval, calibration_error, log_loss, wilson_interval
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
    table.to_csv(asked.folder / "graded.csv", index=False)
    tell(grader, table, scores)


def tell(grader: Grader, table: pd.DataFrame, scores: np.ndarray) -> None:
    """Print what was found."""
    calibration = grader.calibration
    if calibration is None:
        raise SystemExit(f"This run has no calibration: {grader.manifest.get('why_not_calibrated', 'it is older')}")
    print(f"T {calibration.temperature:.3f}, fitted on {calibration.num} {calibration.fitted_on}")
    print(f"among them seen in training: {(table['seen'] != '').sum()}")
    fault = table["flags"].str.replace("ungradable: ", "")
    good, statuses = (fault == "").to_numpy(), table["status"]
    for status in (UNLIKE, UNGRADABLE):
        print(f"good eyes called {status}: {_share(statuses[good] == status)}")
        for kind in sorted(set(fault[~good])):
            print(f"  {kind}: {_share(statuses[fault == kind] == status)}")
    for title, rows in (
        ("all good eyes", good),
        ("good eyes that were graded", good & (statuses == GRADED).to_numpy()),
    ):
        targets, raw = table["target"].to_numpy()[rows], scores[rows]
        calibrated = calibration.calibrated(raw)
        print(f"{title}: {len(targets)}, accuracy {_share(raw.argmax(1) == targets)}")
        for name, stated in (("raw", raw), ("calibrated", calibrated)):
            low, high = bootstrap_interval(calibration_error, targets, stated, n=500)
            error = calibration_error(targets, stated)
            print(f"  {name}: calibration error {error:.4f} ({low:.4f} to {high:.4f}), log loss "
                  f"{log_loss(targets, stated):.4f}")  # fmt: skip
        for coverage in (0.8, 0.9, 0.95):
            sets = calibration.are_in_sets(calibrated, coverage)
            is_in = sets[np.arange(len(targets)), targets]
            # The sets were fitted on a sample too: the second interval counts both.
            both = Z * np.sqrt(coverage * (1 - coverage) * (1 / len(targets) + 1 / calibration.num))
            print(f"  coverage {coverage}: {_share(is_in)}; counting the calibration's sample too, expected "
                  f"{coverage - both:.4f} to {coverage + both:.4f}; mean size {sets.sum(1).mean():.2f}")  # fmt: skip
        risk = risk_coverage(targets, calibrated)
        for point in risk.points:
            print(f"  most confident {point.share:.0%}: accuracy {point.accuracy:.4f} ({point.low:.4f} to "
                  f"{point.high:.4f})")  # fmt: skip
        print(f"  {risk.sentence}")


def _share(values: "np.ndarray | pd.Series") -> str:
    num, total = int(np.sum(values)), len(values)
    low, high = wilson_interval(num, total)
    return f"{num / max(1, total):.4f} ({low:.4f} to {high:.4f}; {num} of {total})"


if __name__ == "__main__":
    main()
