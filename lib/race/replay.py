"""A race as it stood at any moment of it, from what its runs recorded: to be watched again, at any pace."""

import dataclasses
from dataclasses import dataclass

from lib.race.curve import Curve
from lib.race.plan import RacePlan
from lib.race.standing import RungStanding, read_standings
from lib.series import SeriesState
from lib.tracking.timeline import Timeline, read_timeline
from lib.training.strategies import STRATEGIES


@dataclass(frozen=True, eq=False)
class _Leg:
    """A finished rung and when it ran, in seconds since the race began; waiting between rungs is left out."""

    standing: RungStanding
    timeline: Timeline | None
    began_s: float
    ended_s: float

    def at(self, seconds: float) -> RungStanding:
        """The rung as it stood."""
        now = self.standing
        if seconds >= self.ended_s:
            return now
        nothing = dataclasses.replace(now, summary={}, validation={}, curve=Curve(None, None, ()))
        if seconds < self.began_s or self.timeline is None:
            return dataclasses.replace(nothing, state="waiting", run_id=None)
        moment = self.timeline.at(seconds - self.began_s)
        points = tuple(point for point in now.curve.points if point.epoch <= moment.epoch)
        curve = Curve(now.curve.num_trained if points else None, now.curve.num_parameters, points)
        phase = str(moment.progress.get("phase") or "")
        return dataclasses.replace(nothing, state="running", phase=phase, curve=curve)


@dataclass(frozen=True, eq=False)
class RaceReplay:
    """The finished rungs of a race, one after the other; `seconds` is how long all of them took."""

    legs: tuple[_Leg, ...]
    seconds: float

    def at(self, seconds: float) -> list[RungStanding]:
        """Every rung so many seconds after the race began."""
        return [leg.at(seconds) for leg in self.legs]

    def newest_epochs(self, seconds: float) -> dict[str, int]:
        """For each rung at work or done, the newest epoch whose pictures may be shown; -1: none yet."""
        found = {}
        for leg in self.legs:
            if leg.began_s <= seconds < leg.ended_s and leg.timeline is not None:
                is_iterative = STRATEGIES.get(leg.standing.key).is_iterative
                found[str(leg.standing.run_id)] = leg.timeline.at(seconds - leg.began_s).epoch if is_iterative else -1
        return found

    def words(self, seconds: float) -> str:
        """What is being done at that moment, such as "Full fine-tuning: training, epoch 3"."""
        leg = next((leg for leg in self.legs if leg.began_s <= seconds < leg.ended_s), None)
        if leg is None or leg.timeline is None:
            return "Every rung has finished"
        moment = leg.timeline.at(seconds - leg.began_s)
        phase = str(moment.progress.get("phase") or "starting")
        epoch = f", epoch {moment.epoch + 1}" if phase == "Training" else ""
        return f"{leg.standing.title}: {phase[:1].lower()}{phase[1:]}{epoch}"

    @property
    def stops(self) -> tuple[float, ...]:
        """The seconds at which something new is to be seen."""
        found = {self.seconds}
        for leg in self.legs:
            found.add(leg.ended_s)
            if leg.timeline is not None:
                found.update(leg.began_s + stop for stop in leg.timeline.stops)
        return tuple(sorted(found))


def replay_race(plan: RacePlan, state: SeriesState | None = None) -> RaceReplay | None:
    """What can be played again of a race: its finished rungs; None if there is none."""
    legs, second = [], 0.0
    for standing in read_standings(plan, state):
        if not standing.is_finished or standing.run_id is None:
            continue
        timeline = read_timeline(standing.run_id)
        took_s = timeline.seconds if timeline else float(standing.summary.get("seconds_total") or 0.0)
        legs.append(_Leg(standing, timeline, second, second + took_s))
        second += took_s
    return RaceReplay(tuple(legs), second) if legs else None
