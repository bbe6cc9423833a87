"""`seeds list | show | stop | resume`: groups of runs that differ by their seed alone; `train --seeds` makes them."""

from typing import TYPE_CHECKING

import click

from lib.cli import INTERRUPTED_STATUS
from lib.cli.output import ProgressLine, json_option, note, note_split_caveat, print_json, print_table

if TYPE_CHECKING:
    from lib.sweeps.plan import SweepState
    from lib.sweeps.seeds import SeedSweep
    from lib.training.config import TrainConfig


@click.group()
def seeds() -> None:
    """Trainings that were repeated with several seeds. GROUP is an id, the start of one, or "latest"."""


@seeds.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List groups, newest first."""
    from lib.sweeps.seeds import SeedSweep

    rows = [(plan, plan.read()) for plan in SeedSweep.newest_first()]
    if as_json:
        print_json({"groups": [{"group_id": plan.group_id, "state": state.state} for plan, state in rows]})
        return
    table = [(plan.group_id, state.state, plan.num_seeds, plan.config.get("strategy"), plan.config.get("dataset"))
             for plan, state in rows]  # fmt: skip
    print_table(table, ("group", "state", "seeds", "strategy", "data set"))


@seeds.command()
@click.argument("group")
@json_option
def show(group: str, as_json: bool) -> int:
    """Show a group: mean and standard deviation over its seeds, and each of them."""
    from lib.sweeps.seeds import SeedSweep

    plan = SeedSweep.find(group)
    return report(plan, plan.read(), as_json=as_json)


@seeds.command()
@click.argument("group")
@json_option
def stop(group: str, as_json: bool) -> int:
    """Stop a group that runs in the background."""
    from lib.sweeps.seeds import SeedSweep

    plan = SeedSweep.find(group)
    return report(plan, plan.stop_and_wait(), as_json=as_json)


@seeds.command()
@click.argument("group")
@click.option("--detach", is_flag=True, help="Go on in the background and return at once.")
@json_option
def resume(group: str, detach: bool, as_json: bool) -> int:
    """Go on with a group that was broken off."""
    from lib.sweeps.seeds import SeedSweep

    return _go(SeedSweep.find(group), is_detached=detach, as_json=as_json)


@seeds.command(hidden=True)
@click.argument("group")
def work(group: str) -> int:
    """The whole life of a detached worker."""
    from lib.jobs.processes import lower_priority
    from lib.sweeps.seeds import SeedSweep

    lower_priority()
    return 0 if SeedSweep.find(group).run().state == "finished" else INTERRUPTED_STATUS


def start_repeats(config: "TrainConfig", num_seeds: int, *, is_detached: bool, as_json: bool) -> int:
    """Train with the seeds 0 ... num_seeds - 1, here or in the background; returns the exit status."""
    from lib.sweeps.seeds import make_plan

    plan = make_plan(config, num_seeds)
    note(f"Group {plan.group_id}: {num_seeds} seeds")
    return _go(plan, is_detached=is_detached, as_json=as_json)


def _go(plan: "SeedSweep", *, is_detached: bool, as_json: bool) -> int:
    if is_detached:
        return report(plan, plan.start(), as_json=as_json)
    with ProgressLine() as progress:
        state = plan.run(progress=progress)
    return report(plan, state, as_json=as_json)


def report(plan: "SeedSweep", state: "SweepState", *, as_json: bool) -> int:
    """Print a group with what its seeds reached; returns the exit status."""
    found = plan.spreads()
    if as_json:
        metrics = {one.metric: {"mean": one.mean, "sd": one.deviation, "values": list(one.values)} for one in found}
        print_json({"group_id": plan.group_id, "state": state.state, "runs": list(state.runs.values()), **metrics})
    else:
        rows = [
            (one.metric, one.mean, one.deviation, " ".join(f"{value:.3f}" for value in one.values)) for one in found
        ]
        print_table(rows, ("metric", "mean", "sd", "each seed"))
        note_split_caveat(str(plan.config.get("dataset")))
        note(f"Group {plan.group_id} is {state.state}. {state.message}".strip())
    return INTERRUPTED_STATUS if state.state == "stopped" else 0
