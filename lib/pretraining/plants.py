"""Families of flowers and foliage seen close up, and scenes that only their colours tell apart."""

import math

import numpy as np

from lib.pretraining.canvas import (
    blend,
    colourise,
    lines_mask,
    polygon_mask,
    relief,
    smooth_noise,
    spectral_noise,
)
from lib.pretraining.closeups import axes, class_colours, close_up
from lib.pretraining.outlines import outline

_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def flower(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Petals round a centre: number, form, rows and colours of the class; one large flower or several small."""
    num_petals, rows = int(kind.choice([3, 4, 5, 6, 8, 12, 18, 26])), int(kind.choice([1, 1, 2, 4]))
    width, notch = kind.uniform(0.5, 1.3) * math.pi / num_petals, kind.uniform(-0.25, 0.25)
    heart, is_domed = kind.uniform(0.08, 0.4), kind.random() < 0.5
    count, colours = int(kind.choice([1, 1, 3, 12])), class_colours(kind, rng, 3)
    image, steps = close_up(rng, side), np.linspace(0, 1, 12)
    half = np.sin(math.pi * steps**0.8) * (1 + notch * np.cos(5 * steps))
    for _ in range(count):
        size = rng.uniform(0.5, 0.95) / math.sqrt(count) ** 0.8
        centre = rng.uniform(-1, 1, 2) * (0.25 if count == 1 else 0.9)
        tilt, lean = rng.uniform(0.5, 1.0), rng.uniform(0, 2 * math.pi)
        for row in range(rows):
            reach = size * (1 - 0.2 * row)
            for petal in range(num_petals):
                angle = (petal + 0.5 * (row % 2)) * 2 * math.pi / num_petals + lean + rng.normal(0, 0.06)
                sides = np.concatenate([half, -half[::-1]]) * min(width, 0.9)
                radii = np.concatenate([steps, steps[::-1]]) * reach
                points = np.stack([radii * np.cos(angle) - sides * reach * np.sin(angle),
                                   radii * np.sin(angle) + sides * reach * np.cos(angle)], -1)  # fmt: skip
                points[:, 1] *= tilt
                mask = polygon_mask(side, points + centre)
                shade = rng.uniform(0.82, 1.1) * (1 + 0.5 * relief(mask, rng, softness=0.03))
                image = blend(image, np.clip(colours[0] * shade[..., None], 0, 1), mask)
        image = _heart(image, centre, size * heart, colours[1] if is_domed else colours[2], tilt=tilt, rng=rng)
    return image


def _heart(
    image: np.ndarray, centre: np.ndarray, size: float, colour: np.ndarray, *, tilt: float, rng: np.random.Generator
) -> np.ndarray:
    """The middle of a flower: a disc of seeds at the golden angle."""
    side, turn = len(image), np.arange(20) * 2 * math.pi / 20
    ring = np.stack([np.cos(turn), np.sin(turn) * tilt], -1)
    mask = polygon_mask(side, centre + ring * size)
    image = blend(image, np.clip(colour * (1 + relief(mask, rng))[..., None], 0, 1), mask)
    number = np.arange(1, 40)
    radius, angle = size * np.sqrt(number / 40), number * _GOLDEN_ANGLE
    seeds = centre + np.stack([radius * np.cos(angle), radius * np.sin(angle) * tilt], -1)
    marks = [(np.stack([seed, seed + 0.008]), 0.009) for seed in seeds]
    return blend(image, colour * 0.55, lines_mask(side, marks))


def foliage(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Leaves with veins on one another: form, size, number and colours of the class; grass and needles too."""
    slender, size, count = kind.uniform(0.06, 0.7), kind.uniform(0.25, 1.0), int(kind.choice([6, 16, 34]))
    veins, order, tooth = int(kind.choice([0, 4, 8])), kind.random() < 0.4, kind.uniform(0, 0.15)
    colours = class_colours(kind, rng, 4)
    image, heading = close_up(rng, side), rng.uniform(0, 2 * math.pi)
    steps = np.linspace(0, 1, 16)
    half = np.sin(math.pi * steps**0.75) * slender * (1 + tooth * np.cos(20 * steps)) * 0.5
    for number in range(count):
        angle = heading + (rng.normal(0, 0.35) if order else rng.uniform(0, 2 * math.pi))
        (axis, normal), reach = axes(angle), size * rng.uniform(0.6, 1.4)
        root = rng.uniform(-1.2, 1.0, 2)
        upper = root + reach * (steps[:, None] * axis + half[:, None] * normal)
        lower = root + reach * (steps[::-1, None] * axis - half[::-1, None] * normal)
        mask = polygon_mask(side, np.concatenate([upper, lower]))
        shade = rng.uniform(0.6, 1.1) * (1 + 0.6 * relief(mask, rng, softness=0.03))
        image = blend(image, np.clip(colours[number % 3] * shade[..., None], 0, 1), mask)
        ribs = [(np.stack([root, root + axis * reach]), 0.008)] if veins else []
        for rib in range(1, veins):
            start = root + axis * reach * rib / veins
            for sign in (-1, 1):
                end = start + reach * (axis * 0.12 + normal * sign * slender * 0.4)
                ribs.append((np.stack([start, end]), 0.005))
        if ribs:
            image = blend(image, colours[3], lines_mask(side, ribs) * mask * 0.6)
    return image


def coloured_scene(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Things of any form in the colours of the class: only the colours tell the class."""
    colours = class_colours(kind, rng, 3)
    form = int(rng.integers(4))
    if form == 0:
        return colourise(spectral_noise(side, rng, slope=rng.uniform(0.7, 1.6)), colours)
    if form == 1:
        wave = np.sin(math.pi * rng.uniform(2, 9) * (1.5 * smooth_noise(side, 3, rng)))
        return colourise((0.5 + 0.5 * wave).astype(np.float32), colours)
    image = colourise(spectral_noise(side, rng, slope=1.5), colours[:2])
    for _ in range(int(rng.integers(3, 20))):
        points = outline(int(rng.integers(8)), kind_seed=int(rng.integers(99)), rng=rng) * rng.uniform(0.08, 0.5)
        mask = polygon_mask(side, points + rng.uniform(-1, 1, 2))
        shade = rng.uniform(0.8, 1.15) * (1 + 0.6 * relief(mask, rng))
        image = blend(image, np.clip(colours[int(rng.integers(3))] * shade[..., None], 0, 1), mask)
    return image
