"""The fields of the training form: where each is kept, how all are set at once, and how one choice is drawn."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import streamlit as st

from lib.data.enhancement import parse_chain
from lib.models.backbones import BACKBONES
from lib.training.config import TrainConfig
from lib.training.resolution import LAST_VECTOR
from lib.training.strategies import STRATEGIES, StrategySpec
from pages.common.text import readable

DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(TrainConfig)}
STRATEGY = "train_strategy"
# Fields of the form whose key carries what they belong to: a strategy or a backbone has a default of its own.
_BY_STRATEGY = ("epochs", "learning_rate", "head")
_BY_BACKBONE = ("weights", "feature_stage", "unfreeze_from")
_PLAIN = (
    "output", "target_map", "class_weights", "optimizer", "loss", "batchnorm", "augmentation", "schedule", "sampling",
    "batch_size", "time_budget_s", "weight_decay", "patience", "stage_rate_decay", "label_smoothing", "mixup",
    "num_views", "unfreeze_every", "num_neighbors", "num_folds", "split_seed", "seed", "head_from", "preprocessing",
    "pinned_images", "input_size_px",
)  # fmt: skip
IN_FORM = (*_BY_STRATEGY, *_BY_BACKBONE, *_PLAIN)
_KEYS = {"pinned_images": "train_pinned"}


def form_key(name: str, strategy: StrategySpec, backbone: str) -> str:
    """The session's key of the field for a setting."""
    if name in _BY_STRATEGY:
        return f"train_{name}_{strategy.name}"
    if name == "unfreeze_from" and strategy.unfreezes_gradually:
        return f"train_{name}_{strategy.name}_{backbone}"
    return f"train_{name}_{backbone}" if name in _BY_BACKBONE else _KEYS.get(name, f"train_{name}")


def fill_form(config: TrainConfig) -> None:
    """Set every field of the form, whatever it held before; to be called before the fields are drawn."""
    strategy = STRATEGIES.get(config.strategy)
    st.session_state[STRATEGY] = config.strategy
    own = {"epochs": strategy.default_epochs, "learning_rate": strategy.default_learning_rate}
    own |= {"head": strategy.default_head, "unfreeze_from": _first_trained(config, strategy)}
    for name in IN_FORM:
        value = getattr(config, name)
        if name == "weights" and not strategy.uses_pretrained:
            value = None  # it has no field for them, and the field of the next strategy is another matter
        if value is None:
            value = own.get(name, DEFAULTS[name])
        st.session_state[form_key(name, strategy, config.backbone)] = _as_field(name, value)


def read_form() -> dict[str, Any]:
    """What all fields hold, also those of other strategies and backbones: for `restore_form`."""
    heads = tuple(_KEYS.get(name, f"train_{name}") for name in IN_FORM)
    return {key: value for key, value in st.session_state.items() if str(key).startswith((*heads, STRATEGY))}


def restore_form(kept: Mapping[str, Any]) -> None:
    """Give the fields back what they held."""
    for key, value in kept.items():
        st.session_state[key] = value


def _first_trained(config: TrainConfig, strategy: StrategySpec) -> str:
    """The stage that training begins at where a config leaves it open, as the field has it."""
    if strategy.unfreezes_gradually:
        return ""
    spec = BACKBONES.get(config.backbone)
    last = spec.last_vector_stage if config.feature_stage == LAST_VECTOR else config.feature_stage
    names = [stage.name for stage in spec.stages_until(last or spec.feature_stage)]
    return spec.unfreeze_from if spec.unfreeze_from in names else names[-1]


def _as_field(name: str, value: Any) -> Any:
    """A setting as its field holds it."""
    if name == "preprocessing":
        return list(parse_chain(value))
    if name == "pinned_images":
        return bool(value)
    return "" if value is None and name in ("target_map", "feature_stage", "head_from") else value


def choose(
    name: str,
    label: str,
    titles: Mapping[str, str],
    default: str | None = None,
    *,
    suffix: str = "",
    help: str | None = None,
) -> str | None:
    """Draw a select box of value -> title for a setting; None means its default, and is drawn for "" in `titles`."""
    default = default if default is not None else DEFAULTS[name] or ""
    options = list(titles)
    chosen = st.selectbox(
        label,
        options,
        index=options.index(default) if default in options else 0,
        format_func=lambda option: readable(titles[option]),
        help=help,
        key=f"train_{name}_{suffix}" if suffix else f"train_{name}",
        persist_state="session",
    )
    return None if chosen == default else chosen
