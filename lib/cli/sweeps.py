"""`race`, `seeds` and `sizes`: sweeps of trainings, here or in the background, stopped or taken up again."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lib.cli import INTERRUPTED_STATUS
from lib.cli.output import ProgressLine, json_option, note, note_split_caveat, print_json, print_table
from lib.cli.storage import backbone_or_default
from lib.errors import UserError
from lib.jobs.processes import lower_priority
from lib.settings import DEFAULT_BACKBONE, DEFAULT_DATASET

if TYPE_CHECKING:
    from lib.sweeps.plan import SweepPlan, SweepState
    from lib.sweeps.seeds import SeedSweep
    from lib.sweeps.sizes import SizeSweep
    from lib.sweeps.strategies import StrategySweep
    from lib.training.config import TrainConfig


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
        return _work(StrategySweep.find(worker))
    if stop:
        plan = StrategySweep.find(stop)
        return _report_race(plan, plan.stop_and_wait(), as_json=as_json)
    plan = StrategySweep.find(resume) if resume else _race_plan(**settings)
    if not detach:
        plan.refuse_second()
        plan.write()
        note(f"Race {plan.race_id}: {plan.title}, {', '.join(plan.rungs)}")
    return _go(plan, _report_race, is_detached=detach, as_json=as_json)


def _race_plan(*, dataset: str | None, backbone: str | None, rungs: str | None, **settings: Any) -> "StrategySweep":
    from lib.data.builtin import ensure_default_dataset
    from lib.sweeps.strategies import make_plan

    if not dataset or dataset == DEFAULT_DATASET:
        with ProgressLine() as progress:
            dataset = ensure_default_dataset(progress).name
    names = tuple(name.strip() for name in (rungs or "").split(",") if name.strip())
    return make_plan(dataset=dataset, backbone=backbone_or_default(backbone), rungs=names, **settings)


def _report_race(plan: "StrategySweep", state: "SweepState", *, as_json: bool) -> int:
    from lib.sweeps.results import arm_results, leader

    results = arm_results(plan, state)
    rows = [result.row() for result in results]
    if as_json:
        facts = {"race_id": plan.race_id, "state": state.state, "dataset": plan.dataset, "backbone": plan.backbone}
        print_json({**facts, "seconds_total": state.seconds_total, "rungs": rows})
    else:
        shown = ("strategy", "state", "test_quadratic_weighted_kappa", "test_accuracy", "test_baseline_accuracy",
                 "seconds_total", "num_trained_parameters")  # fmt: skip
        headings = ("strategy", "state", "kappa", "accuracy", "commonest class", "seconds", "trained parameters")
        print_table([[row[key] for key in shown] for row in rows], headings)
        if first := leader(results):
            click.echo(f"Best: {first.title}, {first.score.words if first.score else ''}.")
        note_split_caveat(plan.dataset)
        note(state.message or f"Race {plan.race_id}: {state.state} ({state.seconds_total:.0f} s).")
    return _status(state)


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
    plan = _group(group)
    return _report_group(plan, plan.read(), as_json=as_json)


@seeds.command()
@click.argument("group")
@json_option
def stop(group: str, as_json: bool) -> int:
    """Stop a group that runs in the background."""
    plan = _group(group)
    return _report_group(plan, plan.stop_and_wait(), as_json=as_json)


@seeds.command()
@click.argument("group")
@click.option("--detach", is_flag=True, help="Go on in the background and return at once.")
@json_option
def resume(group: str, detach: bool, as_json: bool) -> int:
    """Go on with a group that was broken off."""
    return _go(_group(group), _report_group, is_detached=detach, as_json=as_json)


@seeds.command(hidden=True)
@click.argument("group")
def work(group: str) -> int:
    """The whole life of a detached worker."""
    return _work(_group(group))


def start_seeds(config: "TrainConfig", num_seeds: int, *, is_detached: bool, as_json: bool) -> int:
    """Train with the seeds 0 ... num_seeds - 1, here or in the background; returns the exit status."""
    from lib.sweeps.seeds import make_plan

    plan = make_plan(config, num_seeds)
    note(f"Group {plan.group_id}: {num_seeds} seeds")
    return _go(plan, _report_group, is_detached=is_detached, as_json=as_json)


def _group(group_id: str) -> "SeedSweep":
    from lib.sweeps.seeds import SeedSweep

    return SeedSweep.find(group_id)


def _report_group(plan: "SeedSweep", state: "SweepState", *, as_json: bool) -> int:
    found = plan.spreads()
    if as_json:
        metrics = {one.metric: {"mean": one.mean, "sd": one.deviation, "values": list(one.values)} for one in found}
        print_json({"group_id": plan.group_id, "state": state.state, "runs": list(state.runs.values()), **metrics})
    else:
        values = [" ".join(f"{value:.3f}" for value in one.values) for one in found]
        rows = [(one.metric, one.mean, one.deviation, each) for one, each in zip(found, values, strict=True)]
        print_table(rows, ("metric", "mean", "sd", "each seed"))
        note_split_caveat(str(plan.config.get("dataset")))
        note(f"Group {plan.group_id} is {state.state}. {state.message}".strip())
    return _status(state)


@click.group()
def sizes() -> None:
    """Trainings that were repeated with fewer images to learn from. SERIES is an id, the start of one, or "latest"."""


@sizes.command("start")
@click.argument("run_id", metavar="RUN")
@click.option(
    "--shares", default="0.1,0.3,1", show_default=True, metavar="A,B,...", help="Of the images to learn from."
)
@click.option("--detach", is_flag=True, help="Start in the background and return at once.")
@json_option
def start_sizes(run_id: str, shares: str, detach: bool, as_json: bool) -> int:
    """Train as RUN was, with several numbers of training images; the test images stay, RUN itself is not repeated."""
    from lib.sweeps.sizes import series_of_run

    try:
        asked = [float(share) for share in shares.split(",") if share.strip()]
    except ValueError:
        raise UserError(f"--shares needs numbers joined by commas, such as 0.1,0.3,1; received {shares!r}.") from None
    plan = series_of_run(run_id, asked)
    note(f"Series {plan.series_id}: {', '.join(entry.key for entry in plan.entries)}")
    return _go(plan, _report_sizes, is_detached=detach, as_json=as_json)


@sizes.command("list")
@json_option
def list_sizes(as_json: bool) -> None:
    """List series, newest first."""
    from lib.sweeps.sizes import SizeSweep

    rows = [(plan, plan.read()) for plan in SizeSweep.newest_first()]
    if as_json:
        print_json({"series": [{"series_id": plan.series_id, "state": state.state} for plan, state in rows]})
        return
    table = [(plan.series_id, state.state, ", ".join(entry.key for entry in plan.entries), plan.config.get("strategy"),
              plan.config.get("dataset")) for plan, state in rows]  # fmt: skip
    print_table(table, ("series", "state", "sizes", "strategy", "data set"))


@sizes.command("show")
@click.argument("series")
@json_option
def show_sizes(series: str, as_json: bool) -> int:
    """Show a series: what each number of training images reached on the same test images."""
    plan = _series(series)
    return _report_sizes(plan, plan.read(), as_json=as_json)


@sizes.command("stop")
@click.argument("series")
@json_option
def stop_sizes(series: str, as_json: bool) -> int:
    """Stop a series that runs in the background."""
    plan = _series(series)
    return _report_sizes(plan, plan.stop_and_wait(), as_json=as_json)


@sizes.command("resume")
@click.argument("series")
@click.option("--detach", is_flag=True, help="Go on in the background and return at once.")
@json_option
def resume_sizes(series: str, detach: bool, as_json: bool) -> int:
    """Go on with a series that was broken off."""
    return _go(_series(series), _report_sizes, is_detached=detach, as_json=as_json)


@sizes.command("work", hidden=True)
@click.argument("series")
def work_sizes(series: str) -> int:
    """The whole life of a detached worker."""
    return _work(_series(series))


def _series(series_id: str) -> "SizeSweep":
    from lib.sweeps.sizes import SizeSweep

    return SizeSweep.find(series_id)


_OF_A_SIZE = ("test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_quadratic_weighted_kappa",
              "test_quadratic_weighted_kappa_low", "test_quadratic_weighted_kappa_high", "seconds_total")  # fmt: skip


def _report_sizes(plan: "SizeSweep", state: "SweepState", *, as_json: bool) -> int:
    found = plan.sizes()
    if as_json:
        rows = [{"share": one.share, "run_id": one.run_id, "num_train": one.num_train,
                 **{key: one.summary.get(key) for key in _OF_A_SIZE}} for one in found]  # fmt: skip
        print_json(
            {"series_id": plan.series_id, "state": state.state, "runs": list(state.runs.values()), "sizes": rows}
        )
    else:
        shown = [(f"{100 * one.share:g} %", one.num_train, *map(one.summary.get, _OF_A_SIZE)) for one in found]
        print_table(shown, ("share", "images", "accuracy", "low", "high", "kappa", "low", "high", "seconds"))
        note_split_caveat(str(plan.config.get("dataset")))
        note(f"Series {plan.series_id} is {state.state}. {state.message}".strip())
    return _status(state)


def _go(plan: "SweepPlan", report: Callable[..., int], *, is_detached: bool, as_json: bool) -> int:
    """Do what is missing of a sweep, here or in the background, and report how it stands."""
    if is_detached:
        return report(plan, plan.start(), as_json=as_json)
    from lib.sweeps.runner import run_sweep

    with ProgressLine() as progress:
        state = run_sweep(plan, progress=progress)
    return report(plan, state, as_json=as_json)


def _work(plan: "SweepPlan") -> int:
    """The whole life of a detached worker."""
    from lib.sweeps.runner import run_sweep

    lower_priority()
    return _status(run_sweep(plan))


def _status(state: "SweepState") -> int:
    return INTERRUPTED_STATUS if state.state == "stopped" else 0
