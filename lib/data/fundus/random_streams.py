"""One stream of random numbers for each part of a picture: a change of one part leaves all others as they are."""

import zlib

import numpy as np
from PIL import Image

BOTH_EYES = 2  # in place of 0 (left) or 1 (right): what the eyes of a patient share


def component_rng(seed: int, patient: int, eye: int, component: str) -> np.random.Generator:
    """The stream of one component, such as "vessels", of one eye of one patient."""
    return np.random.default_rng([seed, patient, eye, zlib.crc32(component.encode())])


def smooth_noise(shape: tuple[int, int], cells: float, rng: np.random.Generator) -> np.ndarray:
    """Noise (h, w) of about zero mean and unit deviation, smooth over 1/`cells` of the longer side."""
    longest = max(shape)
    height, width = (max(2, round(cells * side / longest)) + 3 for side in shape)
    grid = Image.fromarray(rng.standard_normal((height, width), dtype=np.float32))
    # Away from the edge, where interpolation has nothing to go on; bicubic interpolation shrinks deviations to 0.74.
    box = (1.0, 1.0, width - 1.0, height - 1.0)
    return np.asarray(grid.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box)) / np.float32(0.74)


def enlarged(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A small map (h, w) enlarged to `shape` smoothly."""
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
