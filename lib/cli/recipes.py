"""`recipes list | show | run`: the published experiments."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from lib import recipes as recipe_table
from lib.cli import INTERRUPTED_STATUS
from lib.cli.output import ProgressLine, json_option, note, print_facts, print_json, print_table
from lib.cli.training_config import note_merged_classes
from lib.data.builtin import ensure_default_dataset
from lib.data.importing import resolve_dataset
from lib.errors import UserError
from lib.recipes import RECIPES, RecipePlan, RecipeSpec, plan_recipe, published_results
from lib.settings import DEFAULT_DATASET
from lib.tracking.state import read_summary, run_folder

if TYPE_CHECKING:
    from lib.sweeps.plan import SweepState

ALL = "all"


@click.group()
def recipes() -> None:
    """List, show and run the published experiments."""


@recipes.command("list")
@click.option("--write-published", is_flag=True, hidden=True, help="Write assets/published_results.json afresh.")
@json_option
def list_recipes(write_published: bool, as_json: bool) -> None:
    """List the recipes with their published figures."""
    if write_published:
        recipe_table.write_published()
    if as_json:
        print_json({"recipes": published_results()["results"]})
        return
    rows = [
        (one.name, one.title, one.published.accuracy, one.published.quadratic_weighted_kappa, one.study.line)
        for one in RECIPES
    ]
    print_table(rows, ("recipe", "what it is", "accuracy", "kappa", "published in"))


@recipes.command()
@click.argument("name")
@click.option("--dataset", help="A data set of the library (default: one that shows what the study shows).")
@click.option("--budget", default="full", show_default=True, help="full, small or tiny.")
@json_option
def show(name: str, dataset: str | None, budget: str, as_json: bool) -> None:
    """Show protocol, settings, published figures and deviations of a recipe."""
    recipe = RECIPES.get(name)
    try:
        plan = plan_recipe(name, dataset=dataset, budget=budget)
    except UserError:
        if dataset:
            raise
        plan = None  # no data set in the library yet: the recipe itself can be shown
    if as_json:
        print_json(_described(recipe, plan))
        return
    print_facts(
        {
            "recipe": recipe.name,
            "title": recipe.title,
            "study": f"{recipe.study.title} ({recipe.study.line}; {recipe.study.framework})",
            "protocol": recipe.protocol,
            "bring its data": recipe.subject.bring or None,
            "of these data": recipe.subject.bring_note or None,
            "published accuracy": recipe.published.accuracy,
            "published kappa": recipe.published.quadratic_weighted_kappa,
            "leaderboard place": recipe.published.leaderboard_places or None,
            "goes on from": recipe.follows or None,
        }
    )
    click.echo("settings")
    for key, value in recipe.settings.items():
        click.echo(f"  {key} = {value}")
    _print_lines("not as published", recipe.deviations)
    if plan is not None:
        _print_lines("on this machine", plan.notes)
        click.echo(plan.config.to_command())


@recipes.command("run")
@click.argument("name", metavar="NAME|all")
@click.option("--dataset", help="A data set of the library, or a folder with one sub-folder of images per class.")
@click.option("--budget", default="full", show_default=True, help="full, small (two minutes on two cores) or tiny.")
@click.option("--backbone", help="Another network than the published one.")
@click.option("--seed", type=int, help="Seed of the training.")
@click.option("--folds", "num_folds", type=int, help="Cross-validation with that many folds.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Any other setting; may be repeated.")
@click.option("--again", is_flag=True, help="Also what is finished already.")
@json_option
def run_recipes(name: str, dataset: str | None, again: bool, as_json: bool, **options: Any) -> int:
    """Run a recipe, or all of them, beside the published figures.

    Finished ones are not run again; what was broken off goes on where it was.
    """
    from lib.sweeps.plan import run_state
    from lib.sweeps.recipes import sweep_of
    from lib.sweeps.runner import run_sweep

    names, dataset = RECIPES.names if name == ALL else (RECIPES.get(name).name,), _open(dataset)
    plans = [_plan(one, dataset=dataset, **options) for one in names]
    sweep = sweep_of(plans, is_again=again)
    before = {key: run for key, run in sweep.runs_at_hand(sweep.read()).items() if run_state(run) == "finished"}
    try:
        with ProgressLine() as progress:
            state = run_sweep(sweep, progress=progress)
    except UserError as error:
        state = sweep.read()
        if name != ALL or state.state != "failed":
            raise
        note(str(error))
    _report([_result(plan, sweep.key_of(plan), state, before) for plan in plans], as_json=as_json)
    return INTERRUPTED_STATUS if state.state == "stopped" else int(bool(state.problems))


def _open(dataset: str | None) -> str | None:
    """The name of a data set, importing a folder first; None for none, with the generated one at hand then."""
    with ProgressLine() as progress:
        if dataset in (None, DEFAULT_DATASET):
            ensure_default_dataset(progress)
            return dataset
        return resolve_dataset(str(dataset), progress=progress).name


def _plan(
    name: str, *, settings: tuple[str, ...], seed: int | None, num_folds: int | None, **options: Any
) -> RecipePlan:

    changes = {key: value for key, value in (("seed", seed), ("num_folds", num_folds)) if value is not None}
    plan = plan_recipe(name, changes=changes, **options)
    plan = dataclasses.replace(plan, config=plan.config.with_settings(settings))
    note(f"\n{plan.name}")
    for sentence in plan.notes:
        note(f"  {sentence}")
    note_merged_classes(plan.config)
    return plan


def _report(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"recipes": found})
        return
    keys = ("recipe", "backbone", "test_accuracy", "published_accuracy", "test_baseline_accuracy",
            "test_quadratic_weighted_kappa", "published_quadratic_weighted_kappa", "seconds_total")  # fmt: skip
    rows = [(*map(one.get, keys), one["problem"] or one["state"]) for one in found]
    print_table(
        rows, ("recipe", "backbone", "accuracy", "published", "commonest", "kappa", "published", "seconds", "state")
    )
    for caveat in dict.fromkeys(one["split_caveat"] for one in found):
        if caveat:
            note(caveat)
    notes = list(dict.fromkeys(sentence for one in found for sentence in one["notes"]))
    _print_lines("The published figures were measured on other data where a line here says so:", notes)


def _result(plan: RecipePlan, key: str, state: "SweepState", before: Mapping[str, str]) -> dict[str, Any]:
    """How the training of a recipe stands; `before` names the runs that were finished when the sweep began."""
    from lib.sweeps.plan import run_state
    from lib.tracking.scores import beside_metrics

    run_id, problem, published = state.runs.get(key), state.problems.get(key, ""), plan.recipe.published
    summary = read_summary(folder) if run_id and (folder := run_folder(run_id)) else {}
    if summary:
        summary = {**beside_metrics(folder, summary), **summary}
    kept = ("headline", "test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_baseline_accuracy",
            "baseline_class", "test_quadratic_weighted_kappa", "test_referable_auroc",
            "num_train", "num_test", "seconds_total", "split_caveat")  # fmt: skip
    return {
        "recipe": plan.recipe.name,
        "name": plan.name,
        "budget": plan.budget,
        "dataset": plan.config.dataset,
        "backbone": plan.config.backbone,
        "run_id": run_id,
        "state": "failed" if problem else "finished before" if key in before else run_state(run_id) or "waiting",
        "problem": problem,
        "published_accuracy": published.accuracy,
        "published_quadratic_weighted_kappa": published.quadratic_weighted_kappa,
        "notes": list(plan.notes),
        **{key: summary.get(key) for key in kept},
    }


def _described(recipe: RecipeSpec, plan: RecipePlan | None) -> dict[str, Any]:
    entry = next(entry for entry in published_results()["results"] if entry["recipe"] == recipe.name)
    return {
        **entry,
        "protocol": recipe.protocol,
        "settings": dict(recipe.settings),
        "deviations": list(recipe.deviations),
        "follows": recipe.follows,
        "notes": list(plan.notes) if plan else [],
        "config": plan.config.to_dict() if plan else None,
    }


def _print_lines(heading: str, lines: "tuple[str, ...] | list[str]") -> None:
    if lines:
        click.echo(heading)
        for line in lines:
            click.echo(f"  {line}")
