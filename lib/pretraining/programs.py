"""Families of whole-image programs: random networks of coordinates, and random filters at all scales."""

import math

import numpy as np
from scipy.ndimage import convolve

from lib.pretraining.canvas import colourise, normalised, palette, posed_grid, smooth_noise

_ACTIVATIONS = (
    np.sin,
    np.tanh,
    np.abs,
    np.cos,
    lambda value: np.exp(-value * value),
    lambda value: value - np.floor(value),
)


def coordinate_program(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """A random network from (x, y, radius, noise) to colour, as shaders do it.

    After Stanley 2007, doi 10.1007/s10710-007-9028-8. The class fixes weights and
    functions; the image moves the viewpoint and a latent vector.
    """
    width, depth, latent = int(kind.integers(5, 10)), int(kind.integers(2, 5)), rng.normal(0, 0.35, 3)
    x, y = posed_grid(side, rng, turn=0.5, zoom=1.4, shift=0.35)
    inputs = [x, y, np.hypot(x, y)]
    if kind.random() < 0.5:
        inputs.append(0.5 * smooth_noise(side, kind.uniform(2, 8), rng))
    fields = np.stack(inputs, -1).reshape(side * side, -1).astype(np.float32)
    fields = fields * np.float32(kind.uniform(1.5, 4.5))
    for _ in range(depth):
        weights = kind.normal(0, 1.3 / math.sqrt(fields.shape[1]), (fields.shape[1], width)).astype(np.float32)
        offset = kind.normal(0, 0.7, width) + kind.normal(0, 0.6, (3, width)).T @ latent
        mixed = fields @ weights + offset.astype(np.float32)
        chosen = kind.integers(0, len(_ACTIVATIONS), width)
        fields = np.stack([_ACTIVATIONS[a](mixed[:, i]) for i, a in enumerate(chosen)], -1).astype(np.float32)
    if kind.random() < 0.5:
        weights = kind.normal(0, 1, (width, 3)).astype(np.float32)
        colour = fields @ weights
        colour = (colour - colour.mean(0)) / (colour.std(0) + 1e-4)
        return np.clip(0.5 + 0.24 * colour + rng.normal(0, 0.05, 3), 0, 1).reshape(side, side, 3).astype(np.float32)
    field = normalised((fields @ kind.normal(0, 1, width)).reshape(side, side))
    shared = palette(kind, 4)
    return colourise(field, np.clip(shared + rng.normal(0, 0.06, shared.shape), 0, 1).astype(np.float32))


def filter_cascade(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Noise through random oriented filters from coarse to fine: an untrained image generator with its class's filters.

    After the randomly initialised StyleGAN with oriented filters of Baradad et al. 2021.
    """
    channels, size = 4, max(4, side // 16)
    maps = rng.normal(0, 1, (channels, size, size)).astype(np.float32)
    gain = kind.uniform(0.2, 0.9)
    while size < side:
        size = min(side, size * 2)
        grown = np.stack([np.kron(one, np.ones((2, 2), np.float32))[:size, :size] for one in maps])
        grown = grown + gain * rng.normal(0, 1, grown.shape).astype(np.float32) * kind.random((channels, 1, 1))
        mix = kind.normal(0, 1 / math.sqrt(channels), (channels, channels)).astype(np.float32)
        filters = [_oriented_filter(kind) for _ in range(channels)]
        filtered = np.stack([convolve(one, f, mode="reflect") for one, f in zip(grown, filters, strict=True)])
        maps = np.tensordot(mix, filtered, 1)
        maps = maps / (maps.std(axis=(1, 2), keepdims=True) + 1e-4)
        maps = np.where(maps > 0, maps, 0.2 * maps)
    colour = np.tensordot(kind.normal(0, 1, (3, channels)).astype(np.float32), maps, 1).transpose(1, 2, 0)
    colour = (colour - colour.mean((0, 1))) / (colour.std((0, 1)) + 1e-4)
    tint = kind.uniform(0.25, 0.75, 3) + rng.normal(0, 0.08, 3)
    grey = colour.mean(2, keepdims=True)
    colour = grey + (colour - grey) * rng.uniform(0.3, 1)
    return np.clip(tint + 0.2 * colour, 0, 1).astype(np.float32)


def _oriented_filter(kind: np.random.Generator) -> np.ndarray:
    """A 5 x 5 wavelet: a Gaussian times a cosine along a random direction."""
    angle, frequency, phase = kind.uniform(0, math.pi), kind.uniform(0.4, 1.8), kind.uniform(0, 1.6)
    axis = np.arange(-2, 3)
    x, y = np.meshgrid(axis, axis)
    along = x * math.cos(angle) + y * math.sin(angle)
    wavelet = np.exp(-(x * x + y * y) / kind.uniform(1.5, 4)) * np.cos(frequency * along + phase)
    return (wavelet / np.abs(wavelet).sum()).astype(np.float32)
