"""How many parameters each stage and head has, known without building a network. Imports no torch: pages read it too.

A test builds the networks and compares.
"""

import itertools

from lib.models.backbones import BACKBONES
from lib.models.freezing import StageParameters, stage_plan
from lib.models.heads import HEADS

_STAGES: dict[str, dict[str, int]] = {
    "bundled_vgg": {
        "block1": 4_768,
        "block2": 34_752,
        "block3": 124_800,
        "block4": 369_280,
        "block5": 1_180_672,
        "pool": 0,
        "projection": 525_312,
        "logits": 426_816,
    },
    "efficientnet_lite0": {
        "stem": 928,
        "block1": 896,
        "block2": 13_968,
        "block3": 39_712,
        "block4": 198_480,
        "block5": 446_784,
        "block6": 1_652_640,
        "block7": 605_440,
        "head_conv": 412_160,
        "pool": 0,
        "logits": 1_281_000,
    },
    "vgg16": {
        "conv1_1": 1_792,
        "conv1_2": 36_928,
        "conv2_1": 73_856,
        "conv2_2": 147_584,
        "conv3_1": 295_168,
        "conv3_2": 590_080,
        "conv3_3": 590_080,
        "conv4_1": 1_180_160,
        "conv4_2": 2_359_808,
        "conv4_3": 2_359_808,
        "conv5_1": 2_359_808,
        "conv5_2": 2_359_808,
        "conv5_3": 2_359_808,
        "fc1": 102_764_544,
        "fc2": 16_781_312,
        "logits": 4_097_000,
    },
    "googlenet": {
        "stem": 9_536,
        "conv2": 115_200,
        "inception3a": 155_872,
        "inception3b": 340_224,
        "inception4a": 364_512,
        "inception4b": 425_232,
        "inception4c": 486_192,
        "inception4d": 573_312,
        "inception4e": 803_840,
        "inception5a": 978_944,
        "inception5b": 1_347_040,
        "pool": 0,
        "logits": 1_025_000,
    },
    "inception_v3": {
        "stem": 28_768,
        "conv4": 143_904,
        "mixed_5b": 255_904,
        "mixed_5c": 277_472,
        "mixed_5d": 285_152,
        "mixed_6a": 1_153_280,
        "mixed_6b": 1_297_408,
        "mixed_6c": 1_691_008,
        "mixed_6d": 1_691_008,
        "mixed_6e": 2_141_952,
        "mixed_7a": 1_698_304,
        "mixed_7b": 5_044_608,
        "mixed_7c": 6_076_800,
        "pool": 0,
        "logits": 2_049_000,
    },
    "resnet18": {
        "stem": 9_536,
        "layer1": 147_968,
        "layer2": 525_568,
        "layer3": 2_099_712,
        "layer4": 8_393_728,
        "pool": 0,
        "logits": 513_000,
    },
    "resnet50": {
        "stem": 9_536,
        "layer1": 215_808,
        "layer2": 1_219_584,
        "layer3": 7_098_368,
        "layer4": 14_964_736,
        "pool": 0,
        "logits": 2_049_000,
    },
    "mobilenet_v2": {
        "stem": 928,
        "block1": 896,
        "block2": 13_968,
        "block3": 39_696,
        "block4": 183_872,
        "block5": 303_168,
        "block6": 795_264,
        "block7": 473_920,
        "head_conv": 412_160,
        "pool": 0,
        "logits": 1_281_000,
    },
    "mobilenet_v3_small": {
        "stem": 464,
        "block1": 744,
        "block2": 9_280,
        "block3": 128_264,
        "block4": 51_768,
        "block5": 680_040,
        "head_conv": 56_448,
        "pool": 0,
        "fc1": 590_848,
        "logits": 1_025_000,
    },
    "handcrafted": {"measures": 0, "logits": 0},
    "cnn_food": {
        "block1": 10_144,
        "block2": 55_424,
        "block3": 221_440,
        "block4": 8_193_024,
        "fc1": 2_098_176,
        "logits": 10_250,
    },
}


def stage_counts(backbone_name: str) -> dict[str, int]:
    """Stage -> parameters, in order; empty for a backbone of which they are not known."""
    if backbone_name in _STAGES:
        return dict(_STAGES[backbone_name])
    spec = BACKBONES.get(backbone_name)
    return dict(zip(spec.stage_names, spec.stage_parameters, strict=False))


def head_count(name: str, feature_dim: int, num_classes: int, *, output: str = "softmax") -> int:
    """Parameters of a head of the table with its own options; a sigmoid output has one unit."""
    spec = HEADS.get(name)
    if name == "linear_svm":  # one machine decides between two classes; each has Platt's scale and offset
        return (1 if num_classes == 2 else num_classes) * (feature_dim + 3)
    if not spec.is_iterative:
        return 0
    options = dict(spec.options)
    hidden = [int(options[key]) for key in ("hidden_dim", "first_dim", "second_dim") if key in options]
    widths = [feature_dim, *hidden, 1 if output == "sigmoid" else num_classes]
    layers = sum(inputs * outputs + outputs for inputs, outputs in itertools.pairwise(widths))
    return layers + (2 * hidden[0] if name in ("mlp", "mlp_relu_batchnorm") else 0)  # BatchNorm's scale and shift


def counted_plan(
    backbone_name: str,
    trains_backbone: str,
    unfreeze_from: str | None = None,
    *,
    feature_stage: str | None = None,
    head: str = "linear",
    output: str = "softmax",
    num_classes: int = 2,
) -> list[StageParameters]:
    """What each stage holds and whether it is trained, the head last; empty where the counts are not known.

    A head behind another stage than the backbone's own reads an average over its map, so one number a channel.

    Raises:
        UserError: unknown backbone, part, stage or head.
    """
    spec, counts = BACKBONES.get(backbone_name), stage_counts(backbone_name)
    plan = stage_plan(backbone_name, trains_backbone, unfreeze_from, feature_stage=feature_stage)
    if not all(stage in counts for stage, _, _ in plan[:-1]):
        return []
    is_own = feature_stage in (None, spec.feature_stage)
    feature_dim = spec.feature_dim if is_own else spec.stage(str(feature_stage)).num_channels
    if HEADS.get(head).reads == "map":
        feature_dim = spec.stage(plan[-2][0]).num_channels
    stages = [StageParameters(stage, title, counts[stage], is_trained) for stage, title, is_trained in plan[:-1]]
    number = head_count(head, feature_dim, num_classes, output=output)
    return [*stages, StageParameters("head", plan[-1][1], number, is_trainable=True)]
