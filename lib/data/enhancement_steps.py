"""The arithmetic of the preprocessing steps, each on one stored square; the table is in enhancement.py.

All take a square (S, S, 3) uint8 and the mean colour of the set (3,), and give a square of the same shape.
"""

import numpy as np
from PIL import Image

ASPECT = 1.2
_DARK_LEVEL = 12  # of 255: what is darker in all channels is the surround of a fundus photograph
_EDGE_THRESHOLD, _EDGE_MARGIN, _EDGE_BLUR = 10.0, 0.2, 1 / 192  # blur as a share of the side
_LOCAL_GAIN, _LOCAL_GREY, _LOCAL_RADII = 4.0, 128.0, 30.0
_REDUCTION = 4  # a blur of many pixels is drawn at a quarter of the resolution
_CLAHE_CLIP, _CLAHE_TILES = 0.01, 8


def field_mask(square: np.ndarray) -> np.ndarray:
    """Where a photograph is not black, bool (S, S): of a fundus photograph the field without its surround."""
    return square.max(axis=2) > _DARK_LEVEL


def retina_edges(square: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the retina: the outermost edges along the centre lines of a blurred Sobel picture.

    An edge counts above `_EDGE_THRESHOLD` and within the outer fifth of a side; where there is none, nothing is cut.
    """
    from scipy.ndimage import gaussian_filter, sobel

    grey = gaussian_filter(square.mean(axis=2, dtype=np.float32), _EDGE_BLUR * len(square))
    side = len(grey)
    band = slice(side // 2 - max(1, side // 64), side // 2 + max(1, side // 64))
    horizontal = np.abs(sobel(grey[band], axis=1)).mean(axis=0)
    vertical = np.abs(sobel(grey[:, band], axis=0)).mean(axis=1)
    (left, right), (top, bottom) = (_outer_edges(line) for line in (horizontal, vertical))
    return left, top, right, bottom


def _outer_edges(line: np.ndarray) -> tuple[int, int]:
    margin = int(len(line) * _EDGE_MARGIN)
    first = np.flatnonzero(line[:margin] > _EDGE_THRESHOLD)
    last = np.flatnonzero(line[len(line) - margin :] > _EDGE_THRESHOLD)
    return int(first[0]) if len(first) else 0, int(len(line) - margin + last[-1] + 1) if len(last) else len(line)


def crop_retina(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Cut the black surround away; the retina keeps its shape."""
    left, top, right, bottom = retina_edges(square)
    side = max(right - left, bottom - top)  # padded to a square
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    return _resized(Image.fromarray(square).crop((x, y, x + side, y + side)), len(square))


def crop_aspect(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Cut top and bottom to `ASPECT` and stretch the rest to a square."""
    side = len(square)
    cut = round(side * (1 - 1 / ASPECT) / 2)
    return _resized(Image.fromarray(square[cut : side - cut]), side)


def _resized(image: Image.Image, side: int) -> np.ndarray:
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


def set_brightness(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Shift each colour so that the mean of the field is the mean of the set."""
    field = field_mask(square)
    shifted = np.clip(square + (mean - field_mean(square)), 0, 255).round().astype(np.uint8)
    return np.where(field[..., None], shifted, square)


def field_mean(square: np.ndarray) -> np.ndarray:
    """The mean colour (3,) of the field, of the whole square where all of it is black."""
    field = field_mask(square)
    chosen = square[field] if field.any() else square.reshape(-1, 3)
    return chosen.mean(axis=0, dtype=np.float64).astype(np.float32)


def subtract_local_average(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The difference from a blurred picture, amplified, on even grey."""
    side, field = len(square), field_mask(square)
    sigma = side / 2 / _LOCAL_RADII
    average = _blurred(square * field[..., None], sigma) / np.maximum(_blurred(field[..., None] * 1.0, sigma), 1e-3)
    result = _LOCAL_GAIN * (square - average) + _LOCAL_GREY
    return np.where(field[..., None], np.clip(result, 0, 255).round(), _LOCAL_GREY).astype(np.uint8)


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of (S, S, C); a wide one is drawn on a reduced picture."""
    from scipy.ndimage import gaussian_filter, zoom

    side, factor = len(values), _REDUCTION
    if sigma < factor or side % factor:
        return gaussian_filter(values.astype(np.float32), (sigma, sigma, 0))
    small = values.astype(np.float32).reshape(side // factor, factor, side // factor, factor, -1).mean(axis=(1, 3))
    blurred = gaussian_filter(small, (sigma / factor, sigma / factor, 0))
    return zoom(blurred, (factor, factor, 1), order=1, grid_mode=True, mode="nearest")


def equalise(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """CLAHE on the luma; all channels are scaled by one factor."""
    from skimage.exposure import equalize_adapthist

    luma = (square @ np.array([0.299, 0.587, 0.114], dtype=np.float32)) / 255
    field, kernel = field_mask(square), max(2, len(square) // _CLAHE_TILES)
    levels = np.where(field, luma, luma[field].mean() if field.any() else 0.0)
    # scikit-image stretches a picture to its own range first: two corners hold that range at 0 to 1.
    levels[0, 0], levels[0, -1] = 0.0, 1.0
    equal = equalize_adapthist(np.clip(levels, 0, 1), kernel_size=kernel, clip_limit=_CLAHE_CLIP).astype(np.float32)
    equal[0, [0, -1]] = luma[0, [0, -1]]
    # All channels by one factor: the hue stays, as with CLAHE on the lightness alone.
    scaled = square * (equal / np.maximum(luma, 1 / 255))[..., None]
    return np.where(field[..., None], np.clip(scaled, 0, 255).round(), square).astype(np.uint8)
