"""The form fields of a training plan, drawn with the limits and defaults of `TrainConfig`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lib.data.augmentation import POLICIES
from lib.data.enhancement import parse_chain
from lib.models.backbone_spec import STARTING_WEIGHTS
from lib.models.backbones import BACKBONES
from lib.models.heads import resolve_features
from lib.training.config import TrainConfig
from lib.training.optimization import OPTIMIZERS, SCHEDULES
from lib.training.strategies import STRATEGIES, StrategySpec
from pages.common.text import readable

MAX_SEED = 2**31 - 1
LEARNING, NETWORK, IMAGES = "Learning", "Network", "Images"


@dataclass(frozen=True)
class NumberSetting:
    """A number of `TrainConfig` as a form field; `low` and `high` are the config's own limits (a test compares)."""

    name: str
    label: str
    low: float
    high: float
    step: float
    help: str
    applies: Callable[[StrategySpec], bool] = lambda strategy: True
    format: str | None = None
    group: str = LEARNING


def _is_iterative(strategy: StrategySpec) -> bool:
    return strategy.is_iterative


def _trains_backbone(strategy: StrategySpec) -> bool:
    return strategy.trains_backbone != "none"


def _unfreezes_gradually(strategy: StrategySpec) -> bool:
    return strategy.unfreezes_gradually


def _has_neighbors(strategy: StrategySpec) -> bool:
    return strategy.remembers_images


_EPOCHS_HELP = "How often each training image is seen; early stopping may end sooner."
_SEED_HELP = "Fixes every random draw of the training, so that it can be repeated exactly."
_BATCH_HELP = "Images per step; fewer need less memory."
_BUDGET_HELP = (
    "As many epochs as fit into that time, by a measurement of real steps before the training; Epochs, where changed, "
    "is then the most. The learning rate runs its whole course over them."
)
_USUAL_RATES = ", ".join(f"{optimizer.title} {optimizer.usual_learning_rate:g}" for optimizer in OPTIMIZERS)
_RATE_HELP = (
    "Size of the largest step of the optimizer. Empty: the strategy's own, which is meant for AdamW. Usual for a new "
    f"head: {_USUAL_RATES}."
)
_DECOUPLED = " and ".join(optimizer.title for optimizer in OPTIMIZERS if optimizer.has_decoupled_decay)
_DECAY_HELP = (
    f"How strongly weights are pulled towards zero: directly by {_DECOUPLED}, through the gradient by others (L2)."
)
_STAGE_HELP = "How fast a stage learns, as a share of the next one: below 1, generic early stages change less."
_SMOOTHING_HELP = "The share of each target that is spread over all classes, against overconfidence."
_MIXUP_HELP = "Blends pairs of images and their targets; larger blends more. 0: off."
_SIZE_HELP = (
    "Side of the square that the network sees. Empty: as it was pretrained. Smaller is faster and loses fine detail."
)
_VIEWS_HELP = "Keep that many fixed views of each image in the cache. Empty: new ones each epoch, without a cache."
_PACE_HELP = "Epochs until one more stage joins the training, from the last one down; the head alone learns first."
_PATIENCE_HELP = "Epochs without a better validation loss before the training stops."
_NEIGHBORS_HELP = "How many of the most similar training images vote."
_SPLIT_HELP = "Which images are for training, validation and test. Runs compare fairly only within one split seed."
_WEIGHTS_HELP = {
    "ImageNet": "ImageNet: learned on 1.2 million photographs.",
    "generated images": "Generated images: learned to tell textures, shapes and patterns apart that programs drew.",
}
_FOLDS_HELP = "Train this many times so that each image is tested once; for small data sets. Empty: one split."

EPOCHS = NumberSetting("epochs", "Epochs", 1, 10_000, 1, _EPOCHS_HELP, _is_iterative)
SEED = NumberSetting("seed", "Seed", 0, MAX_SEED, 1, _SEED_HELP)
MORE_NUMBERS = (
    NumberSetting("batch_size", "Batch size", 1, 4096, 1, _BATCH_HELP, _is_iterative),
    NumberSetting("time_budget_s", "Time budget, seconds", 1.0, 604_800.0, 30.0, _BUDGET_HELP, _is_iterative, "%g"),
    NumberSetting("learning_rate", "Learning rate", 1e-9, 100.0, 1e-4, _RATE_HELP, _is_iterative, "%g"),
    NumberSetting("weight_decay", "Weight decay", 0.0, 10.0, 1e-4, _DECAY_HELP, _is_iterative, "%g"),
    NumberSetting("patience", "Patience", 1, 10_000, 1, _PATIENCE_HELP, _is_iterative),
    NumberSetting(
        "stage_rate_decay", "Rate of earlier stages", 0.01, 1.0, 0.05, _STAGE_HELP, _trains_backbone, "%g", NETWORK
    ),
    NumberSetting("label_smoothing", "Label smoothing", 0.0, 0.9, 0.05, _SMOOTHING_HELP, _is_iterative, "%g"),
    NumberSetting("mixup", "Mixup", 0.0, 10.0, 0.1, _MIXUP_HELP, _is_iterative, "%g"),
    NumberSetting("input_size_px", "Input size, px", 32, 1024, 32, _SIZE_HELP, group=IMAGES),
    NumberSetting("num_views", "Cached views", 1, 64, 1, _VIEWS_HELP, _is_iterative, group=IMAGES),
    NumberSetting("unfreeze_every", "Epochs per stage", 1, 1000, 1, _PACE_HELP, _unfreezes_gradually, group=NETWORK),
    NumberSetting("num_neighbors", "Neighbours", 1, 1000, 1, _NEIGHBORS_HELP, _has_neighbors, group=NETWORK),
    NumberSetting("num_folds", "Folds", 2, 20, 1, _FOLDS_HELP, group=IMAGES),
    NumberSetting("split_seed", "Split seed", 0, MAX_SEED, 1, _SPLIT_HELP, group=IMAGES),
)
AUGMENTATIONS = {policy.name: policy.title for policy in POLICIES}
_PLACEHOLDERS = {
    "num_folds": "one split",
    "num_views": "new each epoch",
    "input_size_px": "as pretrained",
    "time_budget_s": "no limit",
}
OPTIMIZER_TITLES = {optimizer.name: optimizer.title for optimizer in OPTIMIZERS}
SCHEDULE_TITLES = {schedule.name: schedule.title for schedule in SCHEDULES}
CLASS_WEIGHTS = {"auto": "When sizes differ over 3 times", "balanced": "Always", "none": "Never"}


