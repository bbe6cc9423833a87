"""Masks laid over their images: a ring of the kind's colour round each marked region, which itself stays as it is."""

import numpy as np
from scipy.ndimage import maximum_filter

# Told apart on orange-red retina, also by people who confuse red and green; used again from the start beyond ten.
MASK_COLORS = (
    "#00E5FF", "#3D7BFF", "#8C5BFF", "#E64DFF", "#FFF23D", "#FFFFFF", "#00E08A", "#B4FF4D", "#FF9ECF", "#9FB4C0",
)  # fmt: skip


def mask_color(value: int) -> str:
    """The colour of a mask's value (from 1) as "#RRGGBB"."""
    return MASK_COLORS[(value - 1) % len(MASK_COLORS)]


def outline_mask(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a copy of an image (S, S, 3) with rings of two to three pixels of 384 round what its mask (S, S) marks."""
    width = max(1, round(pixels.shape[0] / 160))
    grown = maximum_filter(mask, size=2 * width + 1)
    ring = (grown > 0) & (mask == 0)
    colors = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in MASK_COLORS], dtype=np.uint8)
    outlined = pixels.copy()
    outlined[ring] = colors[(grown[ring].astype(int) - 1) % len(colors)]
    return outlined
