"""A published experiment as a preset of the training form: it fills the fields, and says what is not as published."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import streamlit as st

from lib import jobs
from lib.errors import UserError
from lib.recipe_runs import active_run, finished_run, from_head, parent_plan
from lib.recipes import RECIPES, RecipePlan, RecipeSpec, changed_settings, plan_recipe
from lib.training.config import TrainConfig
from lib.training.strategies import STRATEGIES, StrategySpec
from pages.common import resources, state
from pages.common.errors import show_errors
from pages.common.text import plain, plain_message
from pages.common.train_choice import DEFAULTS

NO_RECIPE = ""
BUDGET_TITLES = {"full": "As published", "small": "Two minutes"}
# Fields of the form whose key carries what they belong to: a strategy or a backbone has a default of its own.
_BY_STRATEGY = ("epochs", "learning_rate", "head")
_BY_BACKBONE = ("weights", "feature_stage", "unfreeze_from")
_CHOICES = ("output", "target_map", "class_weights", "optimizer", "loss", "batchnorm", "augmentation", "schedule")
_NUMBERS = (
    "batch_size", "weight_decay", "patience", "stage_rate_decay", "label_smoothing", "mixup", "num_views", "num_folds",
    "split_seed",
)  # fmt: skip
IN_FORM = (*_BY_STRATEGY, *_BY_BACKBONE, *_CHOICES, *_NUMBERS, "seed", "num_neighbors")
_NEVER = ("dataset", "backbone", "strategy", "dataset_version", "format_version", "device", "dtype", "pinned_images")


def draw_recipe(dataset: str, backbone: str, strategy: StrategySpec) -> RecipePlan | None:
    """Draw the picker and what the recipe says; returns its plan for what is chosen now, None without a recipe."""
    _let_go(strategy)
    with st.container(horizontal=True, vertical_alignment="bottom", key="train_recipe_row"):
        name = st.selectbox(
            "Recipe",
            [NO_RECIPE, *RECIPES.names],
            format_func=lambda name: "None: settings of your own" if not name else f"{name}: {RECIPES.get(name).title}",
            help="A published experiment. Choosing one fills the form; every field can still be changed.",
            key="train_recipe",
            width=440,
            on_change=_fill,
            args=(dataset,),
            persist_state="session",
        )
        if name:
            st.segmented_control(
                "Size", list(BUDGET_TITLES), default="full", required=True, format_func=BUDGET_TITLES.__getitem__,
                key="train_recipe_budget", on_change=_fill, args=(dataset,), persist_state="session",
                help="Two minutes: fewer images and epochs, sized for two processor cores.",
            )  # fmt: skip
            with st.popover("About this recipe", icon=":material/menu_book:", type="tertiary"):
                _describe(RECIPES.get(name))
    if not name:
        return None
    try:
        plan = plan_recipe(name, dataset=dataset, backbone=backbone, budget=_budget())
    except UserError as error:
        st.error(plain_message(error), icon=":material/error:")
        return None
    plan = _with_head(plan)
    _say(plan)
    return plan


def lacks_head(plan: RecipePlan | None) -> bool:
    """Whether the recipe starts from a head that nothing has learned yet."""
    return plan is not None and bool(plan.recipe.follows) and plan.config.head_from is None


def _with_head(plan: RecipePlan) -> RecipePlan:
    """The plan with the head of the recipe that it goes on from; offers to run that one where there is none."""
    try:
        parent = parent_plan(plan)
        found = finished_run(parent, resources.run_records()) if parent else None
    except UserError:
        return plan  # the settings do not fit the data; the form says so
    if found is not None:
        return from_head(plan, found.run_id)
    if parent is not None:
        name = parent.recipe.name
        with st.container(border=True, horizontal=True, vertical_alignment="center", key="train_recipe_parent"):
            st.markdown(f"This recipe starts from the head that {name} learns on the same images.", width="content")
            if st.button(f"Run {name} first", key="train_recipe_first"):
                with show_errors("start the training"):
                    state.remember("run", active_run(parent) or jobs.start(parent.config))
    return plan


def with_recipe(plan: RecipePlan | None, given: dict[str, Any]) -> dict[str, Any]:
    """The settings of the form, with those of the recipe that the form has no field for."""
    if plan is None:
        return given
    extras = {
        field.name: value
        for field in fields(TrainConfig)
        if field.name not in (*IN_FORM, *_NEVER) and (value := getattr(plan.config, field.name)) != field.default
    }
    return {**extras, **given}


def say_changes(plan: RecipePlan | None, config: TrainConfig | None) -> None:
    """One line about the fields that were changed after the recipe had filled them."""
    if plan is None or config is None:
        return
    changed = {name: pair for name, pair in changed_settings(plan, config).items() if name != "weights"}
    if changed:
        words = ", ".join(f"{_words(name)} {new} instead of {old}" for name, (old, new) in changed.items())
        st.caption(f":material/edit: Changed from the recipe: {plain(words, 400)}.")


def _let_go(strategy: StrategySpec) -> None:
    """Another strategy is another experiment: the fields stay as they are, the recipe's name does not."""
    name = st.session_state.get("train_recipe")
    if name in RECIPES and RECIPES.get(name).settings["strategy"] != strategy.name:
        st.session_state["train_recipe"] = NO_RECIPE


