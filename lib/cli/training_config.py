"""The options that describe a training, and the config that they make, alone or on top of a recipe."""

import dataclasses
import os
import pkgutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lib.cli.datasets import note_suggestions
from lib.cli.output import ProgressLine, note
from lib.cli.storage import backbone_or_default
from lib.data.builtin import ensure_default_dataset
from lib.data.dataset import Dataset
from lib.data.importing import check_folder, resolve_dataset
from lib.data.library import open_dataset
from lib.data.schema_suggestion import suggest_for_dataset
from lib.data.subset import apply_protocol
from lib.data.target_map import merged_words
from lib.distributed import ALONE, Ranks
from lib.errors import UserError
from lib.models.backbones import BACKBONES
from lib.models.weights import require_weights, weights_digest
from lib.progress import Progress
from lib.recipes import RECIPES, RecipePlan, plan_recipe
from lib.settings import DEFAULT_BACKBONE, DEFAULT_DATASET
from lib.training.config import TrainConfig
from lib.training.network import Compute, choose_compute
from lib.training.strategies import STRATEGIES

Function = TypeVar("Function", bound=Callable[..., Any])


class NameOption(click.Option):
    """An option that takes a name of a table; its help lists them."""

    def __init__(self, *declarations: Any, table: str, **options: Any) -> None:
        super().__init__(*declarations, **options)
        self.table = table

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The help with the names that the table holds now."""
        known = ", ".join(pkgutil.resolve_name(self.table).names)
        record = super().get_help_record(ctx)
        return record and (record[0], f"{record[1]} Known: {known}.")


_TRAINING_OPTIONS = (
    click.option("--dataset", help="A data set of the library, or a folder with one sub-folder of images per class."),
    click.option(
        "--backbone",
        cls=NameOption,
        table="lib.models.backbones:BACKBONES",
        help=f"The pretrained network (default: {DEFAULT_BACKBONE}).",
    ),
    click.option(
        "--strategy",
        cls=NameOption,
        table="lib.training.strategies:STRATEGIES",
        default="linear_probe",
        show_default=True,
        help="How much of the network learns.",
    ),
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


def given_options(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options that were typed, not those that only have a default."""
    typed = click.core.ParameterSource.COMMANDLINE
    return {name: value for name, value in options.items() if ctx.get_parameter_source(name) == typed}


def recipe_config(
    recipe: str,
    *,
    dataset: str | None = None,
    backbone: str | None = None,
    settings: tuple[str, ...] = (),
    **given: Any,
) -> TrainConfig:
    """The training of a recipe with what was typed on top."""
    RECIPES.get(recipe)
    if dataset:
        _check_source(dataset)
    with ProgressLine() as progress:
        name = _open(dataset or DEFAULT_DATASET, progress).name
    plan = plan_recipe(recipe, dataset=name if dataset else None, backbone=backbone, changes=given)
    for sentence in plan.notes:
        note(sentence)
    config = _with_head(plan).config.with_settings(settings)
    note_merged_classes(config)
    return config


def _with_head(plan: RecipePlan) -> RecipePlan:
    """The plan with the head of the recipe that it goes on from; raises UserError if that one has not been run."""
    from lib.sweeps.recipes import finished_run, from_head, parent_plan

    parent = parent_plan(plan)
    if parent is None:
        return plan
    found = finished_run(parent.config)
    if found is None:
        raise UserError(
            f"The recipe {plan.recipe.name} starts from the head of {parent.recipe.name}, which has not been run on "
            f"{plan.config.dataset!r}; `python -m lib recipes run {plan.recipe.name}` runs both."
        )
    return from_head(plan, found.run_id)


def config_from(*, dataset: str | None, backbone: str | None, settings: tuple[str, ...], **options: Any) -> TrainConfig:
    """Check everything that costs little first, so that a slip of the pen is known before the images are read."""
    if not dataset:
        raise UserError(
            "Missing --dataset: give a folder with one sub-folder of images per class, or a name from "
            "`python -m lib datasets list`."
        )
    config = TrainConfig(dataset=dataset, backbone=backbone_or_default(backbone), **options).with_settings(settings)
    strategy, spec = STRATEGIES.get(config.strategy), BACKBONES.get(config.backbone)
    if backbone and strategy.backbone not in ("", spec.name):
        note(f"{strategy.title}: no network is used, so --backbone {spec.name} changes nothing.")
    _check_source(config.dataset)
    start = config.weights if strategy.uses_pretrained else "random"
    if start == "pretrained":
        require_weights(spec.name)
        if spec.is_from_timm:
            weights_digest(spec.name, start)  # a damaged download is known before a run is begun
    started_s = time.time()
    with ProgressLine() as progress:
        opened = _open(config.dataset, progress)
    if opened.description.get("created_s", 0.0) >= started_s and opened.name != DEFAULT_DATASET:
        note_suggestions(opened, suggest_for_dataset(opened))
    config = dataclasses.replace(config, dataset=opened.name, weights=start)
    note_merged_classes(config)
    return config


def note_merged_classes(config: TrainConfig) -> None:
    """Say which class becomes which, before anything starts; raises UserError if the map is not for these classes."""
    if config.target_map:
        spec = open_dataset(config.dataset).spec
        note(merged_words(spec.class_names[: config.max_classes], config.target_map, is_ordinal=spec.is_ordinal))


def opened_training(config: TrainConfig, ranks: Ranks = ALONE) -> tuple[TrainConfig, Any, Compute]:
    """The resolved config, the images that take part, and where to compute."""
    from lib.experiment import resolve_start

    dataset = open_dataset(config.dataset)
    resolved = resolve_start(config, dataset)
    part = apply_protocol(dataset, resolved)
    with tempfile.TemporaryDirectory() as folder, ProgressLine() as progress:
        compute = choose_compute(
            resolved, Path(folder) / "compute.json", ranks, num_images=len(part.table), listener=progress.listen
        )
    return resolved, part, compute


def _check_source(dataset: str) -> None:
    """Look at a folder's listing, which takes a moment where the import takes minutes."""
    if os.sep in dataset or Path(dataset).is_dir():
        check_folder(dataset)


def _open(dataset: str, progress: Progress) -> Dataset:
    return (
        ensure_default_dataset(progress) if dataset == DEFAULT_DATASET else resolve_dataset(dataset, progress=progress)
    )
