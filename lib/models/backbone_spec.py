"""What the table of backbones says about each network. Imports no torch: pages read it too."""

import os
from dataclasses import dataclass

from lib.data.input_transform import Resizing
from lib.errors import UserError

_HUB = "https://huggingface.co"
HUB_FILE = "model.safetensors"
TIMM = "timm:"  # how the names of timm's networks begin
BUNDLED, PACKAGE = "assets/", "package:"  # how a `weights_source` that needs no download begins
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
STARTING_WEIGHTS = ("pretrained", "random")
_EARLIER_NAMES = {"imagenet": "pretrained"}  # configs and bundles of the time when ImageNet was the only choice


@dataclass(frozen=True)
class StageSpec:
    """One named step of a network.

    `output` is "map" (N, C, H, W), "tokens" (N, L, D) or "vector" (N, D); `num_channels` is that C or D,
    `num_parameters` what the stage holds. `modules` says where the uncut network has it (`split_into_stages`): a path
    such as "layer1" or a slice "features[2:4]", or several, run one after the other; by default the stage's own name.

    Of tokens, the first `num_prefix_tokens` belong to no place in the image, the first of all being the class token if
    `has_class_token`; the others lie row by row as their places do if `is_on_grid`. `is_channels_last` says that the
    network itself has (N, H, W, C) where this stage hands on a map.
    """

    name: str
    title: str
    output: str
    num_channels: int = 0
    num_parameters: int = 0
    modules: str | tuple[str, ...] = ""
    num_prefix_tokens: int = 0
    has_class_token: bool = False
    is_on_grid: bool = False
    is_channels_last: bool = False

    @property
    def has_places(self) -> bool:
        """Whether the output can be drawn over the image: a map, or tokens that lie on a grid."""
        return self.output == "map" or self.is_on_grid

    @property
    def poolings(self) -> tuple[str, ...]:
        """How the output becomes the vector that a head reads; the usual way first."""
        if self.output == "tokens":
            return ("cls", "average", "flatten") if self.has_class_token else ("average", "flatten")
        return ("average", "flatten") if self.output == "map" else ("none", "flatten")

    @property
    def label(self) -> str:
        """The title as it stands in lists and sentences, the code name second: "Block 5 (block5)"."""
        return f"{self.title} ({self.name})"


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A network, the weights it is offered with, and the preprocessing that belongs to those weights.

    Network: `network` is "torchvision:NAME", "timm:NAME", or "module:class" of a class that is called with the number
    of its own classes. A classifier reads the output of `feature_stage`, pooled by `pooling`; partial fine-tuning
    starts at `unfreeze_from`; heat maps are taken at `cam_stage` unless told otherwise.

    Weights: `weights_source` is an address (https), "assets/FILE" for a file that comes with the program,
    "package:PATH" for one inside an installed Python package, a repository of the Hugging Face Hub, or empty where
    there are none; `weights_sha256` what the file must hash to, `pretrained_on` in words what the weights have seen.
    `weights_are_ordered` says that the file holds the network's tensors in their order, under names of its own.

    Input: `mean` and `std` are per RGB channel on a 0..1 scale; with `transform_input` the network itself rescales
    this normalisation to -1..1 (weights ported from TensorFlow). `interpolation` and `crop_fraction` say how a stored
    square becomes the input (see `Resizing`). `is_fixed_size` says that images of `input_size_px` alone are taken,
    `input_step_px` of which number the side must be a multiple.
    """

    name: str
    title: str
    network: str
    paper_url: str
    stages: tuple[StageSpec, ...]
    feature_stage: str
    cam_stage: str
    unfreeze_from: str
    pooling: str = "average"
    weights_source: str = ""
    weights_mib: float = 0.0
    weights_sha256: str = ""
    weights_licence: str = ""
    weights_are_ordered: bool = False
    pretrained_on: str = "ImageNet"
    input_size_px: int = 224
    min_input_px: int = 32
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD
    interpolation: str = "bilinear"
    crop_fraction: float = 1.0
    transform_input: bool = False
    is_fixed_size: bool = False
    input_step_px: int = 1

    @property
    def is_from_timm(self) -> bool:
        """Whether the network is one of timm, asked for by its name there."""
        return self.name.startswith(TIMM)

    @property
    def num_parameters(self) -> int:
        """What all stages hold, so without auxiliary heads."""
        return sum(stage.num_parameters for stage in self.stages)

    @property
    def feature_dim(self) -> int:
        """How many numbers a classifier reads, D."""
        return self.stage(self.feature_stage).num_channels

    @property
    def has_weights(self) -> bool:
        """Whether there are pretrained weights anywhere; False for a network that is only trained from scratch."""
        return bool(self.weights_source)

    @property
    def is_bundled(self) -> bool:
        """Whether the file of the weights comes with the program."""
        return self.weights_source.startswith(BUNDLED)

    @property
    def is_on_hub(self) -> bool:
        """Whether the weights are those of a repository of the Hugging Face Hub."""
        is_elsewhere = self.weights_source.startswith((BUNDLED, PACKAGE)) or "://" in self.weights_source
        return self.has_weights and not is_elsewhere

    @property
    def weights_package(self) -> str:
        """The folder of an installed Python package that holds the weights; empty if none does."""
        is_inside = self.weights_source.startswith(PACKAGE)
        return self.weights_source.removeprefix(PACKAGE).rpartition("/")[0] if is_inside else ""

    @property
    def weights_file(self) -> str:
        """The name of the file of the weights."""
        if self.is_on_hub:
            return self.weights_source.replace("/", "--") + ".safetensors"
        return self.weights_source.rpartition("/")[2]

    @property
    def weights_url(self) -> str:
        """Where the weights are published; empty if they come with an installation or there are none."""
        if self.is_on_hub:
            hub = os.environ.get("HF_ENDPOINT") or _HUB
            return f"{hub.rstrip('/')}/{self.weights_source}/resolve/main/{HUB_FILE}"
        return self.weights_source if "://" in self.weights_source else ""

    @property
    def weights_title(self) -> str:
        """What the weights have seen, as a label: "ImageNet", "Generated images"."""
        return self.pretrained_on[:1].upper() + self.pretrained_on[1:]

    @property
    def has_classes(self) -> bool:
        """Whether the network answers with classes of its own; some of timm end at the vector before them."""
        return self.stages[-1].name != "pool"

    @property
    def resizing(self) -> Resizing:
        """How a stored square becomes the network's input."""
        return Resizing(self.interpolation, self.crop_fraction)

    @property
    def stage_names(self) -> tuple[str, ...]:
        """All stage names in order."""
        return tuple(stage.name for stage in self.stages)

    @property
    def map_stages(self) -> tuple[StageSpec, ...]:
        """The stages with a feature map, up to the feature stage: where activations and heat maps can be shown."""
        return tuple(stage for stage in self.stages_until(self.feature_stage) if stage.output == "map")

    @property
    def last_map_stage(self) -> str:
        """The last stage with a map, where a fully convolutional head sits; raises UserError if there is none."""
        names = [stage.name for stage in self.stages if stage.output == "map"]
        if not names:
            raise UserError(f"{self.title} has no maps, its stages give tokens; choose a head that reads a vector.")
        return names[-1]

    @property
    def shown_stage(self) -> str:
        """The stage to look at first: that of the heat maps, else the last one with places, "" if there is none."""
        placed = [stage.name for stage in self.stages_until(self.feature_stage) if stage.has_places]
        return self.cam_stage or (placed[-1] if placed else "")

    @property
    def last_vector_stage(self) -> str:
        """The last vector before the network's own classes, such as `fc2` of VGG16; the only one if there is one."""
        return [stage.name for stage in self.stages if stage.output == "vector"][-2:][0]

    def first_tuned(self, feature_stage: str) -> str:
        """Where partial fine-tuning begins unless told otherwise; a classifier may read an earlier stage than that."""
        names = [stage.name for stage in self.stages_until(feature_stage)]
        return self.unfreeze_from if self.unfreeze_from in names else feature_stage

    def stage(self, name: str) -> StageSpec:
        """The stage of that name; raises UserError listing the stages of this backbone."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise UserError(f"{self.title} has no stage {name!r}. Choose one of: {', '.join(self.stage_names)}.")

    def stages_until(self, name: str) -> tuple[StageSpec, ...]:
        """The stages from the first to the named one, inclusive; raises UserError if there is none of that name."""
        return self.stages[: self.stages.index(self.stage(name)) + 1]


def starting_weights(name: str) -> str:
    """The name of starting weights as it is now ("pretrained" or "random"); raises UserError for any other."""
    now = _EARLIER_NAMES.get(name, name)
    if now not in STARTING_WEIGHTS:
        raise UserError(f"Unknown weights {name!r}. Choose 'pretrained' or 'random'.")
    return now
