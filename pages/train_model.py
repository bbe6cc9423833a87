"""Train model: choose how much of the network learns, start it, and watch it learn."""

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.common.frame import ensure_frame

ensure_frame(__file__)

from lib.errors import UserError  # noqa: E402
from lib.models.backbones import BACKBONES  # noqa: E402
from lib.models.freezing import stage_plan  # noqa: E402
from lib.recipes import RecipePlan  # noqa: E402
from lib.training.config import TrainConfig  # noqa: E402
from lib.training.strategies import STRATEGIES, StrategySpec  # noqa: E402
from pages.common import (  # noqa: E402
    controls,
    race_panel,
    recipe_picker,
    resources,
    state,
    train_more,
    train_network_settings,
    train_previews,
    train_settings,
    weights_panel,
)
from pages.common.advisor_panel import draw_advisor  # noqa: E402
from pages.common.errors import end_page, show_errors  # noqa: E402
from pages.common.seeds_panel import draw_seeds  # noqa: E402
from pages.common.text import plain, plain_message  # noqa: E402
from pages.common.train_before import draw_before  # noqa: E402
from pages.common.train_panel import draw_live_panel  # noqa: E402
from pages.common.train_plan import StagePlan, current_strategy, strategy_cards  # noqa: E402
from pages.common.train_start import draw_button, follow_starts  # noqa: E402
from pages.common.weights_panel import draw_search  # noqa: E402


def draw_controls(
    dataset: str, backbone: str, strategy: StrategySpec, plan: RecipePlan | None
) -> tuple[TrainConfig | None, DeltaGenerator]:
    """The row of settings that matter; returns the training they describe, and the place right of the button."""
    is_at_hand = resources.weights_at_hand().get(backbone, False)
    with st.container(horizontal=True, vertical_alignment="bottom", key="train_controls"):
        weights = train_settings.draw_weights(backbone, strategy, is_at_hand=is_at_hand)
        values: dict[str, Any] = {
            "epochs": train_settings.draw_number(train_settings.EPOCHS, strategy, width=110),
            "seed": train_settings.draw_number(train_settings.SEED, strategy, width=90),
        }
        with st.popover("More settings", icon=":material/tune:", width="content"):
            values |= train_more.draw_more(backbone, strategy)
        draw_search("train_search")
        given = recipe_picker.with_recipe(plan, values)
        config, problem = _config(dataset=dataset, backbone=backbone, strategy=strategy.name, weights=weights, **given)
        lacks_head = plan is not None and bool(plan.recipe.follows) and plan.config.head_from is None
        draw_button(None if lacks_head else config)
        beside = st.empty()
    recipe_picker.say_changes(plan, config)
    if config is not None and (merged := train_more.merged_classes(config)):
        st.caption(plain(merged, 600))
    if problem:
        st.error(problem, icon=":material/error:")
    if weights == "random" and strategy.uses_pretrained:
        _explain_random(backbone, is_at_hand=is_at_hand)
    return config, beside


def _config(**values: Any) -> tuple[TrainConfig | None, str]:
    """The training that the form describes, or the sentence that says which value is not possible."""
    try:
        config = TrainConfig(**values)
        train_more.merged_classes(config)  # a map for other classes is refused before the click
        return config, ""
    except UserError as error:
        return None, plain_message(error)


def _explain_random(backbone: str, *, is_at_hand: bool) -> None:
    spec = BACKBONES.get(backbone)
    if is_at_hand or not spec.has_weights:
        st.info("Random weights have learned nothing: this is a control, not transfer.", icon=":material/casino:")
        return
    st.warning(
        f"The pretrained weights of {spec.title} are not on this machine, so training starts from random weights: "
        "nothing is transferred, and results stay far below what the network can do.",
        icon=":material/casino:",
    )
    weights_panel.offer_download(spec, key="train_download")


def stage_plans(backbone: str) -> dict[str, StagePlan]:
    """What each strategy freezes and trains, in the end."""
    last = train_network_settings.chosen_feature_stage(backbone)
    plans: dict[str, StagePlan] = {}
    for strategy in STRATEGIES:
        first = train_network_settings.chosen_unfreeze_from(backbone, strategy)
        trained = "partial" if strategy.unfreezes_gradually and first else strategy.trains_backbone
        plans[strategy.name] = stage_plan(backbone, trained, first, feature_stage=last)
    return plans


def offer_command(config: TrainConfig) -> None:
    """The same training for the command line and for Python."""
    with st.popover("Copy as command", icon=":material/terminal:", type="tertiary"):
        st.caption("The same training on the command line")
        st.code(config.to_command(), language="bash", wrap_lines=True)
        st.caption("and in Python")
        st.code(config.to_python(), language="python", wrap_lines=True)


controls.page_header("Train model", "How much of a pretrained network should learn the new images? Try it and watch.")
dataset_name = state.current_dataset()
if dataset_name is None:
    controls.empty_state("There is no data set yet.", button="Go to start", page="start")
    end_page()
if resources.find_summary(dataset_name) is None:
    with show_errors("start the training"):
        follow_starts(st.empty())  # a click that came just before says what became of it
    controls.say_gone(dataset_name)
    end_page()
top = st.container(horizontal=True, vertical_alignment="bottom", key="train_top")
with top:
    mode = race_panel.choose_mode()
if mode == "race":
    with show_errors("show the race"):
        race_panel.draw(dataset_name, state.current_backbone())
    end_page()
with show_errors("follow the recipe"):
    recipe_picker.follow_view(dataset_name)
chosen_strategy = current_strategy()
with show_errors("show the settings"):
    chosen_plan = recipe_picker.draw_recipe(dataset_name, state.current_backbone(), chosen_strategy, where=top)
    chosen_config, beside_start = draw_controls(dataset_name, state.current_backbone(), chosen_strategy, chosen_plan)
notices = st.container()
plan_column, live_column = st.columns([5, 6], gap="medium")
with plan_column, show_errors("show the strategies"):
    if chosen_config is not None:
        draw_advisor(chosen_config)
    plans = stage_plans(state.current_backbone())
    strategy_cards(plans, chosen_strategy, is_fundus=resources.is_fundus(dataset_name))
    if chosen_config is not None:
        draw_before(chosen_config)
        draw_seeds(chosen_config)
        offer_command(chosen_config)
        train_previews.draw_previews(chosen_config)
with notices, show_errors("start the training"):
    follow_starts(beside_start)
with live_column, show_errors("show the training"):
    draw_live_panel(dataset_name)
