"""Families of living things in colours of their own, and scenes that only their colours tell apart."""

import math
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from lib.pretraining.drawing import (
    axes,
    blend,
    blend_lit,
    circle,
    class_colours,
    colourise,
    lines_mask,
    outline,
    polygon_mask,
    relief,
    smooth_noise,
    spectral_noise,
)
from lib.pretraining.textures import close_up

_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


class _InsectKind:
    """What the insects of one class share; lengths are shares of the body's scale."""

    def __init__(self, kind: np.random.Generator, rng: np.random.Generator) -> None:
        self.sizes = kind.uniform(0.35, 1.0, int(kind.integers(2, 5)))  # of the segments, from the tail to the head
        self.aspects = kind.uniform(0.45, 0.95, len(self.sizes))
        self.gap = kind.uniform(0.75, 1.25)
        self.num_leg_pairs = int(kind.choice([3, 3, 3, 4]))
        self.leg_length, self.leg_width = kind.uniform(0.7, 2.0), kind.uniform(0.015, 0.06)
        self.num_wing_pairs = int(kind.choice([0, 0, 1, 2]))
        self.wing_length, self.wing_width = kind.uniform(1.0, 2.0), kind.uniform(0.25, 0.5)
        self.coat = int(kind.integers(3))  # glossy, banded, furry
        self.num_bands = int(kind.integers(2, 6))
        self.feelers = kind.uniform(0.4, 1.6)
        self.colours = class_colours(kind, rng, 3)


class _Segment(NamedTuple):
    centre: np.ndarray
    size: float
    angle: float


