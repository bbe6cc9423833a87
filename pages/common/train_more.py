"""Everything behind "More settings", on three tabs: how it learns, what is learned, and from which images."""

from typing import Any

import streamlit as st

from lib.data.grades import known_grades
from lib.data.library import open_dataset
from lib.data.target_map import TARGET_MAPS, merged_words
from lib.errors import UserError
from lib.training.config import TrainConfig
from lib.training.optimization import offered_losses
from lib.training.resolution import AUTO_WATCHED
from lib.training.strategies import StrategySpec
from pages.common import resources, state, train_network_settings, train_previews
from pages.common.text import readable
from pages.common.train_settings import (
    AUGMENTATIONS,
    CLASS_WEIGHTS,
    IMAGES,
    LEARNING,
    MORE_NUMBERS,
    NETWORK,
    OPTIMIZER_TITLES,
    SCHEDULE_TITLES,
    SettingGrid,
    choose,
    draw_number,
)

SAMPLING_TITLES = {"natural": "Each image once", "balanced": "Every class equally often"}
MAP_TITLES = {"": "As they are", **{mapping.name: mapping.title for mapping in TARGET_MAPS}}
_MAP_KEY = "train_target_map"

_WIDTH_PX = 620
_MAP_HELP = (
    "Merges classes into fewer. Type class=group for each class, such as rose=red,tulip=red,lily=white, or one number "
    "for each, such as 0,0,1. For the five grades of retinopathy: "
    + " ".join(f"{m.title}: {m.summary}" for m in TARGET_MAPS)
)
_LOSS_HELP = "A loss that counts how far grades are apart is offered where the classes are said to be grades."
_SAMPLING_HELP = "Equally often: images of rare classes repeat, large classes show another part of theirs each epoch."
_PINNED_HELP = "Watch one validation image of each class: prediction and Grad-CAM after every epoch."


def merged_classes(config: TrainConfig) -> str:
    """Which class becomes which in a training; "" where none is merged. Raises UserError for a map of other classes."""
    if not config.target_map:
        return ""
    spec = open_dataset(config.dataset).spec
    return merged_words(spec.class_names[: config.max_classes], config.target_map, is_ordinal=spec.is_ordinal)


def draw_more(backbone: str, strategy: StrategySpec) -> dict[str, Any]:
    """Draw the tabs; returns what every field that is drawn says, None for its default."""
    with st.container(width=_WIDTH_PX):  # the same on every tab, so that nothing jumps
        learning, network, images = st.tabs([LEARNING, NETWORK, IMAGES])
    with learning:
        values = _draw_learning(strategy)
    with network:
        if strategy.trains_backbone != "none":
            values["batchnorm"] = train_network_settings.draw_batchnorm(strategy)
        grid = SettingGrid()
        train_network_settings.draw_network_settings(backbone, strategy, grid)
        _draw_numbers(NETWORK, strategy, grid)
        values |= grid.values
    with images:
        values |= _draw_images(strategy)
    return values


def _draw_learning(strategy: StrategySpec) -> dict[str, Any]:
    grid = SettingGrid()
    if strategy.is_iterative:
        grid.choose("optimizer", "Optimizer", OPTIMIZER_TITLES)
        grid.choose("schedule", "Learning rate over time", SCHEDULE_TITLES)
    _draw_numbers(LEARNING, strategy, grid)
    if strategy.is_iterative:
        grid.add("loss", _choose_loss)
    grid.choose("class_weights", "Weigh rare classes more", CLASS_WEIGHTS)
    if strategy.is_iterative:
        grid.choose("sampling", "Images of an epoch", SAMPLING_TITLES, help=_SAMPLING_HELP)
    return grid.values


def _choose_loss() -> str | None:
    """The losses that mean something for the classes: one that counts how far grades are apart needs grades."""
    spec = resources.find_spec(state.current_dataset())
    has_order = spec is not None and spec.is_ordinal
    titles = {loss.name: loss.title for loss in offered_losses(is_ordinal=has_order)}
    if st.session_state.get("train_loss", next(iter(titles))) not in titles:
        del st.session_state["train_loss"]  # chosen for another data set
    return choose("loss", "Loss", titles, help=None if has_order else _LOSS_HELP)


def _draw_images(strategy: StrategySpec) -> dict[str, Any]:
    grid = SettingGrid()
    if strategy.is_iterative:
        grid.choose("augmentation", "Augmentation", AUGMENTATIONS)
    _draw_numbers(IMAGES, strategy, grid)
    grid.add("target_map", _choose_map)
    grid.add("preprocessing", train_previews.choose_preprocessing)
    is_pinned = st.toggle("Pin images", help=_PINNED_HELP, key="train_pinned", persist_state="session")
    return {**grid.values, "pinned_images": AUTO_WATCHED if is_pinned else None}


def _choose_map() -> str | None:
    """Named maps are offered where there are the grades that they are for; any other one is typed."""
    kept = st.session_state.get(_MAP_KEY) or ""
    options = list(MAP_TITLES if _has_grades() else [""])
    options += [kept] if kept not in options else []
    chosen = st.selectbox(
        "Classes", options, format_func=lambda text: readable(MAP_TITLES.get(text, text)), help=_MAP_HELP,
        key=_MAP_KEY, persist_state="session", accept_new_options=True,
    )  # fmt: skip
    return chosen or None


def _has_grades() -> bool:
    try:
        return known_grades(open_dataset(state.current_dataset() or "").spec.class_names) is not None
    except UserError:
        return False


def _draw_numbers(group: str, strategy: StrategySpec, grid: SettingGrid) -> None:
    for setting in MORE_NUMBERS:
        if setting.group == group and setting.applies(strategy):
            grid.add(setting.name, draw_number, setting, strategy)
