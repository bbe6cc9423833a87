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
SAMPLING_TITLES = {"natural": "Each image once", "balanced": "Every class equally often"}
MAP_TITLES = {"": "As they are", **{mapping.name: mapping.title for mapping in TARGET_MAPS}}

_MAP_HELP = "Merges five grades into fewer classes. " + " ".join(f"{m.title}: {m.summary}" for m in TARGET_MAPS)
_HEAD_HELP = "What turns features into class scores."
_OUTPUT_HELP = "A single sigmoid unit with binary cross-entropy is for data sets of two classes only."
_SAMPLING_HELP = "Equally often: images of rare classes repeat, large classes show another part of theirs each epoch."
_HEAD_FROM_HELP = (
    "The id of a finished run on the same network, data and split. Its BatchNorm is folded in where needed."
)
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
            values["sampling"] = choose("sampling", "Images of an epoch", SAMPLING_TITLES, help=_SAMPLING_HELP)
        if not strategy.starts_from_probe:
            with columns[1]:
                values["head_from"] = _head_from()
    return {name: value for name, value in values.items() if value is not None}


def _head_from() -> str | None:
    """The id of a run whose head is taken; a beginning of it will do, the training itself checks it."""
    text = st.text_input(
        "Start from the head of run",
        placeholder="a new head",
        help=_HEAD_FROM_HELP,
        key="train_head_from",
        max_chars=40,
        persist_state="session",
    )
    return text.strip() or None


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
