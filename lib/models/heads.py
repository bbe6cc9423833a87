"""The table of heads: what turns a backbone's features into class scores. Imports no torch: pages read it too."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib.errors import UserError
from lib.registry import Registry

if TYPE_CHECKING:
    from torch import nn

# "softmax": one unit a class; "sigmoid": one unit for the log-odds of the second of two classes.
OUTPUTS = ("softmax", "sigmoid")


@dataclass(frozen=True)
class HeadSpec:
    """A head; `builder` names the function of lib/models/head_layers.py that makes it.

    `options` are what the builder accepts, with defaults; `reads` is "vector" for pooled features (N, D) or "map" for
    the map of a stage (N, C, H, W) as it is.
    """

    name: str
    title: str
    summary: str
    builder: str
    options: tuple[tuple[str, float], ...] = ()
    reads: str = "vector"
    is_differentiable: bool = True
    is_iterative: bool = True

    def build(self, feature_dim: int, num_outputs: int, **options: float) -> "nn.Module":
        """Make the head with its own defaults where `options` say nothing."""
        from lib.models import head_layers

        builder: Callable[..., nn.Module] = getattr(head_layers, self.builder)
        return builder(feature_dim, num_outputs, **{**dict(self.options), **options})


HEADS: Registry[HeadSpec] = Registry("head")
for _head in (
    HeadSpec("linear", "Linear layer", "One weight for each feature and class.", "build_linear"),
    HeadSpec(
        "mlp",
        "256 units, BatchNorm",
        "A layer of 256 units with BatchNorm, ReLU and dropout, then one of classes.",
        "build_mlp",
        options=(("hidden_dim", 256), ("dropout", 0.5)),
    ),
    HeadSpec(
        "mlp_relu_batchnorm",
        "256 units, BatchNorm last",
        "The same with BatchNorm behind the ReLU, the order of the 2016 retinopathy study.",
        "build_mlp_normalised_last",
        options=(("hidden_dim", 256), ("dropout", 0.5)),
    ),
    HeadSpec(
        "mlp_plain",
        "256 units",
        "A layer of 256 units with ReLU and dropout, then one of classes: no BatchNorm, as in fine-tuning.",
        "build_plain_mlp",
        options=(("hidden_dim", 256), ("dropout", 0.5)),
    ),
    HeadSpec(
        "mlp_two_layers",
        "256 and 128 units",
        "Two layers of 256 and 128 units, each with ReLU and dropout, then one of classes.",
        "build_two_layers",
        options=(("first_dim", 256), ("second_dim", 128), ("first_dropout", 0.5), ("dropout", 0.5)),
    ),
    HeadSpec(
        "mlp_4096_1072",
        "4096 and 1072 units",
        "Two wide layers of 4096 and 1072 units with ReLU, dropout 0.2, then one of classes.",
        "build_two_layers",
        options=(("first_dim", 4096), ("second_dim", 1072), ("first_dropout", 0.0), ("dropout", 0.2)),
    ),
    HeadSpec(
        "fully_convolutional",
        "Fully convolutional",
        "Scores every position of the last map by 1×1 convolutions and takes the mean: images of any size.",
        "build_fully_convolutional",
        options=(("hidden_dim", 256), ("dropout", 0.5)),
        reads="map",
    ),
    HeadSpec(
        "linear_svm",
        "Linear SVM",
        "One linear machine a class against the rest, its margins scaled to probabilities.",
        "SupportVectorHead",
        is_iterative=False,
    ),
    HeadSpec(
        "nearest_neighbors",
        "Nearest neighbours",
        "Keeps the training features; the most similar ones vote.",
        "NearestNeighborsHead",
        options=(("num_neighbors", 5), ("num_samples", 0)),
        is_differentiable=False,
        is_iterative=False,
    ),
):
    HEADS.add(_head)


# A head with BatchNorm, folded, fits into one without (lib/models/folding.py).
_FOLDED = {"mlp": "mlp_plain", "mlp_relu_batchnorm": "mlp_plain"}


def can_take_head(name: str, learned: str) -> bool:
    """Whether a head can start from another one that was learned before, of the same features, classes and output."""
    return learned == name or _FOLDED.get(learned) == name


def iterative_heads() -> tuple[str, ...]:
    """The names of the heads that are trained in epochs."""
    return tuple(head.name for head in HEADS if head.is_iterative)


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
    from lib.models.head_layers import BinaryLogits
    from lib.models.initialization import seeded_initialization

    with seeded_initialization(seed):
        if output == "softmax":
            return spec.build(feature_dim, num_classes, **options)
        from torch import nn

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
