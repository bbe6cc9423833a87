"""Random views of rendered images: crop, turn, mirror, colours; each image of a batch is drawn its own."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ColourChange:
    """How strongly views differ in colour: deviation of the mixing of channels, share of grey views, and two ranges."""

    mixing: float = 0.13
    grey_share: float = 1 / 6
    contrast: float = 0.4
    brightness: float = 0.2


def random_views(
    pixels: Tensor, *, size_px: int, generator: torch.Generator, colour: ColourChange = ColourChange()
) -> Tensor:
    """Crop, turn, mirror, recolour.

    Args:
        pixels: uint8 (N, S, S, 3).
        size_px: side of the views.
        generator: draws everything.
        colour: how strongly colours change.

    Returns:
        (N, 3, size_px, size_px), from 0 to 1, channels_last.
    """
    num = len(pixels)
    images = pixels.permute(0, 3, 1, 2).float() / 255
    grid = F.affine_grid(_poses(num, generator), [num, 3, size_px, size_px], align_corners=False)
    views = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _recoloured(views, generator, colour).contiguous(memory_format=torch.channels_last)


def _poses(num: int, generator: torch.Generator) -> Tensor:
    """Affine maps (N, 2, 3) from view to image: area 0.3 to 1, aspect 3:4 to 4:3, up to 15 degrees, mirrored or not."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(num).uniform_(low, high, generator=generator)

    scale = uniform(0.3, 1.0).sqrt()
    aspect = (uniform(-1, 1) * math.log(4 / 3) / 2).exp()
    width, height = (scale * aspect).clamp(max=1), (scale / aspect).clamp(max=1)
    angle = uniform(-math.pi / 12, math.pi / 12)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    x, y = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
    first = torch.stack([cos * width * mirror, -sin * height, x], 1)
    second = torch.stack([sin * width * mirror, cos * height, y], 1)
    return torch.stack([first, second], 1)


def _recoloured(views: Tensor, generator: torch.Generator, colour: ColourChange) -> Tensor:
    """Brightness, contrast, a random mixing of the channels, and grey for some images."""
    num = len(views)
    luma = torch.tensor([0.299, 0.587, 0.114])
    mixing = torch.eye(3) + colour.mixing * torch.randn(num, 3, 3, generator=generator)
    mixing = mixing / mixing.sum(2, keepdim=True).clamp(min=0.4)
    is_grey = torch.rand(num, 1, 1, generator=generator) < colour.grey_share
    mixing = torch.where(is_grey, luma.expand(num, 3, 3), mixing)
    contrast = torch.empty(num, 1, 1, 1).uniform_(1 - colour.contrast, 1 + colour.contrast, generator=generator)
    brightness = torch.empty(num, 1, 1, 1).uniform_(-colour.brightness, colour.brightness, generator=generator)
    centre = views.mean((1, 2, 3), keepdim=True)
    mixed = torch.einsum("nij,njhw->nihw", mixing, views)
    return ((mixed - centre) * contrast + centre + brightness).clamp(0, 1)
