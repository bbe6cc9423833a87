"""From the pixel store to a batch: the one path for training, explaining and grading."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from lib.data.network_input import WHOLE_SQUARE, Resizing
from lib.data.warps import WarpParameters, warp_images


def to_batch(
    pixels: np.ndarray,
    *,
    size_px: int,
    mean: Sequence[float],
    std: Sequence[float],
    resizing: Resizing = WHOLE_SQUARE,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Resize (antialiased, by default bilinear), crop about the centre, scale to 0..1 and normalise.

    `pixels` is uint8 (N, S, S, 3); returns (N, 3, size_px, size_px) in channels_last layout, float32 unless `dtype`
    says otherwise. `mean` and `std` are per channel, of values from 0 to 1.
    """
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be uint8 (N, S, S, 3), not {pixels.dtype} {pixels.shape}")
    # A copy, because torch must not hold the read-only memory of a map. (N, S, S, 3) seen as (N, 3, S, S) is
    # channels_last already.
    batch = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)
    side_px = resizing.side_before_crop(size_px)
    if batch.shape[2:] != (side_px, side_px):
        # As bytes, and before the transfer: seven times as fast as in float32 (0.35 against 2.6 ms an image, 256 to
        # 224 px), the same on every device, rounded to one level of 255.
        batch = F.interpolate(
            batch, size=(side_px, side_px), mode=resizing.interpolation, antialias=True, align_corners=False
        )
    first = (side_px - size_px) // 2
    batch = batch[:, :, first : first + size_px, first : first + size_px]
    batch = batch.to(device).float()
    # (x / 255 - mean) / std in one multiplication and one addition a value.
    scale = 1 / (255 * torch.tensor(std, dtype=torch.float32, device=batch.device))
    shift = -torch.tensor(mean, dtype=torch.float32, device=batch.device) * 255 * scale
    batch = batch.mul_(scale.view(1, 3, 1, 1)).add_(shift.view(1, 3, 1, 1))
    return batch.to(dtype=dtype or torch.float32, memory_format=torch.channels_last)


def warped_batch(
    pixels: np.ndarray,
    drawn: Sequence[WarpParameters],
    *,
    size_px: int,
    mean: Sequence[float],
    std: Sequence[float],
    resizing: Resizing = WHOLE_SQUARE,
    device: str | torch.device = "cpu",
) -> torch.Tensor:
    """Like `to_batch`, of images turned, cropped and recoloured on the way, from the store's own resolution."""
    pixels = resizing.centre(pixels)
    # At most twice the side: reduced further without antialiasing, an image would flicker from draw to draw.
    side = min(pixels.shape[1], 2 * size_px)
    reduced = Resizing(resizing.interpolation)  # cropped already
    images = to_batch(pixels, size_px=side, mean=(0.0,) * 3, std=(1.0,) * 3, resizing=reduced, device=device)
    views = warp_images(images, drawn, size_px=size_px)
    centre, scale = (views.new_tensor(list(values)).view(1, 3, 1, 1) for values in (mean, std))
    return ((views - centre) / scale).contiguous(memory_format=torch.channels_last)
