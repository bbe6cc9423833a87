"""Runs recipes in this process, one after the other; what is finished already is not done again."""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib import jobs
from lib.data.library import ensure_default_dataset, open_dataset
from lib.data.protocol import DataProtocol
from lib.errors import UserError
from lib.experiment import resolve_config
from lib.progress import Progress, ignore_progress
from lib.recipes import RecipePlan, plan_recipe
from lib.settings import DEFAULT_DATASET
from lib.tracking import RunWriter, list_runs
from lib.training.config import TrainConfig

if TYPE_CHECKING:
    from lib.tracking import RunRecord

BUDGET_TAG = "recipe_budget"
NOTES_TAG = "recipe_notes"
# A head fits only what reads the same features, and may not have seen what is tested later.
_SHARED = ("input_size_px", "split_seed", "seed", "target_map")
# Does one prepared run in this process and returns its summary; None if it was stopped.
Work = Callable[[RunWriter], dict[str, Any] | None]


@dataclass(frozen=True)
class RecipeResult:
    """What came of a recipe: the summary of its run, or the sentence that says why there is none."""

    plan: RecipePlan
    summary: dict[str, Any] | None
    was_finished: bool = False
    problem: str = ""


def parent_plan(plan: RecipePlan) -> RecipePlan | None:
    """The training whose head a recipe starts from, on the same images and split; None where it starts by itself."""
    if not plan.recipe.follows:
        return None
    config = plan.config
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(DataProtocol)}
    shared |= {name: getattr(config, name) for name in _SHARED}
    return plan_recipe(
        plan.recipe.follows, dataset=config.dataset, backbone=config.backbone, budget=plan.budget, changes=shared
    )


def from_head(plan: RecipePlan, run_id: str) -> RecipePlan:
    """The plan of a recipe that starts from the head of a finished run."""
    return dataclasses.replace(plan, config=dataclasses.replace(plan.config, head_from=run_id))


def prepare_recipe(plan: RecipePlan) -> RunWriter:
    """Put the run of a planned recipe into the queue, with its budget and notes as tags."""
    return jobs.prepare(plan.config, name=plan.name, tags={BUDGET_TAG: plan.budget, NOTES_TAG: " ".join(plan.notes)})


def finished_run(plan: RecipePlan, runs: "Iterable[RunRecord] | None" = None) -> "RunRecord | None":
    """The newest finished run of exactly this training on this version of the data set; among all runs by default."""
    wanted = resolve_config(plan.config, open_dataset(plan.config.dataset))
    known = list_runs() if runs is None else runs
    return next((run for run in known if run.state == "finished" and _is_of(run.config, wanted)), None)


def active_run(plan: RecipePlan) -> str | None:
    """The id of a run of exactly this training that is at work or queued; None if there is none."""
    wanted = resolve_config(plan.config, open_dataset(plan.config.dataset))
    active = [run.run_id for run in jobs.active_runs() if run.state != "stopping"]
    return next((run_id for run_id in active if _is_of(RunWriter(run_id).config, wanted)), None)


def _is_of(config: dict[str, Any], wanted: TrainConfig) -> bool:
    """Whether a run's config is that training; settings that are younger than the run have their defaults."""
    if config.get("recipe") != wanted.recipe:
        return False
    try:
        return dataclasses.replace(TrainConfig.from_dict(config), engine=wanted.engine) == wanted
    except (TypeError, UserError):  # a run of a newer program, or of settings that are not allowed any more
        return False


def run_plan(plan: RecipePlan, work: Work, *, is_again: bool = False) -> RecipeResult:
    """Run one recipe, or take over the finished run of it; raises UserError if it fails.

    Where it starts from the head of another recipe, that one is run first, unless it is finished.
    """
    parent = parent_plan(plan)
    if parent is not None:
        before = run_plan(parent, work)
        if before.summary is None:
            return RecipeResult(plan, None)
        plan = from_head(plan, str(before.summary["run_id"]))
    found = None if is_again else finished_run(plan)
    if found is not None:
        return RecipeResult(plan, {"run_id": found.run_id, **found.summary}, was_finished=True)
    return RecipeResult(plan, work(prepare_recipe(plan)))


def run_plans(
    plans: Iterable[Callable[[], RecipePlan]], work: Work, *, is_again: bool = False
) -> Iterable[RecipeResult | UserError]:
    """Run one recipe after the other; one that fails does not keep the others back. Ends where one was stopped.

    Plans are made when their turn comes, since a recipe may go on from the run of an earlier one.
    """
    for make in plans:
        try:
            plan = make()
        except UserError as error:
            yield error
            continue
        try:
            result = run_plan(plan, work, is_again=is_again)
        except UserError as error:
            result = RecipeResult(plan, None, problem=str(error))
        yield result
        if result.summary is None and not result.problem:
            return


def ensure_data(dataset: str | None, progress: Progress = ignore_progress) -> None:
    """Make the generated data set where it is absent and no other was asked for."""
    if dataset in (None, DEFAULT_DATASET):
        ensure_default_dataset(progress)
