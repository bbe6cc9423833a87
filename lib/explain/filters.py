"""The filters of any convolution of a network, each with its response to an image."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.explain.attribution import top_channels
from lib.explain.network import evaluation_view
from lib.models.folding import share_module_tree
from lib.models.stages import StagedNetwork

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class ConvolutionLayer:
    """One convolution: its path in the network, its stage, and what its weights (K, C / groups, h, w) are."""

    path: str
    stage: str
    num_filters: int
    num_inputs: int  # channels that one filter reads
    kernel: tuple[int, int]

    @property
    def title(self) -> str:
        """The stage, the layer in it and its weights in words."""
        return f"{self.path}: {self.num_filters} filters of {self.kernel[0]} × {self.kernel[1]} × {self.num_inputs}"


@dataclass(frozen=True, eq=False)
class FilterResponses:
    """Filters and their responses to one image, before any normalisation or ReLU."""

    layer: ConvolutionLayer
    weights: FloatArray  # (K, C / groups, h, w)
    responses: FloatArray  # (K, H, W)

    def strongest(self, n: int) -> list[int]:
        """The `n` filters with the largest mean absolute response, strongest first."""
        return [int(index) for index in top_channels(self.responses, n)]

    def shown_slice(self, index: int) -> tuple[FloatArray, int]:
        """The part (h, w) of a filter for the input channel with the largest weights, and that channel's number."""
        energy = np.square(self.weights[index]).sum(axis=(1, 2))
        channel = int(energy.argmax())
        return self.weights[index, channel], channel

    def colours(self, index: int) -> FloatArray:
        """A filter that reads three colours as a picture (h, w, 3) in 0..1; mid grey is a weight of zero."""
        weights = self.weights[index].transpose(1, 2, 0)
        return 0.5 + 0.5 * weights / max(float(np.abs(weights).max()), np.finfo(np.float32).tiny)


def convolution_layers(network: StagedNetwork) -> tuple[ConvolutionLayer, ...]:
    """All two-dimensional convolutions of the stages, in the order of their stages."""
    found = []
    for stage, step in network.steps.items():
        for name, module in cast(nn.Module, step).named_modules() if isinstance(step, nn.Module) else ():
            if isinstance(module, nn.Conv2d):
                height, width = (int(side) for side in module.kernel_size)
                inputs = module.in_channels // module.groups
                path = f"{stage}.{name}" if name else stage
                found.append(ConvolutionLayer(path, stage, module.out_channels, inputs, (height, width)))
    return tuple(found)


def filter_responses(network: StagedNetwork, batch: Tensor, path: str) -> FilterResponses:
    """The filters of the convolution `path` and what each answers to one image, batch (1, 3, H, W).

    Raises:
        UserError: the network has no convolution of that path.
    """
    layers = {layer.path: layer for layer in convolution_layers(network)}
    if path not in layers:
        known = ", ".join(list(layers)[:8]) or "none at all"
        raise UserError(f"This network has no convolution {path!r}. Choose one of: {known}{' ...' * (len(layers) > 8)}")
    layer = layers[path]
    kept: list[Tensor] = []
    with evaluation_view(network) as view, torch.no_grad():
        # A copy of the module tree takes the hook, so that the shared network is never touched.
        copy: Any = share_module_tree(cast(nn.Module, view))
        module = copy.steps[layer.stage].get_submodule(path[len(layer.stage) + 1 :])
        module.register_forward_hook(lambda _module, _inputs, output: kept.append(output.detach()))
        copy.forward_until(batch, layer.stage)
    weights = module.weight.detach().float().cpu().numpy()
    # A module that runs several times answers here with its first time.
    return FilterResponses(layer, weights, kept[0][0].float().cpu().numpy())
