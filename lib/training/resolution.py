"""Fills in what a config leaves open and checks the rest, before anything is run. Imports no torch."""

import dataclasses

import numpy as np

from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.models.freezing import first_trained, stage_plan
from lib.models.heads import check_output, iterative_heads, resolve_features
from lib.training.config import TrainConfig
from lib.training.network import trained_part
from lib.training.optimization import check_loss, check_momentum
from lib.training.protocols import Dataset
from lib.training.strategies import STRATEGIES, StrategySpec

# Of the images that are watched during a training.
AUTO_WATCHED, MAX_WATCHED = "auto", 8
# A time budget is filled with at most this many times the strategy's own epochs, unless a number is given.
BUDGET_EPOCHS_FACTOR = 10


def resolve_config(config: TrainConfig, dataset: Dataset) -> TrainConfig:
    """Return the config with every None replaced by the strategy's, backbone's or data set's own value.

    What a strategy has no use for (epochs of a linear probe) becomes None.

    Raises:
        UserError: unknown names, settings that do not fit together, or a data set too small to be split.
    """
    strategy = STRATEGIES.get(config.strategy)
    config = _with_own_backbone(config, strategy)
    spec = BACKBONES.get(config.backbone)
    subset = apply_protocol(dataset, config)
    head, is_drawn = _head(config, strategy), config.sampling == "balanced"
    feature_stage, pooling = resolve_features(spec, config.feature_stage, config.pooling, head)
    part = trained_part(config)
    first = first_trained(spec, feature_stage, part, config.unfreeze_from)
    check_loss(config.loss, is_ordinal=subset.spec.is_ordinal)
    if strategy.is_iterative:
        check_momentum(config.optimizer, config.momentum, TrainConfig.momentum)
        check_output(config.output, subset.spec.num_classes)
    default_epochs = strategy.default_epochs * (BUDGET_EPOCHS_FACTOR if config.time_budget_s else 1)
    resolved = dataclasses.replace(
        config,
        dataset=dataset.name,
        dataset_version=config.dataset_version or dataset.version,
        weights=config.weights if strategy.uses_pretrained else "random",
        head=head,
        sampling=config.sampling if strategy.is_iterative else "natural",
        # A head that is fitted in one go draws nothing: to count all classes alike, it weighs them.
        class_weights=config.class_weights if strategy.is_iterative or not is_drawn else "balanced",
        head_from=_head_source(config, strategy),
        batchnorm=config.batchnorm or strategy.default_batchnorm(takes_head=bool(config.head_from)),
        output=config.output if strategy.is_iterative else "softmax",
        feature_stage=feature_stage,
        pooling=pooling,
        unfreeze_from=spec.stage_names[first] if part == "partial" else None,
        epochs=(config.epochs or default_epochs) if strategy.is_iterative else None,
        time_budget_s=config.time_budget_s if strategy.is_iterative else None,
        learning_rate=(config.learning_rate or strategy.default_learning_rate) if strategy.is_iterative else None,
        input_size_px=_input_size(config, spec),
        pinned_images=resolve_watched(config.pinned_images, subset, config.split_seed),
    )
    subset.split(resolved.split_seed, num_folds=resolved.num_folds, fold=0 if resolved.num_folds else None)
    return resolved


def _with_own_backbone(config: TrainConfig, strategy: StrategySpec) -> TrainConfig:
    """A strategy that makes its features without a network puts its own source in the backbone's place."""
    if strategy.backbone and config.backbone != strategy.backbone:
        return dataclasses.replace(config, backbone=strategy.backbone, feature_stage=None, pooling=None)
    if (
        not BACKBONES.may_know(config.backbone)
        and config.backbone != strategy.backbone
        and config.backbone in BACKBONES
    ):
        raise UserError(
            f"{BACKBONES.get(config.backbone).title} are no network, so {strategy.title} has nothing to work on; "
            f"choose a backbone: {', '.join(BACKBONES.names)}."
        )
    return config


def _head(config: TrainConfig, strategy: StrategySpec) -> str:
    # A head that is fitted by scikit-learn cannot be iterated, and the other way round.
    allowed = iterative_heads() if strategy.is_iterative else (strategy.default_head,)
    if strategy.starts_from_probe:
        allowed = ("linear",)
    head = config.head or strategy.default_head
    if head not in allowed:
        raise UserError(f"The head of {strategy.name} must be one of: {', '.join(allowed)}; received {head!r}.")
    return head


