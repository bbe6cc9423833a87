"""From the pixel store to a batch: the one path for training, explaining and grading."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F


def to_batch(
    pixels: np.ndarray,
    *,
    size_px: int,
    mean: Sequence[float],
    std: Sequence[float],
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Resize (antialiased, bilinear), scale to 0..1 and normalise.

    `pixels` is uint8 (N, S, S, 3); returns (N, 3, size_px, size_px) in channels_last layout, float32 unless `dtype`
    says otherwise. `mean` and `std` are per channel, of values from 0 to 1.
    """
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be uint8 (N, S, S, 3), not {pixels.dtype} {pixels.shape}")
    # A copy, because torch must not hold the read-only memory of a map. (N, S, S, 3) seen as (N, 3, S, S) is
    # channels_last already.
    batch = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)
    if batch.shape[2:] != (size_px, size_px):
        # As bytes, and before the transfer: seven times as fast as in float32 (0.35 against 2.6 ms an image, 256 to
        # 224 px), the same on every device, rounded to one level of 255.
        batch = F.interpolate(batch, size=(size_px, size_px), mode="bilinear", antialias=True, align_corners=False)
    batch = batch.to(device).float()
    # (x / 255 - mean) / std in one multiplication and one addition a value.
    scale = 1 / (255 * torch.tensor(std, dtype=torch.float32, device=batch.device))
    shift = -torch.tensor(mean, dtype=torch.float32, device=batch.device) * 255 * scale
    batch = batch.mul_(scale.view(1, 3, 1, 1)).add_(shift.view(1, 3, 1, 1))
    return batch.to(dtype=dtype or torch.float32, memory_format=torch.channels_last)
