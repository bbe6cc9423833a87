"""From a recipe to a training, for the data sets, weights and time at hand; titles of runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lib.data.library import descriptions, open_dataset
from lib.data.specs import DatasetSpec
from lib.data.target_map import TARGET_MAPS, parse_target_map
from lib.errors import UserError
from lib.models.backbones import BACKBONES
from lib.models.weights import default_backbone, fallback_sentence, weights_status
from lib.recipes.spec import RecipeSpec, Subject
from lib.recipes.table import RECIPES
from lib.settings import DEFAULT_DATASET
from lib.training.config import TrainConfig
from lib.training.strategies import STRATEGIES

BUDGETS = {
    "full": "as published",
    "small": "at most two minutes on two cores",
    "tiny": "eight images a class, one epoch: does it run?",
}
_TINY_PER_CLASS = 8
_TINY_VIEWS = 2


@dataclass(frozen=True)
class RecipePlan:
    """A recipe made ready: its training, the run's name, and what is not as published, in a sentence each."""

    recipe: RecipeSpec
    config: TrainConfig
    budget: str
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the run, which says what stands in for what."""
        return run_title(self.config, mark="" if self.budget == "full" else self.budget)


def plan_recipe(
    name: str,
    *,
    dataset: str | None = None,
    backbone: str | None = None,
    budget: str = "full",
    changes: Mapping[str, Any] | None = None,
) -> RecipePlan:
    """Turn a recipe into a training that can be started.

    Args:
        name: a name in `RECIPES`.
        dataset: a data set of the library; by default one that shows what the study shows, else the generated one.
        backbone: by default the published one, or the default one where its pretrained weights are not at hand.
        budget: a name in `BUDGETS`.
        changes: fields of TrainConfig to set on top.

    Raises:
        UserError: an unknown recipe, budget, backbone or data set, or settings that do not fit together.
    """
    recipe = RECIPES.get(name)
    if budget not in BUDGETS:
        raise UserError(f"Unknown budget {budget!r}. Choose one of: {', '.join(BUDGETS)}.")
    notes: list[str] = []
    dataset_name = dataset or _choose_dataset(recipe.subject)
    spec = open_dataset(dataset_name).spec
    chosen = backbone or (recipe.backbone if _is_at_hand(recipe) else default_backbone())
    if chosen != recipe.backbone:
        notes.append(_instead(recipe, chosen))
    settings = {**recipe.settings, "backbone": chosen, "recipe": recipe.name, "dataset": dataset_name}
    if chosen != recipe.backbone:
        settings |= {**recipe.elsewhere, **recipe.stages_on.get(chosen, {})}
    _fit_classes(settings, recipe.subject, spec, notes)
    settings |= _budget_settings(recipe, chosen, budget)
    settings |= dict(changes or {})
    return RecipePlan(recipe, TrainConfig(**settings), budget, tuple(notes))


def run_title(config: TrainConfig, *, mark: str = "") -> str:
    """Such as "Partial fine-tuning · Bundled VGG · cats_dogs · seed 3", or with the name of a recipe in front.

    `mark` tells it from others of its kind: "demo", "seed 3" or "race 1a2b".
    """
    backbone = BACKBONES.get(config.backbone).title
    first = STRATEGIES.get(config.strategy).title
    if config.recipe in RECIPES:
        recipe = RECIPES.get(config.recipe)
        first = recipe.name
        if config.backbone != recipe.backbone:
            backbone = f"{backbone} instead of {BACKBONES.get(recipe.backbone).title}"
    classes = config.target_map or ""
    if classes in TARGET_MAPS:
        classes = TARGET_MAPS.get(classes).title
    return " · ".join(part for part in (first, backbone, config.dataset, classes, mark) if part)


def fits_subject(subject: Subject, spec: DatasetSpec) -> bool:
    """Whether a data set shows what a study shows, by its name or its classes."""
    if any(word in spec.name.lower() for word in subject.words):
        return True
    classes = sorted(name.lower().strip().rstrip("s") for name in spec.class_names)
    return bool(subject.class_words) and classes == sorted(subject.class_words)


def _choose_dataset(subject: Subject) -> str:
    for description in descriptions():
        spec = DatasetSpec.from_dict(description["spec"])
        if fits_subject(subject, spec):
            return spec.name
    return DEFAULT_DATASET


def _is_at_hand(recipe: RecipeSpec) -> bool:
    """Whether the published backbone can start as published: from random weights, or from a file that is here."""
    needs_weights = STRATEGIES.get(str(recipe.settings["strategy"])).uses_pretrained
    return not needs_weights or weights_status(recipe.backbone).is_cached


def _instead(recipe: RecipeSpec, chosen: str) -> str:
    published, title = BACKBONES.get(recipe.backbone), BACKBONES.get(chosen).title
    if chosen == default_backbone() and not _is_at_hand(recipe):
        why = f"{title} instead of {published.title}, whose {published.weights_title} weights are not at hand."
        return f"{why} {fallback_sentence()}".rstrip()
    return f"{title} instead of {published.title}."


def _fit_classes(settings: dict[str, Any], subject: Subject, spec: DatasetSpec, notes: list[str]) -> None:
    """Say which data stand in, and merge or take classes where the data set has others than the study."""
    if not fits_subject(subject, spec):
        title = spec.title or spec.name
        is_stand_in = spec.name == DEFAULT_DATASET and bool(subject.stand_in_words)
        how = f", {subject.stand_in_words}" if is_stand_in else ""
        notes.append(f"Data: {title}{how}, instead of {subject.published_data}.")
        if is_stand_in:
            settings |= subject.stand_in
    merged = parse_target_map(settings["target_map"]).class_names if settings.get("target_map") else ()
    if len(merged) == spec.num_classes:
        settings["target_map"] = None  # as many classes as the study merged: they are taken as they are
        if [name.casefold() for name in merged] != [name.casefold() for name in spec.class_names]:
            notes.append(f"Classes: {', '.join(spec.class_names)}, in place of {', '.join(merged)}.")
    if settings.get("max_classes") and settings["max_classes"] >= spec.num_classes:
        settings["max_classes"] = None


def _budget_settings(recipe: RecipeSpec, backbone: str, budget: str) -> dict[str, Any]:
    if budget == "small":
        small = dict(recipe.small_on.get(backbone, recipe.small))
        epochs, patience = small.get("epochs"), recipe.settings.get("patience")
        return {**small, "patience": min(int(patience), int(epochs))} if epochs and patience else small
    if budget == "full":
        return {}
    tiny: dict[str, Any] = {
        "max_per_class": _TINY_PER_CLASS, "max_train_per_class": None, "max_test_per_class": None, "epochs": 1,
        "batch_size": 8, "input_size_px": max(32, BACKBONES.get(backbone).min_input_px),
    }  # fmt: skip
    if {**recipe.settings, **recipe.small}.get("num_views"):
        tiny["num_views"] = _TINY_VIEWS
    return tiny


def changed_settings(plan: RecipePlan, config: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Setting -> (as planned, as it is) where a training differs from its recipe's plan; seeds and data aside."""

    def in_effect(config: TrainConfig) -> dict[str, Any]:
        """The settings with the strategy's own value where they say nothing."""
        strategy = STRATEGIES.get(config.strategy)
        own = {
            "head": strategy.default_head,
            "epochs": strategy.default_epochs or None,
            "learning_rate": strategy.default_learning_rate or None,
            "unfreeze_from": BACKBONES.get(config.backbone).unfreeze_from,
        }
        return {name: own.get(name) if value is None else value for name, value in config.to_dict().items()}

    apart = ("dataset", "dataset_version", "seed", "device", "dtype", "pinned_images", "num_folds")
    planned, present = in_effect(plan.config), in_effect(config)
    return {name: (old, present[name]) for name, old in planned.items() if old != present[name] and name not in apart}
