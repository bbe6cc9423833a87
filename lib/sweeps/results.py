"""Where each arm of a race stands, from the runs' folders: now, and as it stood at any moment, to be watched again."""

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.data.splits import TEST
from lib.errors import UserError
from lib.evaluation.headline import Score, best_of
from lib.evaluation.metrics import accuracy, quadratic_weighted_kappa
from lib.sweeps.plan import SweepState
from lib.sweeps.strategies import ARMS, Curve, StrategySweep, read_curve
from lib.tracking.scores import folder_score, probability_columns
from lib.tracking.state import PREDICTIONS_FILE, read_state, read_summary, run_folder
from lib.tracking.timeline import Timeline, read_timeline
from lib.training.strategies import STRATEGIES

# What the command line prints of a finished arm.
_SHOWN = ("headline", "test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_quadratic_weighted_kappa",
          "test_quadratic_weighted_kappa_low", "test_quadratic_weighted_kappa_high", "test_baseline_accuracy",
          "test_referable_auroc", "seconds_total")  # fmt: skip


@dataclass(frozen=True)
class ArmResult:
    """One arm: `state` is "waiting" before it has a run, else the run's; `summary` is empty before it has finished.

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

    def row(self) -> dict[str, Any]:
        """The arm as the command line prints it."""
        score = self.score
        summary = {**self.summary, **({"headline": score.metric.key} if score else {})}
        if score and math.isfinite(score.baseline_accuracy):
            summary["test_baseline_accuracy"] = score.baseline_accuracy
        about = {"strategy": self.key, "run_id": self.run_id, "state": self.state}
        figures = {key: summary.get(key) for key in _SHOWN}
        return {**about, **figures, "num_trained_parameters": self.curve.num_trained}


def arm_results(plan: StrategySweep, state: SweepState | None = None) -> list[ArmResult]:
    """All arms of a race, in the ladder's order."""
    runs = (state or plan.read()).runs
    return [_arm_result(key, ARMS.get(key).title, runs.get(key)) for key in plan.rungs]


def leader(results: list[ArmResult]) -> ArmResult | None:
    """The finished arm with the best result by the metric that its classes are judged by, on the same test images."""
    best = best_of({result.key: result.score for result in results})
    return next(result for result in results if result.key == best[0]) if best else None


@lru_cache(maxsize=64)
def validation_metrics(folder: Path) -> dict[str, float]:
    """Accuracy and kappa of a finished run in validation, where need be out of fold; empty if it has none.

    Kept, since the predictions of a finished run never change and the page asks every second.
    """
    table = pd.read_parquet(folder / PREDICTIONS_FILE)
    table = table[table["split"] != TEST]
    if table.empty:
        return {}
    targets, probabilities = table["target"].to_numpy().astype(np.int64), table[probability_columns(table)].to_numpy()
    kappa = quadratic_weighted_kappa(targets, probabilities)
    return {"accuracy": accuracy(targets, probabilities), "quadratic_weighted_kappa": kappa}


def _arm_result(key: str, title: str, run_id: str | None) -> ArmResult:
    try:
        run = read_state(run_id) if run_id else None
    except UserError:  # it was deleted
        run = None
    if run is None:
        return ArmResult(key, title, "waiting", None, "", Curve(), {}, {})
    summary = read_summary(run.folder) if run.state == "finished" else {}
    validation = validation_metrics(run.folder) if summary else {}
    phase = str(run.progress.get("phase") or "")
    return ArmResult(key, title, run.state, run.run_id, phase, read_curve(run.folder), summary, validation)


@dataclass(frozen=True, eq=False)
class _Leg:
    """A finished arm and when it ran, in seconds since the race began; waiting between arms is left out."""

    result: ArmResult
    timeline: Timeline | None
    began_s: float
    ended_s: float

    def at(self, seconds: float) -> ArmResult:
        """The arm as it stood."""
        now = self.result
        if seconds >= self.ended_s:
            return now
        nothing = dataclasses.replace(now, summary={}, validation={}, curve=Curve())
        if seconds < self.began_s or self.timeline is None:
            return dataclasses.replace(nothing, state="waiting", run_id=None)
        moment = self.timeline.at(seconds - self.began_s)
        points = tuple(point for point in now.curve.points if point.epoch <= moment.epoch)
        curve = Curve(now.curve.num_trained if points else None, now.curve.num_parameters, points)
        phase = str(moment.progress.get("phase") or "")
        return dataclasses.replace(nothing, state="running", phase=phase, curve=curve)


@dataclass(frozen=True, eq=False)
class RaceReplay:
    """The finished arms of a race, one after the other; `seconds` is how long all of them took."""

    legs: tuple[_Leg, ...]
    seconds: float

    def at(self, seconds: float) -> list[ArmResult]:
        """Every arm so many seconds after the race began."""
        return [leg.at(seconds) for leg in self.legs]

    def newest_epochs(self, seconds: float) -> dict[str, int]:
        """For each arm at work or done, the newest epoch whose pictures may be shown; -1: none yet."""
        found = {}
        for leg in self.legs:
            if leg.began_s <= seconds < leg.ended_s and leg.timeline is not None:
                is_iterative = STRATEGIES.get(leg.result.key).is_iterative
                found[str(leg.result.run_id)] = leg.timeline.at(seconds - leg.began_s).epoch if is_iterative else -1
        return found

    def words(self, seconds: float) -> str:
        """What is being done at that moment, such as "Full fine-tuning: training, epoch 3"."""
        leg = next((leg for leg in self.legs if leg.began_s <= seconds < leg.ended_s), None)
        if leg is None or leg.timeline is None:
            return "Every rung has finished"
        moment = leg.timeline.at(seconds - leg.began_s)
        phase = str(moment.progress.get("phase") or "starting")
        epoch = f", epoch {moment.epoch + 1}" if phase == "Training" else ""
        return f"{leg.result.title}: {phase[:1].lower()}{phase[1:]}{epoch}"

    @property
    def stops(self) -> tuple[float, ...]:
        """The seconds at which something new is to be seen."""
        found = {self.seconds}
        for leg in self.legs:
            found.add(leg.ended_s)
            if leg.timeline is not None:
                found.update(leg.began_s + stop for stop in leg.timeline.stops)
        return tuple(sorted(found))


def replay_race(plan: StrategySweep, state: SweepState | None = None) -> RaceReplay | None:
    """What can be played again of a race: its finished arms; None if there is none."""
    legs, second = [], 0.0
    for result in arm_results(plan, state):
        if not result.is_finished or result.run_id is None:
            continue
        timeline = read_timeline(result.run_id)
        took_s = timeline.seconds if timeline else float(result.summary.get("seconds_total") or 0.0)
        legs.append(_Leg(result, timeline, second, second + took_s))
        second += took_s
    return RaceReplay(tuple(legs), second) if legs else None
