"""A race as it stood at any moment of it, from what its runs recorded: to be watched again, at any pace."""

import dataclasses
from dataclasses import dataclass

from lib.sweeps.plan import SweepState
from lib.sweeps.results import ArmResult, Curve, arm_results
from lib.sweeps.strategies import StrategySweep
from lib.tracking.timeline import Timeline, read_timeline
from lib.training.strategies import STRATEGIES


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
