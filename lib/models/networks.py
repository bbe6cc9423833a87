"""Networks built with random weights and cut into the stages of the backbone table; those of the program's own.

A ReLU belongs to its stage and does not work in place, so that a recorded activation stays what it was. Dropout
belongs to the stage after the features it drops, so that the head of a classifier reads them whole. Auxiliary heads are
left out.
"""

import itertools
import pkgutil
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lib.data.retina_measures import measure_fundus
from lib.models.backbone_spec import BackboneSpec
from lib.models.timm_stages import build_timm, split_timm

PROJECTION_DIM = 512
_VGG_CHANNELS = (32, 48, 96, 160, 256)
_FOOD_CHANNELS = (32, 64, 128, 512)
_FOOD_LAST_SIDE = 2  # of the last map at 128 px; other sizes are averaged to it, so that the dense layer fits
_FOOD_DROPOUT, _FOOD_DENSE_DROPOUT = 0.25, 0.5  # not stated in the source; usual for such a network
_SLICE = re.compile(r"(.+)\[(\d+):(\d+)\]")
_LAYERS: dict[str, Callable[[], nn.Module]] = {
    "average": lambda: nn.AdaptiveAvgPool2d(1),
    "flatten": lambda: nn.Flatten(1),
}
_FILLERS = (Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_)
# torch's initialisers draw from one generator per process; two threads that build networks would share it.
_INITIALIZING = threading.Lock()


class _Undrawn(TorchFunctionMode):
    """Leaves parameters without memory alone: torch would trace their initialisers, half a second in each process."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _FILLERS and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def without_parameters() -> Iterator[None]:
    """Build networks in the block that are to be filled by `load_state_dict(assign=True)`: on the meta device."""
    with torch.device("meta"), _Undrawn():
        yield


@contextmanager
def seeded_initialization(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator for the block and give it back as it was."""
    with _INITIALIZING, torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


def build_network(spec: BackboneSpec) -> nn.Module:
    """Build the uncut network, randomly initialised, without auxiliary heads and in-place operations."""
    source, _, name = spec.network.partition(":")
    if source == "torchvision":
        network = _torchvision_network(name)
    elif source == "timm":
        network = build_timm(name)
    else:
        network = pkgutil.resolve_name(spec.network)(spec.stages[-1].num_channels)
    return without_inplace(network)


def without_inplace(network: nn.Module) -> nn.Module:
    """Let no operation of the network overwrite its input; returns the network."""
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return network


def split_into_stages(spec: BackboneSpec, network: nn.Module) -> nn.ModuleDict:
    """Regroup the modules of `build_network` under the stage names of `spec`, in order.

    Raises:
        ValueError: the network lacks a stage of the specification.
    """
    if spec.is_from_timm:
        stages: dict[str, Any] = split_timm(network, spec)
    else:
        stages = {stage.name: _part(network, stage.modules or stage.name) for stage in spec.stages}
    if spec.transform_input:
        first = spec.stage_names[0]
        stages[first] = nn.Sequential(InputRescaling(spec), *stages[first].children())
    if tuple(stages) != spec.stage_names:
        raise ValueError(f"The stages of {spec.name} are {tuple(stages)}, the table says {spec.stage_names}.")
    return nn.ModuleDict(stages)


def _part(network: nn.Module, modules: str | tuple[str, ...]) -> nn.Module:
    if isinstance(modules, tuple):
        return nn.Sequential(*(_LAYERS[path]() if path in _LAYERS else _part(network, path) for path in modules))
    if sliced := _SLICE.fullmatch(modules):
        path, first, end = sliced.groups()
        part: nn.Module = network.get_submodule(path)[int(first) : int(end)]  # type: ignore[index]
        return part
    return network.get_submodule(modules)


class InputRescaling(nn.Module):
    """From the ImageNet normalisation to -1..1, for weights ported from TensorFlow (`transform_input`)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, spec: BackboneSpec) -> None:
        super().__init__()
        scale = torch.tensor([std / 0.5 for std in spec.std], device="cpu")
        shift = torch.tensor([(mean - 0.5) / 0.5 for mean in spec.mean], device="cpu")
        self.register_buffer("scale", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in, the same shape out."""
        return x * self.scale + self.shift


def _torchvision_network(name: str) -> nn.Module:
    from torchvision import models  # takes a second, which the bundled networks can do without
    from torchvision.models import inception
    from torchvision.models.googlenet import GoogLeNet, Inception, InceptionAux

    class ConvolutionBlock(inception.BasicConv2d):
        """Convolution, BatchNorm and ReLU like torchvision's, whose ReLU works in place."""

        def __init__(self, in_channels: int, out_channels: int, **options: Any) -> None:
            super().__init__(in_channels, out_channels, **options)
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.bn(self.conv(x)))

    options: dict[str, Any] = {"aux_logits": False, "init_weights": True}
    if name == "googlenet":
        branches = partial(Inception, conv_block=ConvolutionBlock)
        return GoogLeNet(blocks=[ConvolutionBlock, branches, InceptionAux], **options)
    if name == "inception_v3":
        kinds = (getattr(inception, f"Inception{kind}") for kind in ("A", "B", "C", "D", "E", "Aux"))
        blocks = [ConvolutionBlock, *(partial(kind, conv_block=ConvolutionBlock) for kind in kinds)]
        return inception.Inception3(inception_blocks=blocks, **options)
    network: nn.Module = models.get_model(name, weights=None)
    return network