def _fill(dataset: str) -> None:
    """Write the recipe's settings into the form, before the page is drawn."""
    name = st.session_state.get("train_recipe")
    if not name:
        return
    try:
        config = plan_recipe(name, dataset=dataset, budget=_budget()).config
    except UserError:
        return  # drawn again, and then said
    strategy = STRATEGIES.get(config.strategy)
    state.remember("backbone", config.backbone)
    st.session_state["train_strategy"] = config.strategy
    own = {"epochs": strategy.default_epochs, "learning_rate": strategy.default_learning_rate}
    own["head"] = strategy.default_head
    for field, suffix in _keys(config):
        value = getattr(config, field)
        if value is None:
            value = own.get(field, DEFAULTS[field])
        if field in (*_CHOICES, "feature_stage"):
            value = value or ""
        key = f"train_{field}_{suffix}" if suffix else f"train_{field}"
        if field in ("unfreeze_from", "weights", "num_views", "num_folds") and value is None:
            st.session_state.pop(key, None)
        else:
            st.session_state[key] = value


def _keys(config: TrainConfig) -> Iterable[tuple[str, str]]:
    """Each field of the form with what its key ends in."""
    for field in _BY_STRATEGY:
        yield field, config.strategy
    for field in _BY_BACKBONE:
        yield field, config.backbone
    for field in (*_CHOICES, *_NUMBERS):
        yield field, ""


def _budget() -> str:
    return str(st.session_state.get("train_recipe_budget") or "full")


def _say(plan: RecipePlan) -> None:
    """What was found where it was published, and what is not as published."""
    lines = [f"**Published:** {published_words(plan.recipe)}"]
    lines += [f"**Here:** {plain(note, 300)}" for note in plan.notes]
    lines.append("**Not as published:** " + " ".join(plain(line, 300) for line in plan.recipe.deviations))
    with st.container(key="train_recipe_notes", gap="xxsmall"):
        for line in lines:
            st.caption(line)


def published_words(recipe: RecipeSpec) -> str:
    """The published figures in a sentence, with their source."""
    found, study = recipe.published, recipe.study
    if found is None:
        return f"no figures ({study.line})."
    figures = [f"accuracy {found.accuracy:.3f}"]
    if found.quadratic_weighted_kappa is not None:
        figures.append(f"quadratic kappa {found.quadratic_weighted_kappa:.3f}")
    if found.leaderboard_places:
        figures.append(f"place {found.leaderboard_places.replace('-', ' to ')} of the competition's leaderboard")
    return f"{', '.join(figures)} on {found.measured_on} ({study.line})."


def _describe(recipe: RecipeSpec) -> None:
    st.markdown(f"**{recipe.study.title}** · {recipe.study.line} · {recipe.study.framework}")
    st.markdown(recipe.protocol)
    st.caption("Its settings")
    st.code("\n".join(f"{key} = {value}" for key, value in recipe.settings.items()), language=None)


def _words(name: str) -> str:
    return name.replace("_", " ")
