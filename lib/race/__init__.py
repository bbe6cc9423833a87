"""The ladder: every way from no training to training from scratch, on one split and seed, side by side."""

from lib.race.control import start, stop, stop_and_wait
from lib.race.plan import RACE_TAG, RacePlan, active_race, list_plans, make_plan, read_plan, read_race, write_plan
from lib.race.rungs import DEFAULT_RUNGS, RUNGS, RungSpec
from lib.race.standing import RungStanding, leader, read_standings

__all__ = [
    "DEFAULT_RUNGS",
    "RACE_TAG",
    "RUNGS",
    "RacePlan",
    "RungSpec",
    "RungStanding",
    "active_race",
    "leader",
    "list_plans",
    "make_plan",
    "read_plan",
    "read_race",
    "read_standings",
    "start",
    "stop",
    "stop_and_wait",
    "write_plan",
]
