"""The settings behind "More settings" that shape the network: its head, what the head reads, what its classes are."""

from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.data.target_map import TARGET_MAPS
from lib.models.backbones import BACKBONES
from lib.models.heads import HEADS
from lib.training.resolution import LAST_VECTOR
from lib.training.strategies import StrategySpec
from pages.common.train_choice import choose

HEAD_TITLES = {head.name: head.title for head in HEADS if head.is_iterative}
OUTPUT_TITLES = {"softmax": "One unit a class (softmax)", "sigmoid": "One unit for two classes (sigmoid)"}
MAP_TITLES = {"": "As they are", **{mapping.name: mapping.title for mapping in TARGET_MAPS}}

_MAP_HELP = "Merges five grades into fewer classes. " + " ".join(f"{m.title}: {m.summary}" for m in TARGET_MAPS)
_HEAD_HELP = "What turns features into class scores."
_OUTPUT_HELP = "A single sigmoid unit with binary cross-entropy is for data sets of two classes only."
_STAGE_HELP = (
    "The part of the network whose output the head reads. Last vector: only the network's own classes are cut."
)


def draw_network_settings(
    backbone: str, strategy: StrategySpec, columns: tuple[DeltaGenerator, DeltaGenerator]
) -> dict[str, Any]:
    """Draw the settings into two columns; returns those that differ from the defaults."""
    values: dict[str, Any] = {}
    with columns[0]:
        values["feature_stage"] = choose(
            "feature_stage", "The head reads", _stage_titles(backbone), suffix=backbone, help=_STAGE_HELP
        )
    with columns[1]:
        values["target_map"] = choose("target_map", "Classes", MAP_TITLES, help=_MAP_HELP)
    if strategy.is_iterative:
        with columns[1]:
            values["head"] = choose(
                "head", "Head", HEAD_TITLES, strategy.default_head, suffix=strategy.name, help=_HEAD_HELP
            )
        with columns[0]:
            values["output"] = choose("output", "Output", OUTPUT_TITLES, help=_OUTPUT_HELP)
    return {name: value for name, value in values.items() if value is not None}


def chosen_feature_stage(backbone: str) -> str | None:
    """The stage that the head reads, as chosen in "More settings"; None for the backbone's own."""
    chosen = st.session_state.get(f"train_feature_stage_{backbone}")
    spec = BACKBONES.get(backbone)
    if chosen == LAST_VECTOR:
        return spec.last_vector_stage
    return chosen if chosen in spec.stage_names else None


def _stage_titles(backbone: str) -> dict[str, str]:
    """Stage -> title: the backbone's own first, as "", then the last vector, then every stage but the classes."""
    spec = BACKBONES.get(backbone)
    own = f"Its usual stage: {spec.stage(spec.feature_stage).title}"
    titles = {"": own, LAST_VECTOR: f"The last vector ({spec.last_vector_stage})"}
    return titles | {stage.name: f"{stage.title} ({stage.name})" for stage in spec.stages[:-1]}
