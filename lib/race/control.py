"""Starting, stopping and resuming a race from any process."""

from lib.errors import UserError
from lib.race.plan import RacePlan, active_race, write_plan
from lib.series import SeriesState, control

STOP_TIMEOUT_S = control.STOP_TIMEOUT_S


def start(plan: RacePlan) -> SeriesState:
    """Start a race, or go on with it, in a detached process; returns at once.

    Raises:
        UserError: another race is running, or the process cannot be started.
    """
    refuse_second(plan)
    write_plan(plan)
    return control.start(plan.files, ["race", "--worker", plan.race_id])


def refuse_second(plan: RacePlan) -> None:
    """Raise UserError while another race runs: two of them would only take turns, and both would look slow."""
    active = active_race()
    if active is not None and active.race_id != plan.race_id:
        raise UserError(
            f"The race {active.race_id} ({active.title}) is running; wait for it, or stop it first: "
            f"python -m lib race --stop {active.race_id}"
        )


def stop(plan: RacePlan) -> SeriesState:
    """Ask a race to stop: rungs that are done stay, the one at work keeps its checkpoint."""
    return control.stop(plan.files, timeout_s=STOP_TIMEOUT_S)


def stop_and_wait(plan: RacePlan) -> SeriesState:
    """As `stop`, and wait until its process is gone."""
    return control.stop_and_wait(plan.files, timeout_s=STOP_TIMEOUT_S)
