"""Where the square lies that is kept of an image: its centre, or the retina's box."""

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]

_SEARCH_SIDE_PX = 256
_DARK_SHARE = 0.1  # of the bright level; as in B. Graham's winning entry to the Kaggle diabetic retinopathy task, 2015
_MIN_FILLED, _MAX_FILLED = (
    0.10,
    0.97,
)  # a disc in a square fills 0.785; cut off above and below it fills up to about 0.9
_MIN_BRIGHT_LEVEL = 12  # of 255: below that the whole picture is black


def center_square(width: int, height: int) -> Box:
    """The largest square in the middle, as (left, top, right, bottom)."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def retina_box(image: Image.Image) -> Box | None:
    """The box round a bright disc on a dark ground, padded to a square; None if there is no such disc.

    The square may reach beyond the image: where the camera cut the disc off above and below, black is filled in.
    """
    scale = max(1.0, max(image.size) / _SEARCH_SIDE_PX)
    small_size = (max(1, round(image.width / scale)), max(1, round(image.height / scale)))
    brightness = np.asarray(image.resize(small_size, Image.Resampling.BOX), dtype=np.float32).mean(axis=2)
    bright_level = float(np.quantile(brightness, 0.9))
    if bright_level < _MIN_BRIGHT_LEVEL:
        return None
    is_bright = brightness > _DARK_SHARE * bright_level
    if not _MIN_FILLED <= is_bright.mean() <= _MAX_FILLED:
        return None
    # A column counts with 2 % of bright pixels, so that specks and printed text do not widen the box.
    columns = np.flatnonzero(is_bright.mean(axis=0) > 0.02)
    rows = np.flatnonzero(is_bright.mean(axis=1) > 0.02)
    if not len(columns) or not len(rows):
        return None
    left, right = columns[0] * image.width / small_size[0], (columns[-1] + 1) * image.width / small_size[0]
    top, bottom = rows[0] * image.height / small_size[1], (rows[-1] + 1) * image.height / small_size[1]
    side = round(max(right - left, bottom - top))
    first_x, first_y = round((left + right - side) / 2), round((top + bottom - side) / 2)
    return first_x, first_y, first_x + side, first_y + side
