"""The settings that shape the network: what is trained of it, its head, what the head reads."""

import streamlit as st

from lib.models.backbones import BACKBONES
from lib.models.heads import HEADS, LAST_VECTOR
from lib.training.strategies import StrategySpec
from pages.common.train_settings import SettingGrid, batchnorm_key, choose

HEAD_TITLES = {head.name: head.title for head in HEADS if head.is_iterative}
OUTPUT_TITLES = {"softmax": "One unit a class (softmax)", "sigmoid": "One unit for two classes (sigmoid)"}
BATCHNORM = {
    "trained": "All trained",
    "statistics_frozen": "Statistics frozen",
    "frozen": "Statistics and scale frozen",
}
BATCHNORM_REASON = (
    "Of the stages that are trained. All of it is trained by default: with a hundred images and batches of 16, the new "
    "domain's own statistics fit better than those of the old one. With fewer, the old ones are less noisy: freeze "
    "them. Frozen stages keep theirs in any case."
)
LEARNED_HEAD_REASON = (
    "Of the stages that are trained. Frozen by default: the head knows the features as it learned them, and the "
    "statistics of single batches would change them at the first step."
)

_HEAD_HELP = "What turns features into class scores."
_OUTPUT_HELP = "A single sigmoid unit with binary cross-entropy is for data sets of two classes only."
_HEAD_FROM_HELP = (
    "The id of a finished run on the same network, data and split. Its BatchNorm is folded in where needed."
)
_STAGE_HELP = (
    "The part of the network whose output the head reads. Last vector: only the network's own classes are cut."
)


def draw_network_settings(backbone: str, strategy: StrategySpec, grid: SettingGrid) -> None:
    """Draw the settings into the grid; a value of None means the default."""
    if strategy.trains_backbone == "partial" or strategy.unfreezes_gradually:
        grid.add("unfreeze_from", _unfreeze_from, backbone, strategy)
    grid.choose("feature_stage", "The head reads", _stage_titles(backbone), suffix=backbone, help=_STAGE_HELP)
    if not strategy.is_iterative:
        return
    grid.choose("head", "Head", HEAD_TITLES, strategy.default_head, suffix=strategy.name, help=_HEAD_HELP)
    grid.choose("output", "Output", OUTPUT_TITLES, help=_OUTPUT_HELP)
    if not strategy.starts_from_probe:
        grid.add("head_from", _head_from)


def draw_batchnorm(strategy: StrategySpec) -> str | None:
    """The three ways to treat BatchNorm, in sight together, with the reason for the default; None means that."""
    takes_head = not strategy.starts_from_probe and bool(str(st.session_state.get("train_head_from") or "").strip())
    default = strategy.default_batchnorm(takes_head=takes_head)
    chosen = st.segmented_control(
        "BatchNorm", list(BATCHNORM), format_func=BATCHNORM.__getitem__, default=default, required=True,
        key=batchnorm_key(strategy, takes_head=takes_head), persist_state="session",
    )  # fmt: skip
    st.caption(BATCHNORM_REASON if default == "trained" else LEARNED_HEAD_REASON)
    return None if chosen == default else chosen


def chosen_feature_stage(backbone: str) -> str | None:
    """The stage that the head reads, as chosen in "More settings"; None for the backbone's own."""
    chosen = st.session_state.get(f"train_feature_stage_{backbone}")
    spec = BACKBONES.get(backbone)
    if chosen == LAST_VECTOR:
        return spec.last_vector_stage
    return chosen if chosen in spec.stage_names else None


def chosen_unfreeze_from(backbone: str, strategy: StrategySpec) -> str | None:
    """The first trained stage as chosen in "More settings"; None for the strategy's own."""
    chosen = st.session_state.get(f"train_unfreeze_from_{_unfreeze_suffix(backbone, strategy)}")
    return chosen if chosen in _read_stages(backbone) else None


def _head_from() -> str | None:
    """The id of a run whose head is taken; a beginning of it will do, the training itself checks it."""
    text = st.text_input(
        "Start from the head of run", placeholder="a new head", help=_HEAD_FROM_HELP, key="train_head_from",
        max_chars=40, persist_state="session",
    )  # fmt: skip
    return text.strip() or None


def _stage_titles(backbone: str) -> dict[str, str]:
    """Stage -> title: the backbone's own first, as "", then the last vector, then every stage but the classes."""
    spec = BACKBONES.get(backbone)
    own = f"Its usual stage: {spec.stage(spec.feature_stage).label}"
    titles = {"": own, LAST_VECTOR: f"The last vector ({spec.last_vector_stage})"}
    return titles | {stage.name: stage.label for stage in spec.stages[:-1]}


def _unfreeze_from(backbone: str, strategy: StrategySpec) -> str | None:
    spec, names = BACKBONES.get(backbone), _read_stages(backbone)
    titles = {name: spec.stage(name).label for name in names}
    suffix = _unfreeze_suffix(backbone, strategy)
    if strategy.unfreezes_gradually:
        return choose("unfreeze_from", "Unfreeze down to", {"": "The first stage"} | titles, "", suffix=suffix)
    # A head that reads an earlier stage than the usual one leaves no later one to train.
    default = spec.unfreeze_from if spec.unfreeze_from in names else names[-1]
    return choose("unfreeze_from", "Train from this stage on", titles, default, suffix=suffix)


def _unfreeze_suffix(backbone: str, strategy: StrategySpec) -> str:
    return f"{strategy.name}_{backbone}" if strategy.unfreezes_gradually else backbone


def _read_stages(backbone: str) -> list[str]:
    """The stages up to the one that the head reads."""
    spec = BACKBONES.get(backbone)
    last = chosen_feature_stage(backbone) or spec.feature_stage
    return [stage.name for stage in spec.stages_until(last)]
