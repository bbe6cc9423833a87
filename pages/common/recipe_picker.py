"""A published experiment as a preset of the training form: it fills the fields, and says what is not as published."""

from dataclasses import fields
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib import jobs
from lib.errors import UserError
from lib.recipes import RECIPES, RecipePlan, RecipeSpec, changed_settings, plan_recipe
from lib.sweeps.recipes import active_run, finished_run, from_head, parent_plan
from lib.training.config import TrainConfig
from lib.training.strategies import StrategySpec
from pages.common import clicks, controls, resources, state
from pages.common.text import plain, plain_message
from pages.common.train_settings import fill_form, read_form, restore_form

NO_RECIPE = ""
BUDGET_TITLES = {"full": "As published", "small": "Two minutes"}
_NEVER = ("dataset", "backbone", "strategy", "weights", "dataset_version", "format_version", "device", "dtype")
# What the form was filled with last, and what it held before; another data set or backbone makes another plan.
_FILLED, _BEFORE, _PROBLEM = "train_filled_with", "train_before_recipe", "train_recipe_problem"


def follow_view(dataset: str) -> None:
    """Before the form is drawn: fill it where the view (a click, a link, Back) has another recipe than it holds."""
    name, budget = state.current("recipe"), _budget()
    filled = st.session_state.get(_FILLED)
    if name is None:
        if filled and st.session_state.get("view_came_back"):
            restore_form(st.session_state.get(_BEFORE, {}))
        st.session_state[_FILLED] = None
        return
    wanted = (name, budget, dataset, state.current_backbone())
    if wanted == filled:
        return
    try:
        plan = plan_recipe(name, dataset=dataset, backbone=state.current_backbone(), budget=budget)
    except UserError as error:
        st.session_state[_PROBLEM] = plain_message(error)
        state.settle("recipe", None)
        return
    if not filled:
        st.session_state[_BEFORE] = read_form()
    st.session_state[_FILLED] = wanted
    fill_form(plan.config)


def draw_recipe(dataset: str, backbone: str, strategy: StrategySpec, *, where: DeltaGenerator) -> RecipePlan | None:
    """Draw the picker `where` there is room, and what the recipe says; returns its plan for what is chosen now."""
    _let_go(strategy)
    name = state.current("recipe") or NO_RECIPE
    st.session_state["train_recipe"], st.session_state["train_recipe_budget"] = name, _budget()
    with where.container(horizontal=True, vertical_alignment="bottom", key="train_recipe_row"):
        st.selectbox(
            "Recipe",
            [NO_RECIPE, *RECIPES.names],
            format_func=lambda name: "None: settings of your own" if not name else f"{name}: {RECIPES.get(name).title}",
            help="A published experiment. Choosing one sets the whole form; every field can still be changed.",
            key="train_recipe",
            width=360,
            on_change=_choose,
            args=(dataset,),
        )
        if name:
            st.segmented_control(
                "Size", list(BUDGET_TITLES), required=True, format_func=BUDGET_TITLES.__getitem__,
                key="train_recipe_budget", on_change=_choose_budget,
                help="Two minutes: fewer images and epochs, sized for two processor cores.",
            )  # fmt: skip
            with st.popover("About this recipe", icon=":material/menu_book:", type="tertiary"):
                _describe(RECIPES.get(name))
    if problem := st.session_state.pop(_PROBLEM, None):
        st.error(problem, icon=":material/error:")
    controls.show_kept_error("recipe")
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


def _with_head(plan: RecipePlan) -> RecipePlan:
    """The plan with the head of the recipe that it goes on from; offers to run that one where there is none."""
    try:
        parent = parent_plan(plan)
        found = finished_run(parent.config, resources.run_records()) if parent else None
    except UserError:
        return plan  # the settings do not fit the data; the form says so
    if found is not None:
        return from_head(plan, found.run_id)
    if parent is not None:
        name = parent.recipe.name
        with st.container(border=True, horizontal=True, vertical_alignment="center", key="train_recipe_parent"):
            st.markdown(f"This recipe starts from the head that {name} learns on the same images.", width="content")
            st.button(f"Run {name} first", key="train_recipe_first", on_click=_run_first, args=(parent,))
    return plan


def _run_first(parent: RecipePlan) -> None:
    if clicks.is_repeat(f"recipe {parent.name}"):
        return
    with controls.keep_error("recipe", "start the training"):
        state.settle("run", active_run(parent.config) or jobs.start(parent.config))


def with_recipe(plan: RecipePlan | None, drawn: dict[str, Any]) -> dict[str, Any]:
    """The settings of the fields that are drawn (None: the default), with the recipe's own for all others."""
    given = {name: value for name, value in drawn.items() if value is not None}
    if plan is None:
        return given
    extras = {
        field.name: value
        for field in fields(TrainConfig)
        if field.name not in (*drawn, *_NEVER) and (value := getattr(plan.config, field.name)) != field.default
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
    name = state.current("recipe")
    if name is not None and name in RECIPES and RECIPES.get(name).settings["strategy"] != strategy.name:
        state.settle("recipe", None)


def _choose(dataset: str) -> None:
    """A recipe was chosen: its backbone comes with it, the form follows before it is drawn."""
    name = st.session_state["train_recipe"] or None
    state.remember("recipe", name)
    if name is None:
        return
    with controls.keep_error("recipe", "read the recipe"):
        state.remember("backbone", plan_recipe(name, dataset=dataset, budget=_budget()).config.backbone)


def _choose_budget() -> None:
    chosen = st.session_state["train_recipe_budget"]
    state.remember("budget", None if chosen == "full" else chosen)


def _budget() -> str:
    chosen = state.current("budget")
    return chosen if chosen in BUDGET_TITLES else "full"


def _say(plan: RecipePlan) -> None:
    """What was found where it was published, and what is not as published."""
    lines = [f"**Published:** {published_words(plan.recipe)}"]
    lines += [f"**Here:** {plain(note, 300)}" for note in plan.notes]
    if plan.recipe.subject.bring:
        note = f" ({plain(plan.recipe.subject.bring_note, 300)})" if plan.recipe.subject.bring_note else ""
        lines.append(f"**Its images:** `{plan.recipe.subject.bring}`{note}")
    lines.append("**Not as published:** " + " ".join(plain(line, 300) for line in plan.recipe.deviations))
    with st.expander("Published, and what is not as published", key="train_recipe_notes"):
        for line in lines:
            st.caption(line)


def published_words(recipe: RecipeSpec) -> str:
    """The published figures in a sentence, with their source."""
    found, study = recipe.published, recipe.study
    if found.accuracy is None:
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
