"""The table of heads: what turns a backbone's features into class scores. Imports no torch: pages read it too."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib.errors import UserError
from lib.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from lib.models.backbone_spec import BackboneSpec

# As a feature stage: the last vector before the network's own classes, whatever it is called in this backbone.
LAST_VECTOR = "last_vector"
# "softmax": one unit a class; "sigmoid": one unit for the log-odds of the second of two classes.
OUTPUTS = ("softmax", "sigmoid")


@dataclass(frozen=True)
class HeadSpec:
    """A head; `layer` names what lib/models/head_layers.py makes it of.

    `options` are what it accepts, with defaults: hidden widths end in `_dim`, dropouts behind them in `dropout`, in
    order. `norm` is where a BatchNorm stands, "before" or "behind" the ReLU, and `folds_into` the head that takes this
    one once that is folded. `reads` is "vector" for pooled features (N, D) or "map" for the map of a stage
    (N, C, H, W) as it is. `count` gives the parameters for (feature_dim, num_classes) where there are no such layers.
    """

    name: str
    title: str
    summary: str
    layer: str = "build_layers"
    options: tuple[tuple[str, float], ...] = ()
    norm: str = ""
    folds_into: str = ""
    reads: str = "vector"
    is_differentiable: bool = True
    is_iterative: bool = True
    count: Callable[[int, int], int] | None = None

    @property
    def keeps_samples(self) -> bool:
        """Whether it is a memory of training features instead of weights."""
        return any(name == "num_samples" for name, _ in self.options)

    def build(self, feature_dim: int, num_outputs: int, **options: float) -> "nn.Module":
        """Make the head with its own defaults where `options` say nothing."""
        from lib.models import head_layers

        build: Callable[..., nn.Module] = getattr(head_layers, self.layer)
        norm = {"norm": self.norm} if self.norm else {}
        return build(feature_dim, num_outputs, **{**dict(self.options), **options}, **norm)

    def num_parameters(self, feature_dim: int, num_classes: int, *, output: str = "softmax") -> int:
        """What the head holds with its own options; a sigmoid output has one unit."""
        if self.count is not None:
            return self.count(feature_dim, num_classes)
        hidden = [int(width) for name, width in self.options if name.endswith("_dim")]
        widths = [feature_dim, *hidden, 1 if output == "sigmoid" else num_classes]
        layers = sum(inputs * outputs + outputs for inputs, outputs in itertools.pairwise(widths))
        return layers + (2 * sum(hidden) if self.norm else 0)  # BatchNorm's scale and shift


_ONE_LAYER = (("hidden_dim", 256), ("dropout", 0.5))
HEADS: Registry[HeadSpec] = Registry("head")
for _head in (
    HeadSpec("linear", "Linear layer", "One weight for each feature and class."),
    HeadSpec(
        "mlp",
        "256 units, BatchNorm",
        "A layer of 256 units with BatchNorm, ReLU and dropout, then one of classes.",
        options=_ONE_LAYER,
        norm="before",
        folds_into="mlp_plain",
    ),
    HeadSpec(
        "mlp_relu_batchnorm",
        "256 units, BatchNorm last",
        "The same with BatchNorm behind the ReLU, the order of the 2016 retinopathy study.",
        options=_ONE_LAYER,
        norm="behind",
        folds_into="mlp_plain",
    ),
    HeadSpec(
        "mlp_plain",
        "256 units",
        "A layer of 256 units with ReLU and dropout, then one of classes: no BatchNorm, as in fine-tuning.",
        options=_ONE_LAYER,
    ),
    HeadSpec(
        "mlp_two_layers",
        "256 and 128 units",
        "Two layers of 256 and 128 units, each with ReLU and dropout, then one of classes.",
        options=(("first_dim", 256), ("second_dim", 128), ("first_dropout", 0.5), ("dropout", 0.5)),
    ),
    HeadSpec(
        "mlp_4096_1072",
        "4096 and 1072 units",
        "Two wide layers of 4096 and 1072 units with ReLU, dropout 0.2, then one of classes.",
        options=(("first_dim", 4096), ("second_dim", 1072), ("first_dropout", 0.0), ("dropout", 0.2)),
    ),
    HeadSpec(
        "fully_convolutional",
        "Fully convolutional",
        "Scores every position of the last map by 1×1 convolutions and takes the mean: images of any size.",
        layer="build_fully_convolutional",
        options=_ONE_LAYER,
        reads="map",
    ),
    HeadSpec(
        "linear_svm",
        "Linear SVM",
        "One linear machine a class against the rest, its margins scaled to probabilities.",
        layer="SupportVectorHead",
        is_iterative=False,
        # One machine decides between two classes; each has Platt's scale and offset.
        count=lambda feature_dim, num_classes: (1 if num_classes == 2 else num_classes) * (feature_dim + 3),
    ),
    HeadSpec(
        "nearest_neighbors",
        "Nearest neighbours",
        "Keeps the training features; the most similar ones vote.",
        layer="NearestNeighborsHead",
        options=(("num_neighbors", 5), ("num_samples", 0)),
        is_differentiable=False,
        is_iterative=False,
        count=lambda _feature_dim, _num_classes: 0,
    ),
):
    HEADS.add(_head)


def can_take_head(name: str, learned: str) -> bool:
    """Whether a head can start from another one that was learned before, of the same features, classes and output."""
    return learned == name or HEADS.get(learned).folds_into == name


def iterative_heads() -> tuple[str, ...]:
    """The names of the heads that are trained in epochs."""
    return tuple(head.name for head in HEADS if head.is_iterative)


def resolve_features(
    spec: "BackboneSpec", feature_stage: str | None = None, pooling: str | None = None, head: str = "linear"
) -> tuple[str, str]:
    """Fill in feature stage and pooling: the table's own, or for another stage or head what fits.

    Raises:
        UserError: unknown stage, one that the head cannot read, or a pooling that does not fit it.
    """
    reads_map = HEADS.get(head).reads == "map"
    asked = spec.last_vector_stage if feature_stage == LAST_VECTOR else feature_stage
    stage = spec.stage(asked or (spec.last_map_stage if reads_map else spec.feature_stage))
    gives = "a map" if stage.output == "map" else "tokens" if stage.output == "tokens" else "a vector"
    if reads_map and stage.output != "map":
        raise UserError(
            f"The head {head} reads a map, the stage {stage.name!r} gives {gives}; choose an earlier "
            f"feature_stage, such as {spec.last_map_stage}."
        )
    allowed = ("none",) if reads_map else stage.poolings
    pooling = pooling or (spec.pooling if stage.name == spec.feature_stage and spec.pooling in allowed else allowed[0])
    if pooling not in allowed:
        gives += f", which the head {head} reads as it is" if reads_map else ""
        raise UserError(
            f"The stage {stage.name!r} gives {gives}: pooling must be {' or '.join(allowed)}, received {pooling!r}."
        )
    return stage.name, pooling


def build_head(
    name: str, feature_dim: int, num_classes: int, seed: int = 0, *, output: str = "softmax", **options: float
) -> "nn.Module":
    """Build a head from the table, initialised from `seed`; its logits are (N, num_classes) for either `output`.

    Raises:
        UserError: unknown head, option or output, fewer than two classes, or a sigmoid for more than two.
    """
    spec = HEADS.get(name)
    if num_classes < 2:
        raise UserError(f"A classifier needs at least two classes, received {num_classes}.")
    known = dict(spec.options)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(f"The head {name!r} has no option {unknown[0]!r}; it knows: {', '.join(known) or 'none'}.")
    check_output(output, num_classes)
    from torch import nn

    from lib.models.head_layers import BinaryLogits
    from lib.models.networks import seeded_initialization

    with seeded_initialization(seed):
        if output == "softmax":
            return spec.build(feature_dim, num_classes, **options)
        return nn.Sequential(spec.build(feature_dim, 1, **options), BinaryLogits())


def check_output(output: str, num_classes: int) -> None:
    """Raise UserError for an unknown output, or a sigmoid unit where there are not two classes."""
    if output not in OUTPUTS:
        raise UserError(f"Unknown output {output!r}. Choose one of: {', '.join(OUTPUTS)}.")
    if output == "sigmoid" and num_classes != 2:
        raise UserError(
            f"One sigmoid unit tells two classes apart, this data set has {num_classes}; use output=softmax, or merge "
            "classes with target_map."
        )


def described_head(
    name: str, num_classes: int, feature_dim: int, options: dict[str, Any], output: str = "softmax"
) -> dict[str, Any]:
    """What a saved bundle needs to build the head again; an output of "softmax" goes without saying."""
    said = dict(options) if output == "softmax" else {**options, "output": output}
    return {"name": name, "num_classes": num_classes, "feature_dim": feature_dim, "options": said}
