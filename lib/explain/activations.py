"""What the stages of a network answer to an image: first-layer filters, channel maps, one mean map a stage."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.explain.network import as_map, check_drawn_stage, drawn_stages, evaluation_view
from lib.models.stages import StagedNetwork

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
IntArray = np.ndarray[Any, np.dtype[np.int64]]


def first_layer_filters(network: StagedNetwork) -> FloatArray:
    """The weights of the first convolution that reads colours, as small colour pictures.

    Returns:
        (K, k, k, 3) in 0..1: each filter is divided by twice its own largest absolute weight and centred, so that mid
        grey means a weight of zero.

    Raises:
        UserError: the network has no convolution with three input channels.
    """
    for module in cast(nn.Module, network).modules():
        # A folded `transform_input` can be a convolution of 3 to 3 channels; it is no feature.
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.out_channels > 3:
            weights = module.weight.detach().float().permute(0, 2, 3, 1).cpu()
            largest = weights.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
            return (0.5 + 0.5 * weights / largest).numpy()
    raise UserError("This network has no convolution that reads the three colours, so it has no filters to show.")


def stage_activations(network: StagedNetwork, batch: Tensor, stage: str) -> FloatArray:
    """All channels (C, h, w) of one stage that can be drawn for one image, batch (1, 3, H, W)."""
    spec = check_drawn_stage(network, stage)
    check_one_image(batch)
    with evaluation_view(network) as view, torch.no_grad():
        return as_map(view.forward_until(batch, stage), spec)[0].float().cpu().numpy()


def top_channels(activations: FloatArray, n: int) -> IntArray:
    """The indices of the `n` channels of (C, h, w) with the largest mean absolute activation, strongest first."""
    strength = np.abs(activations).mean(axis=(1, 2))
    # Stable: equal channels keep their order, so that the same image always shows the same picture.
    return np.argsort(-strength, kind="stable")[:n]


def activation_strip(network: StagedNetwork, batch: Tensor) -> dict[str, FloatArray]:
    """For each stage that can be drawn the mean absolute activation over its channels, (h, w), in one forward pass."""
    check_one_image(batch)
    maps: dict[str, FloatArray] = {}
    with evaluation_view(network) as view, torch.no_grad():
        h, previous = batch, ""
        for stage, spec in drawn_stages(view).items():
            h = view.forward_between(h, previous, stage) if previous else view.forward_until(h, stage)
            maps[stage] = mean_magnitude(as_map(h, spec))
            previous = stage
    return maps


def mean_magnitude(output: Tensor) -> FloatArray:
    """The mean absolute activation (h, w) over the channels of one image's map (1, C, h, w).

    Absolute because linear bottlenecks (MobileNet) have no ReLU: a plain mean would cancel out.
    """
    return output.detach()[0].float().abs().mean(dim=0).cpu().numpy()


def check_one_image(batch: Tensor) -> None:
    """Raises ValueError unless the batch is (1, 3, H, W)."""
    if batch.ndim != 4 or batch.shape[0] != 1:
        raise ValueError(f"One image is explained at a time: a batch (1, 3, H, W) is needed, not {tuple(batch.shape)}.")
