"""The form fields of a training plan, drawn with the limits and defaults of `TrainConfig`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import streamlit as st

from lib.data.augmentation import POLICIES
from lib.models.backbone_spec import STARTING_WEIGHTS
from lib.models.backbones import BACKBONES
from lib.training.losses import LOSSES
from lib.training.optimization import OPTIMIZERS
from lib.training.pinning import AUTO
from lib.training.schedules import SCHEDULES
from lib.training.strategies import StrategySpec
from pages.common import train_network_settings, train_previews
from pages.common.train_choice import DEFAULTS, choose

MAX_SEED = 2**31 - 1


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


def _is_iterative(strategy: StrategySpec) -> bool:
    return strategy.is_iterative


def _trains_backbone(strategy: StrategySpec) -> bool:
    return strategy.trains_backbone != "none"


def _unfreezes_gradually(strategy: StrategySpec) -> bool:
    return strategy.unfreezes_gradually


def _has_neighbors(strategy: StrategySpec) -> bool:
    return strategy.default_head == "nearest_neighbors"


_EPOCHS_HELP = "How often each training image is seen; early stopping may end sooner."
_SEED_HELP = "Fixes every random draw of the training, so that it can be repeated exactly."
_BATCH_HELP = "Images per step; fewer need less memory."
_BUDGET_HELP = (
    "As many epochs as fit into that time, by a measurement of real steps before the training; Epochs, where changed, "
    "is then the most. The learning rate runs its whole course over them."
)
_RATE_HELP = "Size of the largest step of the optimizer. Empty: the strategy's own, which is meant for AdamW."
_DECAY_HELP = "How strongly weights are pulled towards zero: directly by AdamW, through the gradient by others (L2)."
_STAGE_HELP = "How fast a stage learns, as a share of the next one: below 1, generic early stages change less."
_SMOOTHING_HELP = "The share of each target that is spread over all classes, against overconfidence."
_MIXUP_HELP = "Blends pairs of images and their targets; larger blends more. 0: off."
_VIEWS_HELP = "Keep that many fixed views of each image in the cache. Empty: new ones each epoch, without a cache."
_PACE_HELP = "Epochs until one more stage joins the training, from the last one down; the head alone learns first."
_PATIENCE_HELP = "Epochs without a better validation loss before the training stops."
_NEIGHBORS_HELP = "How many of the most similar training images vote."
_SPLIT_HELP = "Which images are for training, validation and test. Runs compare fairly only within one split seed."
_WEIGHTS_HELP = {
    "ImageNet": "ImageNet: learned on 1.2 million photographs.",
    "generated images": "Generated images: learned to tell textures, shapes and patterns apart that programs drew.",
}
_PINNED_HELP = "Watch one validation image of each class: prediction and Grad-CAM after every epoch."
_FOLDS_HELP = "Train this many times so that each image is tested once; for small data sets. Empty: one split."

EPOCHS = NumberSetting("epochs", "Epochs", 1, 10_000, 1, _EPOCHS_HELP, _is_iterative)
SEED = NumberSetting("seed", "Seed", 0, MAX_SEED, 1, _SEED_HELP)
MORE_NUMBERS = (
    NumberSetting("batch_size", "Batch size", 1, 4096, 1, _BATCH_HELP, _is_iterative),
    NumberSetting("time_budget_s", "Time budget, seconds", 1.0, 604_800.0, 30.0, _BUDGET_HELP, _is_iterative, "%g"),
    NumberSetting("learning_rate", "Learning rate", 1e-9, 100.0, 1e-4, _RATE_HELP, _is_iterative, "%g"),
    NumberSetting("weight_decay", "Weight decay", 0.0, 10.0, 1e-4, _DECAY_HELP, _is_iterative, "%g"),
    NumberSetting("patience", "Patience", 1, 10_000, 1, _PATIENCE_HELP, _is_iterative),
    NumberSetting("stage_rate_decay", "Rate of earlier stages", 0.01, 1.0, 0.05, _STAGE_HELP, _trains_backbone, "%g"),
    NumberSetting("label_smoothing", "Label smoothing", 0.0, 0.9, 0.05, _SMOOTHING_HELP, _is_iterative, "%g"),
    NumberSetting("mixup", "Mixup", 0.0, 10.0, 0.1, _MIXUP_HELP, _is_iterative, "%g"),
    NumberSetting("num_views", "Cached views", 1, 64, 1, _VIEWS_HELP, _is_iterative),
    NumberSetting("unfreeze_every", "Epochs per stage", 1, 1000, 1, _PACE_HELP, _unfreezes_gradually),
    NumberSetting("num_neighbors", "Neighbours", 1, 1000, 1, _NEIGHBORS_HELP, _has_neighbors),
    NumberSetting("num_folds", "Folds", 2, 20, 1, _FOLDS_HELP),
    NumberSetting("split_seed", "Split seed", 0, MAX_SEED, 1, _SPLIT_HELP),
)
AUGMENTATIONS = {policy.name: policy.title for policy in POLICIES}
_PLACEHOLDERS = {"num_folds": "one split", "num_views": "new each epoch", "time_budget_s": "no limit"}
OPTIMIZER_TITLES = {optimizer.name: optimizer.title for optimizer in OPTIMIZERS}
SCHEDULE_TITLES = {schedule.name: schedule.title for schedule in SCHEDULES}
LOSS_TITLES = {loss.name: loss.title for loss in LOSSES}
BATCHNORM = {
    "trained": "All trained", "statistics_frozen": "Statistics frozen", "frozen": "Statistics and scale frozen"
}  # fmt: skip
BATCHNORM_REASON = (
    "Of the stages that are trained. All of it is trained by default: with a hundred images and batches of 16, the new "
    "domain's own statistics fit better than those of the old one. With fewer, the old ones are less noisy: freeze "
    "them. Frozen stages keep theirs in any case."
)
CLASS_WEIGHTS = {"auto": "When sizes differ over 3 times", "balanced": "Always", "none": "Never"}


def draw_number(setting: NumberSetting, strategy: StrategySpec, *, width: int | None = None) -> float | None:
    """Draw one number; None means the default of strategy or config. A field that does not apply stays, greyed out."""
    default = _default(setting.name, strategy)
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


def draw_more(backbone: str, strategy: StrategySpec) -> dict[str, Any]:
    """Draw everything behind "More settings"; returns the settings that differ from the defaults."""
    values: dict[str, Any] = {}
    applying = [setting for setting in MORE_NUMBERS if setting.applies(strategy)]
    left, right = st.columns(2)
    for position, setting in enumerate(applying):
        with (left, right)[position % 2]:
            values[setting.name] = draw_number(setting, strategy)
    values |= train_network_settings.draw_network_settings(backbone, strategy, (left, right))
    with left:
        values["class_weights"] = choose("class_weights", "Weigh rare classes more", CLASS_WEIGHTS)
        if strategy.is_iterative:
            values["optimizer"] = choose("optimizer", "Optimizer", OPTIMIZER_TITLES)
            values["loss"] = choose("loss", "Loss", LOSS_TITLES)
        if strategy.trains_backbone == "partial" or strategy.unfreezes_gradually:
            values["unfreeze_from"] = _unfreeze_from(backbone, strategy)
    with right:
        values["preprocessing"] = train_previews.choose_preprocessing()
        if strategy.is_iterative:
            values["augmentation"] = choose("augmentation", "Augmentation", AUGMENTATIONS)
            values["schedule"] = choose("schedule", "Learning rate over time", SCHEDULE_TITLES)
        is_pinned = st.toggle("Pin images", help=_PINNED_HELP, key="train_pinned", persist_state="session")
        values["pinned_images"] = AUTO if is_pinned else None
    if _trains_backbone(strategy):
        values["batchnorm"] = _draw_batchnorm()
    return {name: value for name, value in values.items() if value is not None}


def chosen_unfreeze_from(backbone: str, strategy: StrategySpec) -> str | None:
    """The first trained stage as chosen in "More settings"; None for the strategy's own."""
    chosen = st.session_state.get(f"train_unfreeze_from_{_unfreeze_suffix(backbone, strategy)}")
    return chosen if chosen in _read_stages(backbone) else None


