"""Where each rung of a race stands: its curve, and its figures once it has finished. Read from the runs' folders."""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.splits import TEST
from lib.errors import UserError
from lib.evaluation.headline import Score, best_of
from lib.race.curve import Curve, read_curve
from lib.race.plan import RacePlan, read_race
from lib.series import SeriesState
from lib.tracking.scores import folder_score
from lib.tracking.state import PREDICTIONS_FILE, SUMMARY_FILE, RunState, read_state, run_folder

METRICS = ("accuracy", "quadratic_weighted_kappa")


@dataclass(frozen=True)
class RungStanding:
    """One rung: `state` is "waiting" before it has a run, else the run's; `summary` is empty before it has finished.

    `validation` holds the finished classifier's accuracy and kappa on the validation images.
    """

    key: str
    title: str
    state: str
    run_id: str | None
    phase: str
    curve: Curve
    summary: dict[str, Any]
    validation: dict[str, float]

    @property
    def is_finished(self) -> bool:
        """Whether its figures are there."""
        return self.state == "finished" and bool(self.summary)

    @property
    def folder(self) -> Path | None:
        """The run's folder."""
        return run_folder(self.run_id) if self.run_id else None

    @property
    def score(self) -> Score | None:
        """What it is judged by; None before it has finished."""
        return folder_score(self.folder, self.summary) if self.folder and self.is_finished else None

    def test(self, metric: str) -> tuple[float, float, float]:
        """A metric on the test images with its 95 % interval; NaN where there is none."""
        keys = (f"test_{metric}", f"test_{metric}_low", f"test_{metric}_high")
        value, low, high = (math.nan if self.summary.get(key) is None else self.summary[key] for key in keys)
        return float(value), float(low), float(high)


def read_standings(plan: RacePlan, state: SeriesState | None = None) -> list[RungStanding]:
    """All rungs of a race, in the ladder's order."""
    runs = (state or read_race(plan)).runs
    return [_standing(entry.key, entry.title, runs.get(entry.key)) for entry in plan.entries]


@lru_cache(maxsize=64)
def validation_metrics(folder: Path) -> dict[str, float]:
    """Accuracy and kappa of a finished run in validation, where need be out of fold; empty if it has none.

    Kept, since the predictions of a finished run never change and the page asks every second.
    """
    import pandas as pd

    from lib.evaluation.metrics import accuracy, quadratic_weighted_kappa

    table = pd.read_parquet(folder / PREDICTIONS_FILE)
    table = table[table["split"] != TEST]
    if table.empty:
        return {}
    columns = [column for column in table.columns if column.startswith("probability_")]
    targets, probabilities = table["target"].to_numpy().astype(np.int64), table[columns].to_numpy()
    kappa = quadratic_weighted_kappa(targets, probabilities)
    return {"accuracy": accuracy(targets, probabilities), "quadratic_weighted_kappa": kappa}


def leader(standings: list[RungStanding]) -> RungStanding | None:
    """The finished rung with the best result by the metric that its classes are judged by, on the same test images."""
    best = best_of({standing.key: standing.score for standing in standings})
    return next(standing for standing in standings if standing.key == best[0]) if best else None


def as_row(standing: RungStanding) -> dict[str, Any]:
    """A rung as the command line prints it."""
    score = standing.score
    summary = {**standing.summary, **({"headline": score.metric.key} if score else {})}
    if score and math.isfinite(score.baseline_accuracy):
        summary["test_baseline_accuracy"] = score.baseline_accuracy
    shown = ("headline", "test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_quadratic_weighted_kappa",
             "test_quadratic_weighted_kappa_low", "test_quadratic_weighted_kappa_high", "test_baseline_accuracy",
             "test_referable_auroc", "seconds_total")  # fmt: skip
    return {
        "strategy": standing.key,
        "run_id": standing.run_id,
        "state": standing.state,
        **{key: summary.get(key) for key in shown},
        "num_trained_parameters": standing.curve.num_trained,
    }


def _standing(key: str, title: str, run_id: str | None) -> RungStanding:
    run = _run(run_id)
    if run is None:
        return RungStanding(key, title, "waiting", None, "", Curve(None, None, ()), {}, {})
    summary = _summary(run.folder) if run.state == "finished" else {}
    validation = validation_metrics(run.folder) if summary else {}
    phase = str(run.progress.get("phase") or "")
    return RungStanding(key, title, run.state, run.run_id, phase, read_curve(run.folder), summary, validation)


def _run(run_id: str | None) -> RunState | None:
    try:
        return read_state(run_id) if run_id else None
    except UserError:  # it was deleted
        return None


def _summary(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / SUMMARY_FILE).read_text("utf-8")))
    except (OSError, ValueError):
        return {}
