"""What close-ups of living things share: colours that belong to the class, and a ground that is often out of focus."""

import colorsys
import math

import numpy as np
from scipy.ndimage import gaussian_filter

from lib.pretraining import textures
from lib.pretraining.bodies import ground
from lib.pretraining.canvas import colourise, palette, spectral_noise


def class_colours(kind: np.random.Generator, rng: np.random.Generator, count: int) -> np.ndarray:
    """Colours (count, 3) that the class fixes in hue, saturation and lightness; the image varies them a little."""
    hue, rows = kind.random(), []
    for _ in range(count):
        hue = (hue + kind.choice([0.0, 0.06, 0.15, 0.5])) % 1
        lightness, saturation = kind.uniform(0.06, 0.9), kind.beta(1.2, 1.1)
        varied = (hue + rng.normal(0, 0.02)) % 1, lightness + rng.normal(0, 0.05), saturation + rng.normal(0, 0.07)
        rows.append(colorsys.hls_to_rgb(varied[0], float(np.clip(varied[1], 0.02, 0.97)),
                                        float(np.clip(varied[2], 0, 1))))  # fmt: skip
    return np.array(rows, dtype=np.float32)


def close_up(rng: np.random.Generator, side: int) -> np.ndarray:
    """What lies behind a small thing: leaves, soil, sand or petals, mostly out of focus."""
    choice = rng.random()
    if choice < 0.35:
        image = ground(rng, side)
    elif choice < 0.6:
        image = colourise(spectral_noise(side, rng, slope=rng.uniform(0.5, 1.6)), palette(rng, 4))
    else:
        image = textures.any_texture(rng, side, (textures.dead_leaves, textures.strokes, textures.cells))
    if rng.random() < 0.65:
        sigma = side * rng.uniform(0.01, 0.09)
        image = gaussian_filter(image, (sigma, sigma, 0))
    return image


def axes(angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The unit vectors along an angle and across it."""
    axis = np.array([math.cos(angle), math.sin(angle)])
    return axis, np.array([-axis[1], axis[0]])
