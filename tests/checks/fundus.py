"""Checks of the generated fundus photographs: `python -m tests.checks.fundus [--per-class 200]`.

Prints the statistics beside those of real photographs and what shortcut probes reach with and without lesions; exits
with status 1 if a limit is broken. Takes about five minutes on two cores.
"""

import argparse
import csv
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from lib.data.fundus.generation import generate
from tests.checks.photograph_statistics import REAL, REAL_CORRELATIONS, REAL_PROFILE, compare, describe
from tests.checks.shortcut_probes import LIMIT, LIMIT_WITHOUT_LESIONS, PROBES, probe, shortcut_features


def main() -> int:
    """Run what was asked for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, default=200)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["statistics", "probes"])
    parser.add_argument("--keep", type=Path, help="Draw into this folder and keep it.")
    options = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as made:
        folder = options.keep or Path(made)
        for name in ("with", "without") if options.only != "statistics" else ("with",):
            started_s, worked_s = time.monotonic(), _children_s()
            target = folder / name
            if not (target / "metadata.csv").exists():
                generate(target, per_class=options.per_class, size_px=options.size, seed=options.seed,
                         with_lesions=name == "with")  # fmt: skip
            wall_s, worked_s = time.monotonic() - started_s, _children_s() - worked_s
            print(f"{5 * options.per_class} images {name} lesions: {wall_s:.0f} s, {worked_s:.0f} s of processor time")
            with ProcessPoolExecutor(2) as pool:
                if name == "with" and options.only != "probes":
                    good &= print_statistics(target, pool)
                if options.only != "statistics":
                    good &= print_probes(target, pool, LIMIT if name == "with" else LIMIT_WITHOUT_LESIONS)
    return 0 if good else 1


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def print_statistics(folder: Path, pool: ProcessPoolExecutor) -> bool:
    """The table of the sixteen statistics; True if all limits hold."""
    paths = sorted(folder.glob("[0-9]_*/*.jpg"))
    found = [answer for answer in pool.map(describe, paths, chunksize=10) if answer]
    rows = np.array([answer[0] for answer in found])
    lines = compare(rows)
    print(f"{len(found)} of {len(paths)} images; quantiles 5, 25, 50, 75, 95 %; spread as a share of the real one")
    for name, quantiles, spread, is_good in lines:
        real = "  ".join(f"{value:8.4g}" for value in (REAL[name][1], REAL[name][3]))
        shown = "  ".join(f"{value:8.4g}" for value in quantiles)
        print(f"{name:36s} {shown}   real 25-75 %: {real}   spread {spread:4.2f}  {'' if is_good else 'OUTSIDE'}")
    profile = np.nanmean(np.array([answer[1] for answer in found]), axis=0)
    for channel, (name, real_profile) in enumerate(REAL_PROFILE.items()):
        print(f"profile {name:6s}", " ".join(f"{value:5.2f}" for value in profile[channel]))
        print("        real ", " ".join(f"{value:5.2f}" for value in real_profile))
    between = np.corrcoef(rows[:, :3].T)[(0, 0, 1), (1, 2, 2)]
    print("correlations ", " ".join(f"{value:5.2f}" for value in between), " real ", *REAL_CORRELATIONS)
    return all(line[3] for line in lines)


def print_probes(folder: Path, pool: ProcessPoolExecutor, limit: float) -> bool:
    """Balanced accuracy of each probe; True if none exceeds the limit."""
    with (folder / "metadata.csv").open(encoding="utf-8") as opened:
        table = list(csv.DictReader(opened))
    features = list(pool.map(shortcut_features, [folder / row["path"] for row in table], chunksize=10))
    targets = np.array([int(row["path"][0]) for row in table])
    groups = np.array([row["patient"] for row in table])
    good = True
    for name in PROBES:
        reached = probe(np.array([one[name] for one in features]), targets, groups)
        is_good = max(reached.values()) <= limit
        good &= is_good
        shown = ", ".join(f"{model} {value:.3f}" for model, value in reached.items())
        print(f"probe {name:10s} {shown}  limit {limit}  {'' if is_good else 'BROKEN'}")
    return good


if __name__ == "__main__":
    sys.exit(main())