def insect(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Segments in a row, jointed legs, feelers, perhaps wings; glossy, banded or furry, in the colours of the class."""
    insect_kind = _InsectKind(kind, rng)
    image = close_up(rng, side)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        scale = rng.uniform(0.2, 0.42) if rng.random() < 0.8 else rng.uniform(0.1, 0.2)
        segments = _posed_segments(insect_kind, scale, rng)
        lines = _limbs(insect_kind, segments, scale, rng)
        image = blend(image, insect_kind.colours[2], lines_mask(side, lines))
        for segment in segments:
            image = _with_segment(image, segment, insect_kind, is_first=segment.size == segments[0].size, rng=rng)
        image = _with_wings(image, segments[min(1, len(segments) - 1)], insect_kind, scale, rng)
    return np.clip(image, 0, 1)


def _posed_segments(kind: _InsectKind, scale: float, rng: np.random.Generator) -> list[_Segment]:
    heading, place = rng.uniform(0, 2 * math.pi), rng.uniform(-0.45, 0.45, 2)
    bend, position, segments = rng.normal(0, 0.2), np.zeros(2), []
    for number, size in enumerate(kind.sizes):
        angle = heading + bend * number
        step = axes(angle)[0] * size * scale * 0.7 * kind.gap
        segments.append((position + step, size * scale, angle))
        position = position + 2 * step
    return [_Segment(place + centre - position / 2, size, angle) for centre, size, angle in segments]


def _limbs(
    kind: _InsectKind, segments: list[_Segment], scale: float, rng: np.random.Generator
) -> list[tuple[np.ndarray, float]]:
    """Legs on the second segment, feelers on the last."""
    lines, middle = [], segments[min(1, len(segments) - 1)]
    axis, normal = axes(middle.angle)
    reach = kind.leg_length * scale
    for leg in range(kind.num_leg_pairs):
        lean = (leg - (kind.num_leg_pairs - 1) / 2) * 0.9 + rng.normal(0, 0.15)
        for sign in (-1, 1):
            root = middle.centre + axis * middle.size * 0.35 * lean
            knee = root + (normal * sign * 0.6 + axis * lean * 0.35) * reach
            foot = knee + (normal * sign * 0.35 + axis * (lean * 0.7 + rng.normal(0, 0.15))) * reach
            lines.append((np.stack([root, knee, foot]), kind.leg_width * scale / 0.4))
    head = segments[-1]
    axis, normal = axes(head.angle)
    reach = kind.feelers * scale
    for sign in (-1, 1):
        root = head.centre + axis * head.size * 0.6
        bend = root + (axis * 0.5 + normal * sign * 0.5) * reach * 0.6
        tip = bend + (axis * rng.uniform(0.1, 0.6) + normal * sign * 0.2) * reach * 0.7
        lines.append((np.stack([root, bend, tip]), kind.leg_width * scale / 0.5))
    return lines


def _with_segment(
    image: np.ndarray, segment: _Segment, kind: _InsectKind, *, is_first: bool, rng: np.random.Generator
) -> np.ndarray:
    side, (axis, normal), centre, size = len(image), axes(segment.angle), segment.centre, segment.size
    aspect, colours = float(kind.aspects[0 if is_first else -1]), kind.colours
    turn = circle(28)
    mask = polygon_mask(side, centre + (turn[:, :1] * axis + turn[:, 1:] * normal * aspect) * size * 0.7)
    fill: np.ndarray = np.broadcast_to(colours[0], image.shape)
    if kind.coat == 1:
        steps = np.arange(side, dtype=np.float32) * 2 / side - 1
        along = (steps[None, :] - centre[0]) * axis[0] + (steps[:, None] - centre[1]) * axis[1]
        wave = np.sin(math.pi * kind.num_bands * along / max(size, 0.02) + 0.7)
        fill = blend(fill, colours[1], np.clip(wave * 4 + 0.5, 0, 1).astype(np.float32))
    image = blend_lit(image, fill, mask, rng, light=0.7, softness=max(0.015, 0.2 * size))
    if kind.coat == 2:
        hairs = []
        for _ in range(46):
            root = centre + (axis * rng.normal(0, 0.33) + normal * aspect * rng.normal(0, 0.33)) * size
            away = root - centre + rng.normal(0, 0.1 * size, 2)
            hairs.append((np.stack([root, root + away * rng.uniform(0.25, 0.6)]), 0.007))
        image = blend(image, colours[1], lines_mask(side, hairs) * 0.85)
    elif kind.coat == 0:
        spot = centre + rng.normal(0, 0.15 * size, 2)
        glint = polygon_mask(side, spot + turn * size * 0.16)
        image = np.clip(image + 0.7 * gaussian_filter(glint, 0.012 * side)[..., None], 0, 1)
    return image


def _with_wings(
    image: np.ndarray, segment: _Segment, kind: _InsectKind, scale: float, rng: np.random.Generator
) -> np.ndarray:
    centre, turn = segment.centre, circle(24)
    scale = scale * float(kind.sizes.sum()) / len(kind.sizes)
    length, width = kind.wing_length * scale, kind.wing_width * scale
    for pair in range(kind.num_wing_pairs):
        for sign in (-1, 1):
            along, across = axes(segment.angle + sign * (1.9 + 0.55 * pair + rng.normal(0, 0.15)))
            middle = centre + along * length * 0.65
            points = middle + turn[:, :1] * along * length * 0.65 + turn[:, 1:] * across * width * 0.65
            mask = polygon_mask(len(image), points)
            image = blend(image, np.array([0.9, 0.92, 0.92], np.float32), mask * rng.uniform(0.25, 0.6))
            vein = np.stack([centre, middle + across * 0.1 * width, middle + along * length * 0.6])
            image = blend(image, np.array([0.3, 0.25, 0.2], np.float32), lines_mask(len(image), [(vein, 0.006)]) * 0.7)
    return image


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
                image = blend_lit(image, colours[0], mask, rng, light=0.5, shade=rng.uniform(0.82, 1.1), softness=0.03)
        image = _heart(image, centre, size * heart, colours[1] if is_domed else colours[2], tilt=tilt, rng=rng)
    return image


def _heart(
    image: np.ndarray, centre: np.ndarray, size: float, colour: np.ndarray, *, tilt: float, rng: np.random.Generator
) -> np.ndarray:
    """The middle of a flower: a disc of seeds at the golden angle."""
    side = len(image)
    mask = polygon_mask(side, centre + circle(20) * (1, tilt) * size)
    image = blend_lit(image, colour, mask, rng, light=1.0)
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
        colour, shade = colours[number % 3], rng.uniform(0.6, 1.1)
        image = blend_lit(image, colour, mask, rng, light=0.6, shade=shade, softness=0.03)
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