def _unfreeze_from(backbone: str, strategy: StrategySpec) -> str | None:
    spec, names = BACKBONES.get(backbone), _read_stages(backbone)
    titles = {name: f"{spec.stage(name).title} ({name})" for name in names}
    suffix = _unfreeze_suffix(backbone, strategy)
    if strategy.unfreezes_gradually:
        return choose("unfreeze_from", "Unfreeze down to", {"": "The first stage"} | titles, "", suffix=suffix)
    # A head that reads an earlier stage than the usual one leaves no later one to train.
    default = spec.unfreeze_from if spec.unfreeze_from in names else names[-1]
    return choose("unfreeze_from", "Train from this stage on", titles, default, suffix=suffix)


def _unfreeze_suffix(backbone: str, strategy: StrategySpec) -> str:
    return f"{strategy.name}_{backbone}" if strategy.unfreezes_gradually else backbone


def _draw_batchnorm() -> str | None:
    default = DEFAULTS["batchnorm"]
    chosen = st.segmented_control(
        "BatchNorm", list(BATCHNORM), format_func=BATCHNORM.__getitem__, default=default, required=True,
        key="train_batchnorm", persist_state="session",
    )  # fmt: skip
    st.caption(BATCHNORM_REASON)
    return None if chosen == default else chosen


def _read_stages(backbone: str) -> list[str]:
    """The stages up to the one that the head reads."""
    spec = BACKBONES.get(backbone)
    last = train_network_settings.chosen_feature_stage(backbone) or spec.feature_stage
    return [stage.name for stage in spec.stages_until(last)]


def _default(name: str, strategy: StrategySpec) -> float | None:
    own = {"epochs": strategy.default_epochs, "learning_rate": strategy.default_learning_rate}
    return own.get(name, DEFAULTS[name])
