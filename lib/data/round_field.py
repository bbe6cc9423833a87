"""Whether photographs show a round field on black, as cameras for the retina take it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from lib.data.decoder_pool import DecoderPool
from lib.data.images import DecodedImage
from lib.data.value_scale import BY_FILE

T = TypeVar("T")

NUM_LOOKED_AT = 8  # spread over the set: about a second with the start of the decoder
_SIDE_PX = 96
_MIN_SHARE = 0.75  # of the images looked at; a few may be blurred, dark or cut
_DARK_SHARE, _DARK_LEVEL = 0.12, 40.0  # of the bright level, and of 255: what counts as the black around the field
_MOST_WRONG = 0.025  # of the pixels may lie on the wrong side of the circle: marks at its edge, a shadow in it
_LEAST_BLACK = 0.015  # of the square must lie around the field, or there is nothing to be seen of its edge
_RADII = np.arange(0.84, 1.34, 0.04)  # of half the side; beyond 1 the camera cut the field off
_SHIFTS = np.arange(-0.12, 0.13, 0.06)


def is_round_field(square: np.ndarray) -> bool:
    """Whether a square (S, S, 3) of uint8, cut by "retina_box", holds one bright disc and black around it.

    The disc may be cut off on all sides, as most cameras do, as long as the black of the corners is left.
    """
    brightness = square.astype(np.float32).mean(axis=2)
    bright_level = float(np.quantile(brightness, 0.9))
    is_bright = brightness > max(_DARK_SHARE * bright_level, 6.0)
    rows = np.flatnonzero(is_bright.mean(axis=1) > 0.1)
    if not len(rows):
        return False
    side = len(square)
    y, x = (np.mgrid[:side, :side] + 0.5 - side / 2) / (side / 2)
    kept = slice(rows[0], rows[-1] + 1)
    is_bright, brightness, x, y = is_bright[kept], brightness[kept], x[kept], y[kept]
    for shift_y in _SHIFTS:
        for shift_x in _SHIFTS:
            radius = np.hypot(x - shift_x, y - shift_y)
            for limit in _RADII:
                is_outside = radius > limit
                if is_outside.mean() < _LEAST_BLACK or (is_bright == is_outside).mean() > _MOST_WRONG:
                    continue
                around = brightness[radius > limit + 0.04]
                if len(around) and float(np.quantile(around, 0.9)) < min(_DARK_LEVEL, 0.25 * bright_level):
                    return True
    return False


def count_round_fields(paths: Sequence[Path]) -> tuple[int, int]:
    """How many of a handful of images show such a field, and how many could be read; through the safe decoder."""
    chosen = spread(paths, NUM_LOOKED_AT)
    with DecoderPool(1, side_px=_SIDE_PX, crop_policy="retina_box", value_scale=BY_FILE) as pool:
        read = [image for _, image in pool.decode_many(chosen) if isinstance(image, DecodedImage)]
    return sum(is_round_field(image.pixels) for image in read), len(read)


def show_round_fields(num_round: int, num_read: int) -> bool:
    """Whether that many of the images looked at are enough to say it of all."""
    return num_read > 0 and num_round >= _MIN_SHARE * num_read


def spread(paths: Sequence[T], most: int) -> list[T]:
    """At most that many, at equal distances through the list, so that every class has its chance."""
    rows = np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int)
    return [paths[row] for row in np.unique(rows)]