def draw_number(setting: NumberSetting, strategy: StrategySpec, *, width: int | None = None) -> float | None:
    """Draw one number; None means the default of strategy or config. A field that does not apply stays, greyed out."""
    own = {"epochs": strategy.default_epochs, "learning_rate": strategy.default_learning_rate}
    default = own.get(setting.name, DEFAULTS[setting.name])
    applies = setting.applies(strategy)
    key = f"train_{setting.name}"
    if setting.name in ("epochs", "learning_rate"):
        key += f"_{strategy.name}"  # each strategy has a default of its own
    number = float if isinstance(setting.step, float) else int
    value = st.number_input(
        setting.label,
        min_value=number(setting.low),
        max_value=number(setting.high),
        value=number(default) if applies and default is not None else None,
        step=number(setting.step),
        format=setting.format,
        placeholder=_PLACEHOLDERS.get(setting.name, "default") if applies else "none",
        help=setting.help,
        disabled=not applies,
        key=key if applies else f"{key}_off",
        width=width or "stretch",
        persist_state="session",
    )
    return None if not applies or value == default else value


def draw_weights(backbone: str, strategy: StrategySpec, *, is_at_hand: bool) -> str:
    """Choose the starting weights where there is a choice; returns "pretrained" or "random"."""
    has_choice, spec = strategy.uses_pretrained and is_at_hand, BACKBONES.get(backbone)
    chosen = st.segmented_control(
        "Starting weights",
        list(STARTING_WEIGHTS),
        format_func={"pretrained": spec.weights_title, "random": "Random"}.__getitem__,
        default="pretrained" if has_choice else "random",
        required=True,
        disabled=not has_choice,
        help=f"{_WEIGHTS_HELP.get(spec.pretrained_on, spec.weights_title)} Random: nothing learned, the control.",
        key=f"train_weights_{backbone}" if has_choice else "train_weights_off",
        persist_state="session",
    )
    return chosen or "random"


class SettingGrid:
    """Fields in two columns, and what they say: `values` by the name of the setting, None for its default."""

    def __init__(self) -> None:
        """Start with an empty row, at the current place of the page."""
        self.values: dict[str, Any] = {}
        self._place = st.container()
        self._free: list[DeltaGenerator] = []

    def add(self, name: str, draw: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Draw a field in the next cell: left, right, and then the next row."""
        if not self._free:
            with self._place:
                self._free = list(st.columns(2))
        with self._free.pop(0):
            self.values[name] = draw(*arguments, **options)

    def choose(self, name: str, label: str, titles: Mapping[str, str], *default: str, **options: Any) -> None:
        """Draw a select box of value -> title in the next cell (see `choose`)."""
        self.add(name, choose, name, label, titles, *default, **options)


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


def batchnorm_key(strategy: StrategySpec, *, takes_head: bool) -> str:
    """The session's key of the field for BatchNorm, whose default depends on whether the head was learned before."""
    return f"train_batchnorm_{strategy.name}" + ("_with_head" if takes_head else "")


def fill_form(config: TrainConfig) -> None:
    """Set every field of the form, whatever it held before; to be called before the fields are drawn."""
    strategy = STRATEGIES.get(config.strategy)
    st.session_state[STRATEGY] = config.strategy
    own: dict[str, object] = {"epochs": strategy.default_epochs, "learning_rate": strategy.default_learning_rate}
    takes_head = bool(config.head_from)
    own |= {"head": strategy.default_head, "batchnorm": strategy.default_batchnorm(takes_head=takes_head)}
    own |= {"unfreeze_from": _first_trained(config, strategy)}
    for name in IN_FORM:
        value = getattr(config, name)
        if name == "weights" and not strategy.uses_pretrained:
            value = None  # it has no field for them, and the field of the next strategy is another matter
        if value is None:
            value = own.get(name, DEFAULTS[name])
        key = form_key(name, strategy, config.backbone)
        if name == "batchnorm":
            key = batchnorm_key(strategy, takes_head=takes_head)
        st.session_state[key] = _as_field(name, value)


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
    return spec.first_tuned(resolve_features(spec, config.feature_stage)[0])


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
