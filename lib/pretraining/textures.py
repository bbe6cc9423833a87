"""Families of images that fill the frame: textures, random networks of coordinates, random filters; and grounds.

Each family is a function that draws one image of one class: `kind` is the generator that fixes what all images of the
class share, `rng` draws what differs from image to image. Returns float32 (side, side, 3).
"""

import math

import numpy as np
from scipy.ndimage import convolve, gaussian_filter
from scipy.spatial import cKDTree

from lib.pretraining import drawing
from lib.pretraining.drawing import blend, colourise, normalised, palette, posed_grid, smooth_noise, spectral_noise

_ACTIVATIONS = (
    np.sin,
    np.tanh,
    np.abs,
    np.cos,
    lambda value: np.exp(-value * value),
    lambda value: value - np.floor(value),
)


def grating(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Sinusoidal and square waves: single, crossed, circular, radial, bent; told apart by form and frequency."""
    form = int(kind.integers(6))
    frequency = float(kind.choice([2.0, 4.0, 7.0, 12.0, 19.0])) * rng.uniform(0.88, 1.14)
    sharpness, second = float(kind.choice([0.0, 1.0])), kind.uniform(0.35, 1.57)
    x, y = posed_grid(side, rng, zoom=1.1)
    wave = np.sin(math.pi * frequency * x + rng.uniform(0, 6.28))
    if form == 1:
        wave = wave + np.sin(math.pi * frequency * (x * math.cos(second) + y * math.sin(second)))
    elif form == 2:
        wave = np.sin(math.pi * frequency * np.hypot(x, y))
    elif form == 3:
        wave = np.sin(round(frequency + 2) * np.arctan2(y, x))
    elif form == 4:
        wave = np.sin(math.pi * frequency * (x + 0.18 * smooth_noise(side, 3, rng)))
    elif form == 5:
        wave = np.sin(math.pi * frequency * x) * np.sin(math.pi * frequency * second * y)
    if sharpness:
        wave = np.tanh(wave * 4)
    return colourise(normalised(wave), palette(rng, int(rng.integers(2, 4))))


def noise(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Random fields: spectrum, direction, and what is done to the values (plain, ridges, thresholds, warps)."""
    slope, stretch = float(kind.choice([0.6, 1.0, 1.5, 2.2])), float(kind.choice([1.0, 1.0, 2.0, 3.5]))
    form, levels, band = int(kind.integers(5)), int(kind.integers(2, 5)), kind.uniform(2, 14)
    angle = rng.uniform(0, math.pi)
    field = spectral_noise(side, rng, slope=slope, stretch=stretch, angle=angle, lowest=band if form == 4 else 1.0)
    if form == 1:
        field = 1 - np.abs(2 * field - 1) ** 0.7
    elif form == 2:
        field = np.floor(gaussian_filter(field, 1) * levels * 2) % 2
    elif form == 3:
        warp = spectral_noise(side, rng, slope=1.6)
        field = 0.5 + 0.5 * np.sin(2 * math.pi * levels * (warp + 0.3 * field))
    image = colourise(field.astype(np.float32), palette(rng, int(rng.integers(2, 5))))
    if rng.random() < 0.3:
        image = blend(image, palette(rng, 1)[0], 0.6 * spectral_noise(side, rng, slope=1.4))
    return image


def cells(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Voronoi cells: number, distance, regularity, and what is drawn (flat cells, walls, bumps)."""
    count = int(kind.choice([9, 22, 55, 130])) * rng.uniform(0.8, 1.25)
    norm, order, form = float(kind.choice([1.0, 2.0, np.inf])), kind.random() < 0.35, int(kind.integers(4))
    per_side = max(2, round(math.sqrt(count)))
    axis = (np.arange(per_side) + 0.5) * 2 / per_side - 1
    seeds = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2) * 1.25
    seeds = seeds + rng.normal(0, (0.12 if order else 0.7) / per_side, seeds.shape)
    x, y = posed_grid(side, rng, zoom=1.15, shift=0.1)
    distance, nearest = cKDTree(seeds).query(np.stack([x, y], -1).reshape(-1, 2), k=2, p=norm)
    first, gap = distance[:, 0].reshape(side, side), (distance[:, 1] - distance[:, 0]).reshape(side, side)
    colours = palette(rng, 6)
    flat = colours[rng.integers(0, 6, len(seeds))][nearest[:, 0]].reshape(side, side, 3)
    walls = np.clip(gap * per_side * 2.2, 0, 1).astype(np.float32)
    if form == 0:
        return flat
    if form == 1:
        return blend(np.broadcast_to(palette(rng, 1)[0], flat.shape), flat, walls)
    if form == 2:
        return colourise(normalised(first), colours[:3])
    return colourise(normalised(np.sqrt(walls)), colours[:2])


def dots(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Spots at all scales: size, spread of sizes, density, regular or scattered or clustered, filled or rings."""
    size, spread = float(kind.choice([0.018, 0.035, 0.07, 0.13])), float(kind.choice([0.0, 0.5]))
    cover, layout, ring = kind.uniform(0.06, 0.35), int(kind.integers(3)), kind.random() < 0.3
    count = int(min(500, max(4, cover * 4 / (math.pi * size**2))))
    if layout == 0:
        per_side = max(2, round(math.sqrt(count)))
        axis = (np.arange(per_side) + rng.random()) * 2 / per_side - 1
        places = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2) + rng.normal(0, 0.02, (per_side**2, 2))
    elif layout == 1:
        places = rng.uniform(-1.05, 1.05, (count, 2))
    else:
        centres = rng.uniform(-1, 1, (max(2, count // 12), 2))
        places = centres[rng.integers(0, len(centres), count)] + rng.normal(0, 0.16, (count, 2))
    sizes = size * np.exp(rng.normal(0, 1, len(places)) * spread) * rng.uniform(0.85, 1.2)
    x, y = drawing.unit_grid(side)
    pixels = np.stack([x, y], -1).reshape(-1, 2)
    distance, nearest = cKDTree(places).query(pixels)
    inside = np.clip((sizes[nearest] - distance) * side / 2, 0, 1)
    if ring:
        inside = inside * np.clip((distance - sizes[nearest] * 0.55) * side / 2, 0, 1)
    colours = palette(rng, 4)
    fill = colours[1 + nearest % int(rng.integers(1, 4))].reshape(side, side, 3)
    return blend(backdrop(rng, side), fill, inside.reshape(side, side).astype(np.float32))


def strokes(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Fur, grass, hatching, tangles: length, width, bend and order of many short lines."""
    length, width = float(kind.choice([0.12, 0.3, 0.7])), float(kind.choice([0.006, 0.012, 0.026]))
    bend, order = float(kind.choice([0.0, 1.2, 3.0])), float(kind.choice([0.08, 0.35, 3.0]))
    count = int(np.clip(1.1 / (length * width) * kind.uniform(0.3, 1.0), 25, 260))
    flow, turn = smooth_noise(side, kind.uniform(1, 3), rng), rng.uniform(0, 2 * math.pi)
    image, colours = backdrop(rng, side), palette(rng, 5)
    steps = np.linspace(0, 1, 5)
    for layer in range(3):
        lines = []
        for _ in range(count // 3):
            start = rng.uniform(-1.1, 1.1, 2)
            row, column = (np.clip((start[::-1] + 1) / 2, 0, 0.999) * side).astype(int)
            angle = turn + order * (flow[row, column] + rng.normal(0, 0.25)) + bend * rng.normal() * steps
            path = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], -1) * length / 5, axis=0)
            lines.append((start + path, width * rng.uniform(0.6, 1.4)))
        image = blend(image, colours[layer + 1], drawing.lines_mask(side, lines))
    return image


def dead_leaves(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Opaque leaves on one another down to the ground: outline, sizes by a power law, plain or textured or shaded.

    The model of occlusion in photographs: Lee, Mumford and Huang 2001, doi 10.1023/A:1011109015675.
    """
    form, power = int(kind.integers(8)), float(kind.choice([1.3, 2.0, 3.0]))
    smallest, fill = float(kind.choice([0.04, 0.1])), int(kind.integers(3))
    colours, image = palette(rng, 7), backdrop(rng, side)
    texture = spectral_noise(side, rng, slope=float(rng.choice([0.7, 1.3])))
    for number in range(42):
        uniform = rng.random()
        size = (uniform * (0.75 ** (1 - power) - smallest ** (1 - power)) + smallest ** (1 - power)) ** (
            1 / (1 - power)
        )
        shape = drawing.outline(form, kind_seed=form, rng=rng) * size + rng.uniform(-1.1, 1.1, 2)
        mask = drawing.polygon_mask(side, shape)
        leaf: np.ndarray = np.clip(colours[number % 7] * rng.uniform(0.8, 1.15), 0, 1)
        if fill == 1:
            leaf = leaf * (0.55 + 0.8 * np.roll(texture, int(rng.integers(side)), axis=number % 2))[..., None]
        elif fill == 2 and size > 0.12:
            leaf = leaf * (1 + 0.9 * drawing.relief(mask, rng))[..., None]
        image = blend(image, leaf, mask)
    return image


def backdrop(rng: np.random.Generator, side: int) -> np.ndarray:
    """Ground for what is drawn on it: a plain colour, a soft gradient, or quiet texture."""
    colours, form = palette(rng, 3), int(rng.integers(4))
    if form == 0:
        return np.broadcast_to(colours[0], (side, side, 3)).copy()
    if form == 1:
        return colourise(normalised(smooth_noise(side, 2, rng)), colours)
    texture = spectral_noise(side, rng, slope=float(rng.choice([0.8, 1.2, 1.8])), stretch=float(rng.choice([1.0, 2.5])),
                             angle=rng.uniform(0, math.pi))  # fmt: skip
    softened = colours if form == 2 else colours[:1] + (colours - colours[:1]) * 0.35
    return colourise(texture, softened)


def any_texture(rng: np.random.Generator, side: int, choices: tuple = (noise, cells, grating, dots)) -> np.ndarray:
    """An image of a class drawn at random, from one of the families given."""
    draw = choices[int(rng.integers(len(choices)))]
    return draw(np.random.default_rng(int(rng.integers(1 << 31))), rng, side)


def ground(rng: np.random.Generator, side: int) -> np.ndarray:
    """What a thing stands before: mostly quiet, sometimes a busy texture of another family."""
    if rng.random() < 0.72:
        return backdrop(rng, side)
    return any_texture(rng, side)


def close_up(rng: np.random.Generator, side: int) -> np.ndarray:
    """What lies behind a small thing: leaves, soil, sand or petals, mostly out of focus."""
    choice = rng.random()
    if choice < 0.35:
        image = ground(rng, side)
    elif choice < 0.6:
        image = colourise(spectral_noise(side, rng, slope=rng.uniform(0.5, 1.6)), palette(rng, 4))
    else:
        image = any_texture(rng, side, (dead_leaves, strokes, cells))
    if rng.random() < 0.65:
        image = gaussian_filter(image, (sigma := side * rng.uniform(0.01, 0.09), sigma, 0))
    return image


def coordinate_program(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """A random network from (x, y, radius, noise) to colour (Stanley 2007, doi 10.1007/s10710-007-9028-8).

    The class fixes weights and functions; the image moves the viewpoint and a latent vector.
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
        colour = drawing.standardised(fields @ weights)
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
    mix = kind.normal(0, 1, (3, channels)).astype(np.float32)
    colour = drawing.standardised(np.tensordot(mix, maps, 1).transpose(1, 2, 0))
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
