"""`train`: in this process, or as a detached job."""

import dataclasses
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lib.cli import INTERRUPTED_STATUS
from lib.cli.output import ProgressLine, json_option, note, print_facts, print_json
from lib.distributed import is_launched
from lib.errors import UserError
from lib.settings import DEFAULT_BACKBONE, DEFAULT_DATASET

Function = TypeVar("Function", bound=Callable[..., Any])

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.progress import Progress
    from lib.recipes import RecipePlan
    from lib.tracking.writer import RunWriter
    from lib.training.config import TrainConfig


_TRAINING_OPTIONS = (
    click.option("--dataset", help="A data set of the library, or a folder with one sub-folder of images per class."),
    click.option("--backbone", help=f"The pretrained network (default: {DEFAULT_BACKBONE})."),
    click.option("--strategy", default="linear_probe", show_default=True, help="How much of the network learns."),
    click.option(
        "--weights",
        default="pretrained",
        show_default=True,
        metavar="[pretrained|random]",
        help="Where the network starts.",
    ),
    click.option("--epochs", type=int, help="Passes over the training images (default: the strategy's)."),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of the training."),
    click.option("--split-seed", type=int, default=0, show_default=True, help="Seed of the train, val, test split."),
    click.option("--folds", "num_folds", type=int, help="Cross-validation with that many folds."),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting; may be repeated."),
    click.option(
        "--time-budget",
        "time_budget_s",
        type=float,
        metavar="SECONDS",
        help="As many epochs as fit into that time, from measured steps; --epochs is then the most.",
    ),
)


def training_options(function: Function) -> Function:
    """The options that describe a training, for every command that takes one."""
    for option in reversed(_TRAINING_OPTIONS):
        function = option(function)
    return function