class ConvolutionBlock(nn.Module):
    """Two convolutions with BatchNorm and ReLU, then a maximum over 2 x 2.

    With `hands_on` the block's input follows its own channels, averaged over 2 x 2: the last map then holds what
    several depths saw, so that a head can weigh parts against textures (after DenseNet, Huang et al. 2017, arXiv
    1608.06993).
    """

    def __init__(self, in_channels: int, out_channels: int, *, hands_on: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for channels in (in_channels, out_channels):
            self.layers.append(nn.Conv2d(channels, out_channels, 3, padding=1, bias=False))
            self.layers.append(nn.BatchNorm2d(out_channels))
            self.layers.append(nn.ReLU())
        self.hands_on = hands_on

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K, H/2, W/2), K with the channels handed on."""
        own = F.max_pool2d(self.layers(x), 2)
        return torch.cat([own, F.avg_pool2d(x, 2)], dim=1) if self.hands_on else own


class MeanAndMaximum(nn.Module):
    """The mean and the maximum of each channel over the image."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 2 C)."""
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)


class BundledVGG(nn.Sequential):
    """The small VGG-style network that ships with the program, pretrained on generated images (lib/pretraining).

    Blocks 1 to 5, mean and maximum, a projection, and the generated classes as logits (N, num_classes). The projection
    keeps the features general (Wang et al. 2022, arXiv 2112.00496).
    """

    projection: nn.Sequential
    logits: nn.Linear

    def __init__(self, num_classes: int) -> None:
        c1, c2, c3, c4, c5 = _VGG_CHANNELS
        num_features = 2 * (c5 + c4 + c3)
        layers = {
            # Filters of 7 x 7 pixels, large enough for an eye to see edges and colour blobs in them; at every other
            # position only, which makes the whole network a third faster than a maximum over all positions.
            "block1": nn.Sequential(
                nn.Conv2d(3, c1, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(c1), nn.ReLU()
            ),
            "block2": ConvolutionBlock(c1, c2),
            "block3": ConvolutionBlock(c2, c3),
            "block4": ConvolutionBlock(c3, c4, hands_on=True),
            "block5": ConvolutionBlock(c4 + c3, c5, hands_on=True),
            "pool": MeanAndMaximum(),
            "projection": nn.Sequential(
                nn.Linear(num_features, PROJECTION_DIM, bias=False), nn.BatchNorm1d(PROJECTION_DIM), nn.ReLU()
            ),
            "logits": nn.Linear(PROJECTION_DIM, num_classes),
        }
        super().__init__(OrderedDict(layers))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to features (N, D)."""
        for step in list(self)[:-2]:
            x = step(x)
        return x


class CNNFood(nn.Sequential):
    """The network of a food tutorial (study 5), of which no weights are published; images of 78 px or more.

    Four blocks, a dense layer of 1,024 units and `num_classes` logits. With ten classes it has 10,588,458 parameters,
    as published; the tutorial counts seven convolutions, its own list of layers has the eight that give this number.
    """

    def __init__(self, num_classes: int) -> None:
        layers: dict[str, nn.Module] = {}
        for block, (before, channels) in enumerate(itertools.pairwise((3, *_FOOD_CHANNELS)), start=1):
            kernel, pool = (5, 4) if block == len(_FOOD_CHANNELS) else (3, 2)
            layers[f"block{block}"] = nn.Sequential(
                nn.Conv2d(before, channels, kernel, padding="same"),
                nn.ReLU(),
                nn.Conv2d(channels, channels, kernel),
                nn.ReLU(),
                nn.MaxPool2d(pool),
                nn.Dropout(_FOOD_DROPOUT),
            )
        # Dropout after the dense layer belongs to it here: a linear head on top is then the published network.
        layers["fc1"] = nn.Sequential(
            nn.AdaptiveAvgPool2d(_FOOD_LAST_SIDE),
            nn.Flatten(1),
            nn.Linear(_FOOD_CHANNELS[-1] * _FOOD_LAST_SIDE**2, 1024),
            nn.ReLU(),
            nn.Dropout(_FOOD_DENSE_DROPOUT),
        )
        layers["logits"] = nn.Linear(1024, num_classes)
        super().__init__(OrderedDict(layers))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                # Glorot uniform, the default of Keras in which the network was published.
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class HandcraftedNetwork(nn.Sequential):
    """Measures of the retina in the place of features, and no classes of its own.

    As a backbone without a network it takes the same road as all others (cache, head, bundle, grading), so that it can
    be compared with them.
    """

    def __init__(self, _num_classes: int) -> None:
        super().__init__(OrderedDict(measures=RetinaMeasures(), logits=nn.Identity()))


class RetinaMeasures(nn.Module):
    """Measures in the order of `FEATURE_NAMES` (lib/data/retina_measures.py); passes no gradients."""

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, S, S) from 0 to 1 to (N, D), float32, on their device."""
        images = x.detach().float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        rows = [measure_fundus(np.ascontiguousarray(image)) for image in images]
        return torch.from_numpy(np.stack(rows)).to(x.device)
