"""Fills in what a config leaves open and checks the rest, before anything is run. Imports no torch."""

import dataclasses
from typing import Any

from lib.data.subset import take_part
from lib.errors import UserError
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.training.config import TrainConfig
from lib.training.pinning import resolve_pinned
from lib.training.strategies import STRATEGIES, StrategySpec

# A head that is fitted by scikit-learn cannot be iterated, and the other way round.
_ITERATIVE_HEADS = ("linear", "mlp")


def resolve_config(config: TrainConfig, dataset: Any) -> TrainConfig:
    """Return the config with every None replaced by the strategy's, backbone's or data set's own value.

    What a strategy has no use for (epochs of a linear probe) becomes None.

    Raises:
        UserError: unknown names, settings that do not fit together, or a data set too small to be split.
    """
    strategy, spec = STRATEGIES.get(config.strategy), BACKBONES.get(config.backbone)
    feature_stage = spec.stage(config.feature_stage or spec.feature_stage).name
    subset = take_part(dataset, config)
    resolved = dataclasses.replace(
        config,
        dataset=dataset.name,
        dataset_version=config.dataset_version or dataset.version,
        weights=config.weights if strategy.uses_pretrained else "random",
        head=_head(config, strategy),
        feature_stage=feature_stage,
        pooling=_pooling(config.pooling, spec, feature_stage),
        unfreeze_from=_first_trained_stage(config, strategy, spec, feature_stage),
        epochs=(config.epochs or strategy.default_epochs) if strategy.is_iterative else None,
        learning_rate=(config.learning_rate or strategy.default_learning_rate) if strategy.is_iterative else None,
        input_size_px=_input_size(config, spec),
        pinned_images=resolve_pinned(config.pinned_images, subset, config.split_seed),
    )
    subset.split(resolved.split_seed, num_folds=resolved.num_folds, fold=0 if resolved.num_folds else None)
    return resolved


def _head(config: TrainConfig, strategy: StrategySpec) -> str:
    allowed = _ITERATIVE_HEADS if strategy.is_iterative else (strategy.default_head,)
    head = config.head or strategy.default_head
    if head not in allowed:
        raise UserError(f"The head of {strategy.name} must be one of: {', '.join(allowed)}; received {head!r}.")
    return head


def _pooling(asked: str | None, spec: BackboneSpec, feature_stage: str) -> str:
    is_map = spec.stage(feature_stage).output == "map"
    allowed = ("average", "flatten") if is_map else ("none", "flatten")
    default = spec.pooling if feature_stage == spec.feature_stage else allowed[0]
    pooling = asked or default
    if pooling not in allowed:
        kind = "a map" if is_map else "a vector"
        raise UserError(
            f"The stage {feature_stage!r} gives {kind}: pooling must be {' or '.join(allowed)}, received {pooling!r}."
        )
    return pooling


def _first_trained_stage(
    config: TrainConfig, strategy: StrategySpec, spec: BackboneSpec, feature_stage: str
) -> str | None:
    if strategy.trains_backbone != "partial":
        return None
    names = [stage.name for stage in spec.stages_until(feature_stage)]
    first = config.unfreeze_from or (spec.unfreeze_from if spec.unfreeze_from in names else names[-1])
    if first not in names:
        raise UserError(
            f"Cannot train {spec.title} from the stage {first!r}; unfreeze_from must be one of: {', '.join(names)}."
        )
    return first


def _input_size(config: TrainConfig, spec: BackboneSpec) -> int:
    size_px = config.input_size_px or spec.input_size_px
    if size_px < spec.min_input_px:
        raise UserError(f"{spec.title} needs images of at least {spec.min_input_px} px, received {size_px} px.")
    return size_px
