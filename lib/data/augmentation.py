"""Random changes of training images: one table of policies, drawn from seed, epoch and image alone.

So a resumed run sees the same batches, whatever was drawn before. Policies with a handful of views (mirrored, turned)
can be cached behind a frozen backbone; the others can be too, as a fixed number of seeded views.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lib.registry import Registry

if TYPE_CHECKING:
    import torch

# Elements of the dihedral group of the square: k quarter turns, 4 + k the same after a left-right mirror.
IDENTITY, MIRRORED = 0, 4
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
    """Apply each image's own parameters to (N, 3, H, W) from 0 to 1; what lies outside is the nearest edge's colour.

    Returns (N, 3, size_px, size_px) from 0 to 1, channels_last.
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


@dataclass(frozen=True)
class AugmentationPolicy:
    """A named way of changing images: `elements` of the dihedral group, or a `warp` with continuous parameters."""

    name: str
    title: str
    summary: str
    elements: tuple[int, ...] = (IDENTITY,)
    warp: Warp | None = None

    @property
    def is_finite(self) -> bool:
        """Whether an image has only a handful of views, all of which can be cached."""
        return self.warp is None


@dataclass(frozen=True)
class View:
    """One fixed way to look at every image: an element of the dihedral group, or seeded draw number `number`."""

    element: int = IDENTITY
    policy: str = ""
    number: int = 0
    seed: int = 0

    @property
    def key(self) -> str:
        """What a cache adds to its key; empty for the image as it is."""
        drawn = f"{self.policy}/{self.number}/{self.seed}" if self.policy else ""
        return drawn or {IDENTITY: "", MIRRORED: "flipped"}.get(self.element, f"dihedral{self.element}")

    @property
    def title(self) -> str:
        """What a progress line says, such as "mirrored"; empty for the image as it is."""
        if self.policy:
            return f"view {self.number + 1}"
        turned = f"turned {self.element % 4 * 90}°" + (", mirrored" if self.element > MIRRORED else "")
        return {IDENTITY: "", MIRRORED: "mirrored"}.get(self.element, turned)


AS_IT_IS = View()

POLICIES: Registry[AugmentationPolicy] = Registry("augmentation")
for _policy in (
    AugmentationPolicy("none", "None", "Every epoch sees the images as they are."),
    AugmentationPolicy("flip", "Left-right flips", "Mirrored or not.", (IDENTITY, MIRRORED)),
    AugmentationPolicy(
        "rotations", "Right-angle turns",
        "Turned by 0, 90, 180 or 270 degrees; every colour stays as it is.", (0, 1, 2, 3),
    ),
    AugmentationPolicy("dihedral", "Turns and mirrors", "All eight ways to lay a square.", tuple(range(8))),
    AugmentationPolicy(
        "ten_views", "Small shifts and turns",
        "Turned up to 20 degrees, shifted up to a fifth, sheared, mirrored (the augmented variants of study 1).",
        warp=Warp(rotation_deg=20, shift=0.2, shear=0.2, flips_horizontally=True),
    ),
    AugmentationPolicy(
        "tutorial", "Tutorial",
        "Turned up to 90 degrees, 0.1 to 0.7 of the brightness, shifted up to a half, mirrored both ways (study 5).",
        warp=Warp(rotation_deg=90, shift=0.5, brightness=(0.1, 0.7), flips_horizontally=True, flips_vertically=True),
    ),
    AugmentationPolicy(
        "modern", "Random crops and colours",
        "A random crop of 35 to 100 % of the area, mirrored, with other brightness, contrast, saturation and hue.",
        warp=Warp(
            min_area=0.35, flips_horizontally=True, brightness=(0.6, 1.4), contrast=0.4, saturation=0.4, hue=0.06
        ),
    ),
):  # fmt: skip
    POLICIES.add(_policy)


def finite_views(policy: AugmentationPolicy, *, num_views: int = 0, seed: int = 0) -> tuple[View, ...]:
    """The views that a cache has to hold: those of a finite policy, or `num_views` seeded draws of another one.

    Raises ValueError for a policy with continuous parameters and no number of views.
    """
    if policy.warp is None:
        return tuple(View(element) for element in policy.elements)
    if num_views < 1:
        raise ValueError(f"The policy {policy.name!r} has endlessly many views; give their number.")
    return tuple(View(policy=policy.name, number=number, seed=seed) for number in range(num_views))


def drawn_views(image_ids: Sequence[str], num_views: int, *, seed: int, epoch: int) -> np.ndarray:
    """Which of `num_views` views each image shows in an epoch, int (N,), equally often on average."""
    digests = (hashlib.blake2b(f"{seed}/{epoch}/{image_id}".encode()).digest() for image_id in image_ids)
    # Of one byte, so that two views are drawn as ever: bit 0 decides.
    return np.array([digest[0] % num_views for digest in digests], dtype=np.int64)


def turned(batch: "torch.Tensor", elements: Sequence[int] | np.ndarray) -> "torch.Tensor":
    """Lay each image (N, C, H, W) by its element of the dihedral group; the batch given stays as it was."""
    import torch

    if len(elements) != len(batch):
        raise ValueError(f"{len(elements)} elements for a batch of {len(batch)}")
    result, chosen = batch.clone(), np.asarray(elements)
    for element in np.unique(chosen):
        rows = torch.from_numpy(np.flatnonzero(chosen == element)).to(batch.device)
        part = batch[rows]
        part = part.flip(-1) if element >= MIRRORED else part
        result[rows] = torch.rot90(part, int(element) % 4, (2, 3))
    return result


def epoch_parameters(
    policy: AugmentationPolicy, image_ids: Sequence[str], *, seed: int, epoch: int
) -> list[WarpParameters]:
    """The draw of each image in an epoch, of a policy with a warp."""
    return _drawn(policy, image_ids, seed, f"epoch {epoch}")


def view_parameters(view: View, image_ids: Sequence[str]) -> list[WarpParameters]:
    """The draw of each image in a seeded view."""
    return _drawn(POLICIES.get(view.policy), image_ids, view.seed, f"view {view.number}")


def _drawn(policy: AugmentationPolicy, image_ids: Sequence[str], seed: int, draw: str) -> list[WarpParameters]:
    if policy.warp is None:
        raise ValueError(f"The policy {policy.name!r} has no continuous parameters to draw.")
    texts = (f"{policy.name}/{seed}/{draw}/{image_id}".encode() for image_id in image_ids)
    digests = (hashlib.blake2b(text, digest_size=16).digest() for text in texts)
    return [draw_parameters(policy.warp, np.random.default_rng(list(digest))) for digest in digests]
