"""Masks that belong to images: one value a pixel, cut and resized as the image was."""

import math

import numpy as np
from PIL import Image

from lib.data.crops import Box
from lib.data.images import open_image, plain_reasons
from lib.errors import BadImage


def decode_mask(data: bytes, *, image_size: tuple[int, int], box: Box, side_px: int) -> np.ndarray:
    """Decode a mask as uint8 (side_px, side_px), every value one of the file's.

    `image_size` is the width and height of its image, upright, and `box` the stored square in those pixels. Grey and
    palette pictures keep their values, black-and-white ones become 0 and 1; beyond the image it is 0.
    Raises BadImage with one plain reason.
    """
    with plain_reasons():
        mask = open_image(data)
        if mask.mode not in ("1", "L", "P"):
            raise BadImage(f"A mask must have one channel of 8 bits; this picture is {mask.mode}.")
        if mask.size != image_size:
            raise BadImage("The mask is {} x {} pixels, its image {} x {}.".format(*mask.size, *image_size))
        values = np.asarray(mask, dtype=np.uint8)
    left, top, right, bottom = (math.floor(edge) for edge in box)
    cut = Image.fromarray(values).crop((left, top, right, bottom))
    return np.asarray(cut.resize((side_px, side_px), Image.Resampling.NEAREST))
