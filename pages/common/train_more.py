"""Everything behind "More settings", on three tabs: how it learns, what is learned, and from which images."""

from typing import Any

import streamlit as st

from lib.data.target_map import TARGET_MAPS
from lib.training.pinning import AUTO
from lib.training.strategies import StrategySpec
from pages.common import train_network_settings, train_previews
from pages.common.setting_grid import SettingGrid
from pages.common.train_choice import choose
from pages.common.train_settings import (
    AUGMENTATIONS,
    CLASS_WEIGHTS,
    IMAGES,
    LEARNING,
    LOSS_TITLES,
    MORE_NUMBERS,
    NETWORK,
    OPTIMIZER_TITLES,
    SCHEDULE_TITLES,
    draw_number,
)

SAMPLING_TITLES = {"natural": "Each image once", "balanced": "Every class equally often"}
MAP_TITLES = {"": "As they are", **{mapping.name: mapping.title for mapping in TARGET_MAPS}}

_WIDTH_PX = 620
_MAP_HELP = "Merges five grades into fewer classes. " + " ".join(f"{m.title}: {m.summary}" for m in TARGET_MAPS)
_SAMPLING_HELP = "Equally often: images of rare classes repeat, large classes show another part of theirs each epoch."
_PINNED_HELP = "Watch one validation image of each class: prediction and Grad-CAM after every epoch."


def draw_more(backbone: str, strategy: StrategySpec) -> dict[str, Any]:
    """Draw the tabs; returns the settings that differ from the defaults."""
    with st.container(width=_WIDTH_PX):  # the same on every tab, so that nothing jumps
        learning, network, images = st.tabs([LEARNING, NETWORK, IMAGES])
    with learning:
        values = _draw_learning(strategy)
    with network:
        if strategy.trains_backbone != "none":
            values["batchnorm"] = train_network_settings.draw_batchnorm()
        grid = SettingGrid()
        values |= train_network_settings.draw_network_settings(backbone, strategy, grid)
        values |= _draw_numbers(NETWORK, strategy, grid)
    with images:
        values |= _draw_images(strategy)
    return {name: value for name, value in values.items() if value is not None}


def _draw_learning(strategy: StrategySpec) -> dict[str, Any]:
    grid = SettingGrid()
    values: dict[str, Any] = {}
    if strategy.is_iterative:
        with grid.cell():
            values["optimizer"] = choose("optimizer", "Optimizer", OPTIMIZER_TITLES)
        with grid.cell():
            values["schedule"] = choose("schedule", "Learning rate over time", SCHEDULE_TITLES)
    values |= _draw_numbers(LEARNING, strategy, grid)
    if strategy.is_iterative:
        with grid.cell():
            values["loss"] = choose("loss", "Loss", LOSS_TITLES)
    with grid.cell():
        values["class_weights"] = choose("class_weights", "Weigh rare classes more", CLASS_WEIGHTS)
    if strategy.is_iterative:
        with grid.cell():
            values["sampling"] = choose("sampling", "Images of an epoch", SAMPLING_TITLES, help=_SAMPLING_HELP)
    return values


def _draw_images(strategy: StrategySpec) -> dict[str, Any]:
    grid = SettingGrid()
    values: dict[str, Any] = {}
    if strategy.is_iterative:
        with grid.cell():
            values["augmentation"] = choose("augmentation", "Augmentation", AUGMENTATIONS)
    values |= _draw_numbers(IMAGES, strategy, grid)
    with grid.cell():
        values["target_map"] = choose("target_map", "Classes", MAP_TITLES, help=_MAP_HELP)
    with grid.cell():
        values["preprocessing"] = train_previews.choose_preprocessing()
    is_pinned = st.toggle("Pin images", help=_PINNED_HELP, key="train_pinned", persist_state="session")
    values["pinned_images"] = AUTO if is_pinned else None
    return values


def _draw_numbers(group: str, strategy: StrategySpec, grid: SettingGrid) -> dict[str, Any]:
    values = {}
    for setting in MORE_NUMBERS:
        if setting.group == group and setting.applies(strategy):
            with grid.cell():
                values[setting.name] = draw_number(setting, strategy)
    return values
