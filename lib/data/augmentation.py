"""Random changes of training images: one table of policies, drawn from seed, epoch and image alone.

So a resumed run sees the same batches, whatever was drawn before. Policies with a handful of views (mirrored, turned)
can be cached behind a frozen backbone; the others can be too, as a fixed number of seeded views.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lib.data.warps import Warp, WarpParameters, draw_parameters
from lib.registry import Registry

if TYPE_CHECKING:
    import torch

# Elements of the dihedral group of the square: k quarter turns, 4 + k the same after a left-right mirror.
IDENTITY, MIRRORED = 0, 4


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
        if self.policy:
            return f"{self.policy}/{self.number}/{self.seed}"
        names = {IDENTITY: "", MIRRORED: "flipped"}
        return names.get(self.element, f"dihedral{self.element}")

    @property
    def title(self) -> str:
        """What a progress line says, such as "mirrored"; empty for the image as it is."""
        if self.policy:
            return f"view {self.number + 1}"
        names = {IDENTITY: "", MIRRORED: "mirrored"}
        return names.get(self.element, f"turned {self.element % 4 * 90}°" + (", mirrored" if self.element > 3 else ""))


AS_IT_IS = View()

POLICIES: Registry[AugmentationPolicy] = Registry("augmentation")
for _policy in (
    AugmentationPolicy("none", "None", "Every epoch sees the images as they are."),
    AugmentationPolicy("flip", "Left-right flips", "Mirrored or not.", (IDENTITY, MIRRORED)),
    AugmentationPolicy(
        "rotations",
        "Right-angle turns",
        "Turned by 0, 90, 180 or 270 degrees; every colour stays as it is.",
        (0, 1, 2, 3),
    ),
    AugmentationPolicy("dihedral", "Turns and mirrors", "All eight ways to lay a square.", tuple(range(8))),
    AugmentationPolicy(
        "ten_views",
        "Small shifts and turns",
        "Turned up to 20 degrees, shifted up to a fifth, sheared, mirrored (the augmented variants of study 1).",
        warp=Warp(rotation_deg=20, shift=0.2, shear=0.2, flips_horizontally=True),
    ),
    AugmentationPolicy(
        "tutorial",
        "Tutorial",
        "Turned up to 90 degrees, 0.1 to 0.7 of the brightness, shifted up to a half, mirrored both ways (study 5).",
        warp=Warp(rotation_deg=90, shift=0.5, brightness=(0.1, 0.7), flips_horizontally=True, flips_vertically=True),
    ),
    AugmentationPolicy(
        "modern",
        "Random crops and colours",
        "A random crop of 35 to 100 % of the area, mirrored, with other brightness, contrast, saturation and hue.",
        warp=Warp(
            min_area=0.35, flips_horizontally=True, brightness=(0.6, 1.4), contrast=0.4, saturation=0.4, hue=0.06
        ),
    ),
):
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
    # Of one byte, so that two views are drawn as ever: bit 0 decides.
    return np.array([_digest(seed, epoch, image_id)[0] % num_views for image_id in image_ids], dtype=np.int64)


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
    return [_drawn(policy, image_id, seed, f"epoch {epoch}") for image_id in image_ids]


def view_parameters(view: View, image_ids: Sequence[str]) -> list[WarpParameters]:
    """The draw of each image in a seeded view."""
    policy = POLICIES.get(view.policy)
    return [_drawn(policy, image_id, view.seed, f"view {view.number}") for image_id in image_ids]


def _drawn(policy: AugmentationPolicy, image_id: str, seed: int, draw: str) -> WarpParameters:
    if policy.warp is None:
        raise ValueError(f"The policy {policy.name!r} has no continuous parameters to draw.")
    digest = hashlib.blake2b(f"{policy.name}/{seed}/{draw}/{image_id}".encode(), digest_size=16).digest()
    return draw_parameters(policy.warp, np.random.default_rng(list(digest)))


def _digest(seed: int, epoch: int, image_id: str) -> bytes:
    return hashlib.blake2b(f"{seed}/{epoch}/{image_id}".encode()).digest()
