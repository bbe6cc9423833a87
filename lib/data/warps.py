"""Continuous changes of an image: turn, shift, shear, crop, mirror, brightness, contrast, saturation, hue."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_ASPECT = 4 / 3
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Warp:
    """Ranges of the parameters; what stays at its default is not changed.

    `rotation_deg` and `shear` (radians) reach to both sides, `shift` is a share of the side, `min_area` the smallest
    crop as a share of the area, `brightness` a range of factors, `contrast` and `saturation` half-widths of factors
    about 1, `hue` a half-width in turns of the colour circle.
    """

    rotation_deg: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    min_area: float = 1.0
    flips_horizontally: bool = False
    flips_vertically: bool = False
    brightness: tuple[float, float] | None = None
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0


@dataclass(frozen=True)
class WarpParameters:
    """One image's draw: the map from view to image coordinates (2, 3) in -1..1, and the mixing of colours (3, 4)."""

    pose: np.ndarray
    colours: np.ndarray


def draw_parameters(warp: Warp, rng: np.random.Generator) -> WarpParameters:
    """Draw every parameter, whether used or not, so that one more range does not change the others."""
    turn, shear, dx, dy, area, aspect, x, y = rng.uniform(-1, 1, 8)
    coins = rng.random(2)
    angle = math.radians(warp.rotation_deg) * turn
    share = math.sqrt(warp.min_area + (1 - warp.min_area) * (area + 1) / 2)
    ratio = _ASPECT ** (aspect / 2) if warp.min_area < 1 else 1.0
    width, height = min(1.0, share * ratio), min(1.0, share / ratio)
    mirror = np.array([
        -1.0 if warp.flips_horizontally and coins[0] < 0.5 else 1.0,
        -1.0 if warp.flips_vertically and coins[1] < 0.5 else 1.0,
    ])  # fmt: skip
    cos, sin = math.cos(angle), math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1.0, warp.shear * shear], [0.0, 1.0]])
    linear = linear * np.array([width, height]) * mirror
    offset = 2 * warp.shift * np.array([dx, dy]) + np.array([x * (1 - width), y * (1 - height)])
    return WarpParameters(np.concatenate([linear, offset[:, None]], axis=1), _draw_colours(warp, rng))


def _draw_colours(warp: Warp, rng: np.random.Generator) -> np.ndarray:
    bright, contrast, saturation, hue = rng.uniform(-1, 1, 4)
    low, high = warp.brightness or (1.0, 1.0)
    grey = np.tile(np.array(_LUMA), (3, 1))
    factor = 1 + warp.saturation * saturation
    mixing = factor * np.eye(3) + (1 - factor) * grey
    mixing = _hue_rotation(2 * math.pi * warp.hue * hue) @ mixing
    scale = 1 + warp.contrast * contrast
    mixing = mixing * scale * (low + (high - low) * (bright + 1) / 2)
    return np.concatenate([mixing, np.full((3, 1), 0.5 * (1 - scale))], axis=1)


def _hue_rotation(angle: float) -> np.ndarray:
    """A turn about the grey axis (Rodrigues' formula with the axis (1, 1, 1) / sqrt(3))."""
    cos, sin = math.cos(angle), math.sin(angle)
    across = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return cos * np.eye(3) + sin * across + (1 - cos) / 3


def warp_images(images: "torch.Tensor", parameters: Sequence[WarpParameters], *, size_px: int) -> "torch.Tensor":
    """Apply each image's own parameters.

    Args:
        images: (N, 3, H, W) from 0 to 1; what lies outside is filled with the nearest edge.
        parameters: one an image.
        size_px: side of the result.

    Returns:
        (N, 3, size_px, size_px) from 0 to 1, channels_last.
    """
    import torch
    from torch.nn import functional

    if len(parameters) != len(images):
        raise ValueError(f"{len(parameters)} draws for a batch of {len(images)}")
    poses = torch.as_tensor(np.stack([one.pose for one in parameters]), dtype=images.dtype, device=images.device)
    colours = torch.as_tensor(np.stack([one.colours for one in parameters]), dtype=images.dtype, device=images.device)
    grid = functional.affine_grid(poses, [len(images), 3, size_px, size_px], align_corners=False)
    warped = functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    mixed = torch.einsum("nij,njhw->nihw", colours[:, :, :3], warped) + colours[:, :, 3, None, None]
    return mixed.clamp(0, 1).contiguous(memory_format=torch.channels_last)
