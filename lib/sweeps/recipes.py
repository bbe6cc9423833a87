"""Recipes, one after the other in this process; what is finished already is not done again."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib import jobs
from lib.data.library import open_dataset
from lib.data.subset import DataProtocol
from lib.experiment import resolve_config
from lib.recipes import RecipePlan, plan_recipe
from lib.sweeps.runner import in_turn, is_training_of
from lib.tracking import RunWriter, list_runs

if TYPE_CHECKING:
    from lib.tracking import RunRecord

BUDGET_TAG = "recipe_budget"
NOTES_TAG = "recipe_notes"
# A head fits only what reads the same features, and may not have seen what is tested later.
_SHARED = (*(field.name for field in dataclasses.fields(DataProtocol)),
           "input_size_px", "split_seed", "seed", "target_map")  # fmt: skip
# Does one prepared run in this process and returns its summary; None if it was stopped.
Work = Callable[[RunWriter], dict[str, Any] | None]


@dataclass
class RecipeRun:
    """A recipe in its turn: its plan is made then, since it may go on from the run of an earlier one.

    `summary` is that of its run, None where it was stopped or there is a `problem`, the sentence that says why there is
    none; without a plan it could not even begin.
    """

    make: Callable[[], RecipePlan]
    plan: RecipePlan = field(init=False)
    was_finished: bool = False
    summary: dict[str, Any] | None = None
    problem: str = ""

    @property
    def is_planned(self) -> bool:
        """Whether it came so far that there is a plan."""
        return hasattr(self, "plan")

    def do(self, work: Work, *, is_again: bool) -> dict[str, Any] | None:
        """Run it, or take over the finished run of it; raises UserError if it fails.

        Where it starts from the head of another recipe, that one is run first, unless it is finished.
        """
        self.plan = plan = self.make()
        parent = parent_plan(plan)
        if parent is not None:
            before = RecipeRun(lambda: parent).do(work, is_again=False)
            if before is None:
                return None
            self.plan = plan = from_head(plan, str(before["run_id"]))
        found = None if is_again else finished_run(plan)
        if found is not None:
            self.was_finished = True
            return {"run_id": found.run_id, **found.summary}
        tags = {BUDGET_TAG: plan.budget, NOTES_TAG: " ".join(plan.notes)}
        return work(jobs.prepare(plan.config, name=plan.name, tags=tags))


def run_recipes(
    makers: Iterable[Callable[[], RecipePlan]], work: Work, *, is_again: bool = False
) -> Iterator[RecipeRun]:
    """Run one recipe after the other, as trainings of any sweep are."""
    runs = (RecipeRun(make) for make in makers)
    for run, summary, problem in in_turn(runs, lambda run: run.do(work, is_again=is_again)):
        run.summary, run.problem = summary, problem
        yield run


def parent_plan(plan: RecipePlan) -> RecipePlan | None:
    """The training whose head a recipe starts from, on the same images and split; None where it starts by itself."""
    if not plan.recipe.follows:
        return None
    config = plan.config
    shared = {name: getattr(config, name) for name in _SHARED}
    return plan_recipe(
        plan.recipe.follows, dataset=config.dataset, backbone=config.backbone, budget=plan.budget, changes=shared
    )


def from_head(plan: RecipePlan, run_id: str) -> RecipePlan:
    """The plan of a recipe that starts from the head of a finished run."""
    return dataclasses.replace(plan, config=dataclasses.replace(plan.config, head_from=run_id))


def finished_run(plan: RecipePlan, runs: "Iterable[RunRecord] | None" = None) -> "RunRecord | None":
    """The newest finished run of exactly this training on this version of the data set; among all runs by default."""
    known = list_runs() if runs is None else runs
    finished = {run.run_id: run for run in known if run.state == "finished"}
    found = _first_of(plan, ((run_id, run.config) for run_id, run in finished.items()))
    return finished[found] if found else None


def active_run(plan: RecipePlan) -> str | None:
    """The id of a run of exactly this training that is at work or queued; None if there is none."""
    active = (run.run_id for run in jobs.active_runs() if run.state != "stopping")
    return _first_of(plan, ((run_id, RunWriter(run_id).config) for run_id in active))


def _first_of(plan: RecipePlan, configs: Iterable[tuple[str, dict[str, Any]]]) -> str | None:
    """The first run with exactly the training of a plan."""
    wanted = resolve_config(plan.config, open_dataset(plan.config.dataset))
    return next(
        (
            run_id
            for run_id, config in configs
            if config.get("recipe") == wanted.recipe and is_training_of(config, wanted)
        ),
        None,
    )