def _head_source(config: TrainConfig, strategy: StrategySpec) -> str | None:
    if config.head_from and (not strategy.is_iterative or strategy.starts_from_probe):
        raise UserError(
            f"{strategy.title} fits its head anew, so head_from={config.head_from} has no use; leave it out, or choose "
            "a fine-tuning strategy."
        )
    if config.head_from and config.num_folds:
        raise UserError(
            "A head that was learned before has seen images that other folds test; leave out head_from or num_folds."
        )
    return config.head_from or None


def _input_size(config: TrainConfig, spec: BackboneSpec) -> int:
    size_px = config.input_size_px or spec.input_size_px
    if spec.is_fixed_size and size_px != spec.input_size_px:
        raise UserError(f"{spec.title} takes images of {spec.input_size_px} px only, received {size_px} px.")
    if size_px % spec.input_step_px:
        raise UserError(
            f"{spec.title} takes images whose side is a multiple of {spec.input_step_px} px, received {size_px} px."
        )
    if size_px < spec.min_input_px:
        raise UserError(f"{spec.title} needs images of at least {spec.min_input_px} px, received {size_px} px.")
    return size_px


def resolve_watched(asked: str | None, dataset: Dataset, split_seed: int) -> str | None:
    """Image ids joined by commas, as a config keeps them; "auto" becomes one validation image of each class.

    Args:
        asked: None or "" for no images, "auto", or image ids joined by commas.
        dataset: has `table` with image_id, target and flags, and `split`.
        split_seed: of the split whose validation images are chosen from.

    Raises:
        UserError: an id that the data set lacks, an image to train on, or more than `MAX_WATCHED` images.
    """
    if not asked:
        return None
    if asked == AUTO_WATCHED:
        return ",".join(_one_of_each_class(dataset, split_seed))
    ids = list(dict.fromkeys(part.strip() for part in asked.split(",") if part.strip()))
    if len(ids) > MAX_WATCHED:
        raise UserError(f"At most {MAX_WATCHED} images can be pinned, received {len(ids)}.")
    table = dataset.table["image_id"].tolist()
    for image_id in ids:
        if image_id not in table:
            raise UserError(
                f"The data set has no image {image_id!r} to pin; give ids of its images, or pinned_images=auto."
            )
    is_trained_on = dataset.split(split_seed)[watched_rows(",".join(ids), dataset)] == "train"
    if is_trained_on.any():
        raise UserError(
            f"The image {ids[int(is_trained_on.argmax())]!r} is one to train on; pin validation or test images."
        )
    return ",".join(ids)


def watched_rows(pinned: str, dataset: Dataset) -> np.ndarray:
    """The rows (n,) of pinned images in the data set's table, in their own order."""
    rows = {image_id: row for row, image_id in enumerate(dataset.table["image_id"])}
    return np.array([rows[image_id] for image_id in pinned.split(",")], dtype=np.int64)


def _one_of_each_class(dataset: Dataset, split_seed: int) -> list[str]:
    table = dataset.table[dataset.split(split_seed) == "val"]
    if "flags" in table:  # an image that is marked, such as a blurred one, says little of the network
        table = table.assign(is_marked=table["flags"].fillna("").astype(str).str.len() > 0)
        table = table.sort_values(["is_marked"], kind="stable")
    chosen = table.drop_duplicates("target").sort_values("target")
    return [str(image_id) for image_id in chosen["image_id"].head(MAX_WATCHED)]


def trained_parameters(config: TrainConfig, num_classes: int) -> tuple[int, int]:
    """How many parameters a training changes, and how many its classifier has in all, without building it.

    Of the backbone those of the trained stages count, and those of the head; neighbours that are kept are none.

    Raises:
        UserError: a backbone, stage or head that there is not.
    """
    strategy = STRATEGIES.get(config.strategy)
    plan = stage_plan(
        config.backbone, trained_part(config), config.unfreeze_from, feature_stage=config.feature_stage,
        head=config.head or strategy.default_head, output=config.output, num_classes=num_classes,
    )  # fmt: skip
    return sum(part.num_parameters for part in plan if part.is_trainable), sum(part.num_parameters for part in plan)
