"""A family of insects: segments, jointed legs, feelers and wings, in the colours of the class."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from lib.pretraining.canvas import blend, lines_mask, polygon_mask, relief
from lib.pretraining.closeups import axes, class_colours, close_up


@dataclass(frozen=True)
class _InsectKind:
    """What the insects of one class share; lengths are shares of the body's scale."""

    sizes: np.ndarray  # of the segments, from the tail to the head
    aspects: np.ndarray
    gap: float
    num_leg_pairs: int
    leg_length: float
    leg_width: float
    num_wing_pairs: int
    wing_length: float
    wing_width: float
    coat: int  # glossy, banded, furry
    num_bands: int
    feelers: float
    colours: np.ndarray


@dataclass(frozen=True)
class _Segment:
    centre: np.ndarray
    size: float
    angle: float

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """Along and across."""
        return axes(self.angle)


def insect(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Segments in a row, jointed legs, feelers, perhaps wings; glossy, banded or furry, in the colours of the class."""
    insect_kind = _insect_kind(kind, rng)
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


def _insect_kind(kind: np.random.Generator, rng: np.random.Generator) -> _InsectKind:
    sizes = kind.uniform(0.35, 1.0, int(kind.integers(2, 5)))
    return _InsectKind(
        sizes=sizes,
        aspects=kind.uniform(0.45, 0.95, len(sizes)),
        gap=kind.uniform(0.75, 1.25),
        num_leg_pairs=int(kind.choice([3, 3, 3, 4])),
        leg_length=kind.uniform(0.7, 2.0),
        leg_width=kind.uniform(0.015, 0.06),
        num_wing_pairs=int(kind.choice([0, 0, 1, 2])),
        wing_length=kind.uniform(1.0, 2.0),
        wing_width=kind.uniform(0.25, 0.5),
        coat=int(kind.integers(3)),
        num_bands=int(kind.integers(2, 6)),
        feelers=kind.uniform(0.4, 1.6),
        colours=class_colours(kind, rng, 3),
    )


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
    axis, normal = middle.axes
    reach = kind.leg_length * scale
    for leg in range(kind.num_leg_pairs):
        lean = (leg - (kind.num_leg_pairs - 1) / 2) * 0.9 + rng.normal(0, 0.15)
        for sign in (-1, 1):
            root = middle.centre + axis * middle.size * 0.35 * lean
            knee = root + (normal * sign * 0.6 + axis * lean * 0.35) * reach
            foot = knee + (normal * sign * 0.35 + axis * (lean * 0.7 + rng.normal(0, 0.15))) * reach
            lines.append((np.stack([root, knee, foot]), kind.leg_width * scale / 0.4))
    head = segments[-1]
    axis, normal = head.axes
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
    side, (axis, normal), centre, size = len(image), segment.axes, segment.centre, segment.size
    aspect, colours = float(kind.aspects[0 if is_first else -1]), kind.colours
    turn = np.arange(28) * 2 * math.pi / 28
    mask = polygon_mask(
        side, centre + (np.cos(turn)[:, None] * axis + np.sin(turn)[:, None] * normal * aspect) * size * 0.7
    )
    fill: np.ndarray = np.broadcast_to(colours[0], image.shape)
    if kind.coat == 1:
        steps = np.arange(side, dtype=np.float32) * 2 / side - 1
        along = (steps[None, :] - centre[0]) * axis[0] + (steps[:, None] - centre[1]) * axis[1]
        wave = np.sin(math.pi * kind.num_bands * along / max(size, 0.02) + 0.7)
        fill = blend(fill, colours[1], np.clip(wave * 4 + 0.5, 0, 1).astype(np.float32))
    shade = relief(mask, rng, softness=max(0.015, 0.2 * size))
    image = blend(image, np.clip(fill * (1 + 0.7 * shade)[..., None], 0, 1), mask)
    if kind.coat == 2:
        hairs = []
        for _ in range(46):
            root = centre + (axis * rng.normal(0, 0.33) + normal * aspect * rng.normal(0, 0.33)) * size
            away = root - centre + rng.normal(0, 0.1 * size, 2)
            hairs.append((np.stack([root, root + away * rng.uniform(0.25, 0.6)]), 0.007))
        image = blend(image, colours[1], lines_mask(side, hairs) * 0.85)
    elif kind.coat == 0:
        spot = centre + rng.normal(0, 0.15 * size, 2)
        glint = polygon_mask(side, spot + np.stack([np.cos(turn), np.sin(turn)], -1) * size * 0.16)
        image = np.clip(image + 0.7 * gaussian_filter(glint, 0.012 * side)[..., None], 0, 1)
    return image


def _with_wings(
    image: np.ndarray, segment: _Segment, kind: _InsectKind, scale: float, rng: np.random.Generator
) -> np.ndarray:
    centre, turn = segment.centre, np.arange(24) * 2 * math.pi / 24
    scale = scale * float(kind.sizes.sum()) / len(kind.sizes)
    length, width = kind.wing_length * scale, kind.wing_width * scale
    for pair in range(kind.num_wing_pairs):
        for sign in (-1, 1):
            along, across = axes(segment.angle + sign * (1.9 + 0.55 * pair + rng.normal(0, 0.15)))
            middle = centre + along * length * 0.65
            points = middle + np.cos(turn)[:, None] * along * length * 0.65
            points = points + np.sin(turn)[:, None] * across * width * 0.65
            mask = polygon_mask(len(image), points)
            image = blend(image, np.array([0.9, 0.92, 0.92], np.float32), mask * rng.uniform(0.25, 0.6))
            vein = np.stack([centre, middle + across * 0.1 * width, middle + along * length * 0.6])
            image = blend(image, np.array([0.3, 0.25, 0.2], np.float32), lines_mask(len(image), [(vein, 0.006)]) * 0.7)
    return image
