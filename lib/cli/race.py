"""`race`: the ladder in this process, in the background, stopped or taken up again."""

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from lib.cli import INTERRUPTED_STATUS
from lib.cli.output import ProgressLine, json_option, note, note_split_caveat, print_json, print_table
from lib.cli.storage import backbone_or_default
from lib.errors import UserError
from lib.settings import DEFAULT_BACKBONE, DEFAULT_DATASET

if TYPE_CHECKING:
    from lib.sweeps.plan import SweepState
    from lib.sweeps.strategies import StrategySweep


@click.command()
@click.option("--dataset", help=f"A data set of the library (default: {DEFAULT_DATASET}).")
@click.option("--backbone", help=f"The pretrained network (default: {DEFAULT_BACKBONE}).")
@click.option("--rungs", metavar="A,B,...", help="Which strategies race, joined by commas (default: five of them).")
@click.option("--epochs", type=int, help="Passes over the training images of each rung that trains the network.")
@click.option("--batch-size", type=int, help="Images a step.")
@click.option("--input-size", "input_size_px", type=int, help="Side in pixels of the images that the networks see.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the trainings.")
@click.option("--split-seed", type=int, default=0, show_default=True, help="Seed of the train, val, test split.")
@click.option("--pin", "pinned_images", metavar="ID,ID,...", help="Images to watch (default: auto, one of each class).")
@click.option("--detach", is_flag=True, help="Start in the background and return at once.")
@click.option("--resume", metavar="RACE", help='Go on with a race that was broken off ("latest": the newest).')
@click.option("--stop", metavar="RACE", help="Stop a race that runs in the background.")
@click.option("--worker", metavar="RACE", hidden=True, help="What the train page starts: quietly and politely.")
@json_option
def race(
    *, resume: str | None, stop: str | None, worker: str | None, detach: bool, as_json: bool, **settings: Any
) -> int:
    """Race the ladder: every strategy from nearest neighbours to from scratch, on one split and seed.

    Ctrl-C stops it; `--resume latest` goes on from there.
    """
    from lib.sweeps.strategies import StrategySweep

    if worker:
        return _work(worker)
    if stop:
        plan = StrategySweep.find(stop)
        return _report(plan, plan.stop_and_wait(), as_json=as_json)
    plan = StrategySweep.find(resume) if resume else _plan(**settings)
    if detach:
        return _report(plan, plan.start(), as_json=as_json)
    return _race_here(plan, as_json=as_json)


def _plan(*, dataset: str | None, backbone: str | None, rungs: str | None, **settings: Any) -> "StrategySweep":
    from lib.data.builtin import ensure_default_dataset
    from lib.sweeps.strategies import make_plan

    if not dataset or dataset == DEFAULT_DATASET:
        with ProgressLine() as progress:
            dataset = ensure_default_dataset(progress).name
    names = tuple(name.strip() for name in (rungs or "").split(",") if name.strip())
    return make_plan(dataset=dataset, backbone=backbone_or_default(backbone), rungs=names, **settings)


def _race_here(plan: "StrategySweep", *, as_json: bool) -> int:
    plan.refuse_second()
    plan.write()
    note(f"Race {plan.race_id}: {plan.title}, {', '.join(plan.rungs)}")
    with ProgressLine() as progress:
        state = plan.run(progress=progress)
    return _report(plan, state, as_json=as_json)


def _work(race_id: str) -> int:
    """The whole life of a detached worker."""
    from lib.jobs.processes import lower_priority
    from lib.sweeps.strategies import StrategySweep

    lower_priority()
    status = 0
    try:
        StrategySweep.find(race_id).run()
    except UserError as error:
        note(str(error))
        status = 1
    # All is written by now; to unload torch and MLflow would take a second or two in which the race still seems to run.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _report(plan: "StrategySweep", state: "SweepState", *, as_json: bool) -> int:
    from lib.sweeps.results import arm_results, leader

    results = arm_results(plan, state)
    rows = [result.row() for result in results]
    if as_json:
        facts = {"race_id": plan.race_id, "state": state.state, "dataset": plan.dataset, "backbone": plan.backbone}
        print_json({**facts, "seconds_total": state.seconds_total, "rungs": rows})
    else:
        shown = ("strategy", "state", "test_quadratic_weighted_kappa", "test_accuracy", "test_baseline_accuracy",
                 "seconds_total", "num_trained_parameters")  # fmt: skip
        print_table(
            [[row[key] for key in shown] for row in rows],
            ["strategy", "state", "kappa", "accuracy", "commonest class", "seconds", "trained parameters"],
        )
        if first := leader(results):
            click.echo(f"Best: {first.title}, {first.score.words if first.score else ''}.")
        note_split_caveat(plan.dataset)
        note(state.message or f"Race {plan.race_id}: {state.state} ({state.seconds_total:.0f} s).")
    return INTERRUPTED_STATUS if state.state == "stopped" else 0
