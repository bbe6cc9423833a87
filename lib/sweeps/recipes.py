"""Recipes, one after the other in one process; what is finished already, here or by hand, is not done again."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib import jobs
from lib.data.library import open_dataset
from lib.data.subset import DataProtocol
from lib.errors import UserError
from lib.recipes import RecipePlan, plan_recipe
from lib.sweeps.plan import Entry, SweepPlan, SweepState, run_state
from lib.sweeps.runner import is_training_of
from lib.tracking import RunWriter, list_runs
from lib.training.config import TrainConfig
from lib.training.resolution import resolve_config

if TYPE_CHECKING:
    from lib.tracking import RunRecord

BUDGET_TAG = "recipe_budget"
NOTES_TAG = "recipe_notes"
# A head fits only what reads the same features, and may not have seen what is tested later.
_SHARED = (*(field.name for field in dataclasses.fields(DataProtocol)),
           "input_size_px", "split_seed", "seed", "target_map")  # fmt: skip


@dataclass(frozen=True)
class RecipeSweep(SweepPlan):
    """Recipes, each after the one whose head it starts from; the same trainings are the same sweep, told by its id.

    It works in the process that asked for it, so nothing but its state is written down. With `is_again` what is
    finished is made again, unless such a sweep was broken off, which goes on.
    """

    folder = "recipes"
    noun, nouns = "list of recipes", "lists of recipes"
    kept = "What is done is kept; the same command goes on from there."
    ended = "It ended without a word (its process is gone)."
    busy = "Another process is running these recipes already."

    trainings: tuple[Entry, ...]
    is_again: bool = False

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The trainings, in order."""
        return self.trainings

    @property
    def plan_id(self) -> str:
        """A hash of what is trained."""
        content = [[entry.config.to_dict() for entry in self.trainings], self.is_again]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]

    def runs_at_hand(self, before: SweepState) -> dict[str, str]:
        """Finished runs of exactly these trainings, whoever made them, and those of its own that were broken off."""
        if self.is_again:
            return {} if before.state == "finished" else dict(before.runs)
        records, found = list_runs(), dict[str, str]()
        for entry in self.entries:
            finished = None
            with suppress(UserError):  # what does not fit the data fails in its turn
                finished = finished_run(entry.begun(found).config, records)
            run_id = finished.run_id if finished else before.runs.get(entry.key)
            if run_id and run_state(run_id):
                found[entry.key] = run_id
        return found

    def key_of(self, plan: RecipePlan) -> str:
        """The key of a recipe's training."""
        return next(entry.key for entry in self.trainings if entry.config == plan.config)


def sweep_of(plans: Iterable[RecipePlan], *, is_again: bool = False) -> RecipeSweep:
    """The sweep of recipes and, where they are not among them, of those whose heads they start from."""
    entries: dict[TrainConfig, Entry] = {}

    def add(plan: RecipePlan) -> str:
        if plan.config not in entries:
            parent = parent_plan(plan)
            follows = add(parent) if parent else ""
            key = plan.recipe.name
            if any(entry.key == key for entry in entries.values()):
                key = f"{key} {len(entries) + 1}"  # other images or another seed than those of its namesake
            tags = {BUDGET_TAG: plan.budget, NOTES_TAG: " ".join(plan.notes)}
            entries[plan.config] = Entry(
                key=key, title=plan.recipe.name, name=plan.name, config=plan.config, tags=tags, follows=follows
            )
        return entries[plan.config].key

    for plan in plans:
        add(plan)
    return RecipeSweep(tuple(entries.values()), is_again)


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


def finished_run(config: TrainConfig, runs: "Iterable[RunRecord] | None" = None) -> "RunRecord | None":
    """The newest finished run of exactly this training on this version of the data set; among all runs by default."""
    known = list_runs() if runs is None else runs
    finished = {run.run_id: run for run in known if run.state == "finished"}
    found = _first_of(config, ((run_id, run.config) for run_id, run in finished.items()))
    return finished[found] if found else None


def active_run(config: TrainConfig) -> str | None:
    """The id of a run of exactly this training that is at work or queued; None if there is none."""
    active = (run.run_id for run in jobs.active_runs() if run.state != "stopping")
    return _first_of(config, ((run_id, RunWriter(run_id).config) for run_id in active))


def _first_of(config: TrainConfig, stored: Iterable[tuple[str, dict[str, Any]]]) -> str | None:
    """The first run with exactly this training."""
    wanted = resolve_config(config, open_dataset(config.dataset))
    return next(
        (run_id for run_id, one in stored if one.get("recipe") == wanted.recipe and is_training_of(one, wanted)), None
    )