@click.command()
@training_options
@click.option("--recipe", help="A published experiment (`recipes list`); other options given here come on top of it.")
@click.option("--seeds", "num_seeds", type=int, help="Train so many times, with the seeds 0, 1, ...; the split stays.")
@click.option("--dry-run", is_flag=True, help="Train nothing: say what it would take, from a few measured steps.")
@click.option("--detach", is_flag=True, help="Start in the background and return at once.")
@click.option("--run", "run_id", hidden=True, help="Work on this queued run: what a worker process is told.")
@json_option
@click.pass_context
def train(
    ctx: click.Context,
    *,
    run_id: str | None,
    recipe: str | None,
    num_seeds: int | None,
    dry_run: bool,
    detach: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Train a classifier on a data set, and evaluate it on the test images.

    Ctrl-C stops it; `runs resume` goes on from the last checkpoint. Under torchrun all its processes train together.
    """
    if run_id:
        from lib.jobs import run_worker

        run_worker(run_id)
        # All is written by now. To unload torch and MLflow would take a second or two more, in which a stopped training
        # still seems to be at work.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    make_config = partial(_recipe_config, recipe, **_given(ctx, options)) if recipe else partial(config_from, **options)
    if is_launched():
        if detach:
            raise UserError("--detach and torchrun exclude each other; leave one of them out.")
        from lib.cli.ranks import train_launched

        return train_launched(make_config, as_json=as_json)
    config = make_config()
    if dry_run:
        from lib.cli.rehearsal import report_estimate

        return report_estimate(config, as_json=as_json)
    if num_seeds is not None:
        from lib.cli.repeats import start_repeats

        return start_repeats(config, num_seeds, is_detached=detach, as_json=as_json)
    if detach:
        from lib import jobs

        return _report_detached(jobs.start(config), as_json=as_json)
    from lib.jobs import prepare

    return work_here(prepare(config), as_json=as_json)


def work_here(run: "RunWriter", *, as_json: bool) -> int:
    """Do a prepared run in this process, with progress on standard error; returns the exit status."""
    summary = watched_work(run)
    report_outcome(run.run_id, summary, as_json=as_json)
    return INTERRUPTED_STATUS if summary is None else 0


def watched_work(run: "RunWriter") -> dict[str, Any] | None:
    """Do a prepared run in this process, with progress on standard error; its summary, None if it was stopped."""
    from lib.jobs import work

    short = run.run_id[:8]
    note(f"Run {short}: {run.name}")
    with ProgressLine() as progress:
        summary = work(
            run,
            listener=progress.listen,
            on_wait=lambda ahead: note(f"Waiting for the device: {ahead} {'run' if ahead == 1 else 'runs'} in front."),
        )
    if summary is None:
        note(f"Stopped. Resume with: python -m lib runs resume {short}")
    return summary


def report_outcome(run_id: str, summary: dict[str, Any] | None, *, as_json: bool) -> None:
    """Print how a run in this process ended: its summary, None if it was stopped."""
    if summary is not None and not as_json:
        _print_summary(summary)
    elif as_json:
        print_json(summary or {"run_id": run_id, "state": "stopped"})


def _report_detached(run_id: str, *, as_json: bool) -> int:
    short = run_id[:8]
    if as_json:
        print_json({"run_id": run_id, "state": "queued"})
    else:
        click.echo(f"Started {run_id}. Watch it with: python -m lib runs show {short}; stop it with: runs stop {short}")
    return 0


def _given(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options that were typed, not those that only have a default."""
    typed = click.core.ParameterSource.COMMANDLINE
    return {name: value for name, value in options.items() if ctx.get_parameter_source(name) == typed}


def _recipe_config(
    recipe: str,
    *,
    dataset: str | None = None,
    backbone: str | None = None,
    settings: tuple[str, ...] = (),
    **given: Any,
) -> "TrainConfig":
    """The training of a recipe with what was typed on top."""
    from lib.recipes import RECIPES, plan_recipe

    RECIPES.get(recipe)
    if dataset:
        _check_source(dataset)
    with ProgressLine() as progress:
        name = _open(dataset or DEFAULT_DATASET, progress).name
    plan = plan_recipe(recipe, dataset=name if dataset else None, backbone=backbone, changes=given)
    for sentence in plan.notes:
        note(sentence)
    return _with_head(plan).config.with_settings(settings)


def _with_head(plan: "RecipePlan") -> "RecipePlan":
    """The plan with the head of the recipe that it goes on from; raises UserError if that one has not been run."""
    from lib.recipe_runs import finished_run, from_head, parent_plan

    parent = parent_plan(plan)
    if parent is None:
        return plan
    found = finished_run(parent)
    if found is None:
        raise UserError(
            f"The recipe {plan.recipe.name} starts from the head of {parent.recipe.name}, which has not been run on "
            f"{plan.config.dataset!r}; `python -m lib recipes run {plan.recipe.name}` runs both."
        )
    return from_head(plan, found.run_id)


def config_from(
    *, dataset: str | None, backbone: str | None, settings: tuple[str, ...], **options: Any
) -> "TrainConfig":
    """Check everything that costs little first, so that a slip of the pen is known before the images are read."""
    from lib.models.backbones import BACKBONES
    from lib.models.weights import require_weights
    from lib.training.config import TrainConfig
    from lib.training.strategies import STRATEGIES

    if not dataset:
        raise UserError(
            "Missing --dataset: give a folder with one sub-folder of images per class, or a name from "
            "`python -m lib datasets list`."
        )
    config = TrainConfig(dataset=dataset, backbone=backbone or DEFAULT_BACKBONE, **options).with_settings(settings)
    strategy, spec = STRATEGIES.get(config.strategy), BACKBONES.get(config.backbone)
    if backbone and strategy.backbone not in ("", spec.name):
        note(f"{strategy.title}: no network is used, so --backbone {spec.name} changes nothing.")
    _check_source(config.dataset)
    start = config.weights if strategy.uses_pretrained else "random"
    if start == "pretrained":
        require_weights(spec.name)
    with ProgressLine() as progress:
        name = _open(config.dataset, progress).name
    return dataclasses.replace(config, dataset=name, weights=start)


def _check_source(dataset: str) -> None:
    """Look at a folder's listing, which takes a moment where the import takes minutes."""
    from lib.data.library import estimate_import

    if os.sep in dataset or Path(dataset).is_dir():
        estimate_import(dataset)


def _open(dataset: str, progress: "Progress") -> "Dataset":
    from lib.data.library import ensure_default_dataset, resolve_dataset

    return (
        ensure_default_dataset(progress) if dataset == DEFAULT_DATASET else resolve_dataset(dataset, progress=progress)
    )


def _print_summary(summary: dict[str, Any]) -> None:
    low, high = summary.get("test_accuracy_low"), summary.get("test_accuracy_high")
    accuracy = summary.get("test_accuracy")
    if accuracy is not None:
        interval = f" (95 % interval {low:.3f} to {high:.3f})" if low is not None and high is not None else ""
        click.echo(f"Test accuracy {accuracy:.3f}{interval} on {summary.get('num_test')} images")
    print_facts(summary)
