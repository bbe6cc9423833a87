"""Random changes that depend on seed, epoch and image only, so that a resumed run sees the same batches."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def flip_flags(image_ids: Sequence[str], *, seed: int, epoch: int) -> np.ndarray:
    """Return bool (N,): which images are mirrored left to right in that epoch, half of them on average."""
    return np.array(
        [hashlib.blake2b(f"{seed}/{epoch}/{i}".encode()).digest()[0] % 2 == 1 for i in image_ids], dtype=bool
    )


def flip_batch(batch: "torch.Tensor", *, seed: int, epoch: int, image_ids: Sequence[str]) -> "torch.Tensor":
    """Mirror some images of a batch (N, C, H, W) left to right; the batch given stays as it was."""
    import torch

    if len(image_ids) != len(batch):
        raise ValueError(f"{len(image_ids)} image_ids for a batch of {len(batch)}")
    chosen = torch.from_numpy(flip_flags(image_ids, seed=seed, epoch=epoch)).to(batch.device)
    return torch.where(chosen.view(-1, 1, 1, 1), batch.flip(-1), batch)
