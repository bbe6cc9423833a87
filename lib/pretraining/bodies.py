"""Families of things on a ground: shapes, creatures with limbs, branching trees, fractals."""

import math

import numpy as np
from scipy.ndimage import gaussian_filter

from lib.pretraining import textures
from lib.pretraining.drawing import (
    axes,
    blend,
    blend_lit,
    colourise,
    ellipse_mask,
    lines_mask,
    normalised,
    outline,
    palette,
    polygon_mask,
    spectral_noise,
    turned,
)


def shape(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """One outline, large or repeated, filled plainly or with texture, often shaded; some classes have a hole."""
    form, seed = int(kind.integers(1, 7)), int(kind.integers(1_000_000))
    count, has_hole = int(kind.choice([1, 1, 3, 8])), kind.random() < 0.3
    image = textures.ground(rng, side)
    fill = _filling(rng, side)
    for _ in range(count + int(rng.integers(0, 1 + count // 3))):
        size = rng.uniform(0.45, 0.85) / math.sqrt(count) ** 0.9
        points = outline(form, kind_seed=seed, rng=rng) * size
        place = rng.uniform(-1, 1, 2) * (1.05 - size if count > 1 else 0.35)
        mask = polygon_mask(side, points + place)
        if has_hole:
            mask = mask * (1 - polygon_mask(side, points * 0.45 + place))
        image = _placed(image, fill if count == 1 else palette(rng, 1)[0], mask, rng)
    return image


def creature(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """A body of parts: trunk, head, limbs, spots, in proportions of the class and a pose of the image."""
    num_segments, num_limbs = int(kind.integers(1, 4)), int(kind.integers(0, 5))
    aspect, limb_length, limb_width = kind.uniform(0.4, 0.95), kind.uniform(0.4, 1.1), kind.uniform(0.03, 0.12)
    ears, eyes, tail = int(kind.integers(0, 3)), int(kind.integers(0, 3)), kind.random() < 0.5
    sizes = kind.uniform(0.5, 1.0, num_segments)
    head_size, pattern = kind.uniform(0.35, 0.8), int(kind.integers(4))
    colours, coat = palette(rng, 4), _filling(rng, side) if pattern else None
    scale, pose = rng.uniform(0.28, 0.5), rng.uniform(-0.5, 0.5) + rng.choice([0.0, math.pi])
    axis, normal = axes(pose)
    centre = rng.uniform(-0.25, 0.25, 2)
    lines, bodies = [], []
    position = centre - axis * scale * sizes.sum() * 0.5
    for number, size in enumerate(sizes):
        here = position + axis * scale * size * 0.6
        bodies.append(ellipse_mask(side, here, scale * size, aspect, pose + rng.normal(0, 0.12)))
        for limb in range(num_limbs):
            sway = rng.normal(0, 0.35) + (limb - num_limbs / 2) * 0.35
            for side_sign in (-1, 1):
                root = here + normal * side_sign * scale * size * aspect * 0.6 + axis * scale * size * 0.4 * sway
                knee = root + (normal * side_sign * 0.6 + axis * sway) * limb_length * scale
                foot = knee + (normal * side_sign * 0.25 + axis * (sway + rng.normal(0, 0.3))) * limb_length * scale
                lines.append((np.stack([root, knee, foot]), limb_width * scale))
        position = here + axis * scale * size * 0.6
        if tail and number == 0:
            swing = np.linspace(0, 1, 6)[:, None]
            path = here - axis * scale * size * (0.8 + 1.1 * swing) + normal * scale * rng.normal(0, 0.6) * swing**2
            lines.append((path, limb_width * scale * 0.8))
    head = position + axis * scale * head_size * 0.4 + normal * rng.normal(0, 0.08)
    image = textures.ground(rng, side)
    if lines:
        image = blend(image, colours[1], lines_mask(side, lines))
    for body in bodies:
        image = _placed(image, colours[0] if coat is None else coat, body, rng)
    return _add_head(image, head, scale * head_size, axis, colours, ears=ears, eyes=eyes, rng=rng)


def _add_head(
    image: np.ndarray, head: np.ndarray, size: float, axis: np.ndarray, colours: np.ndarray, *, ears: int, eyes: int,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    side, normal = len(image), np.array([-axis[1], axis[0]])
    for sign in (-1, 1):
        root = head + normal * sign * size * 0.6
        if ears == 1:
            tip = root + (normal * sign * 0.5 - axis * 0.3) * size * 1.4
            ear = polygon_mask(side, np.stack([root - axis * size * 0.4, tip, root + axis * size * 0.4]))
            image = _placed(image, colours[2], ear, rng)
        elif ears == 2:
            image = _placed(image, colours[2], ellipse_mask(side, root, size * 0.5, 0.6, rng.uniform(0, 3)), rng)
    image = _placed(image, colours[0], ellipse_mask(side, head, size, 0.85, 0.0), rng)
    for number in range(eyes):
        place = head + normal * size * 0.35 * (2 * number - eyes + 1) + axis * size * 0.2
        white = np.array([0.95, 0.95, 0.9], np.float32)
        for radius, colour in ((0.2, white), (0.11, colours[3] * 0.3)):
            image = blend(image, colour, ellipse_mask(side, place, size * radius, 1, 0))
    return image


def tree(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """Branching lines that taper: angle, ratio, order and bend of the class (plants, vessels, cracks, rivers)."""
    spread, ratio, taper = kind.uniform(0.2, 1.1), kind.uniform(0.6, 0.85), kind.uniform(0.55, 0.85)
    branches, bend, trunks = int(kind.choice([2, 2, 3])), kind.uniform(0, 0.8), int(kind.choice([1, 2, 5]))
    width = kind.uniform(0.012, 0.04)
    lines: list[tuple[np.ndarray, float]] = []

    def grow(start: np.ndarray, angle: float, length: float, thick: float) -> None:
        if length < 0.05 or thick < 0.0025 or len(lines) > 300:
            return
        steps = np.linspace(0, 1, 5)[:, None]
        path_angle = angle + bend * rng.normal() * steps
        path = start + steps * length * np.concatenate([np.cos(path_angle), np.sin(path_angle)], axis=1)
        lines.append((path, thick))
        for number in range(branches):
            side_turn = (number - (branches - 1) / 2) * 2 * spread / max(1, branches - 1) * rng.uniform(0.6, 1.3)
            grow(path[-1], float(path_angle[-1, 0]) + side_turn, length * ratio * rng.uniform(0.75, 1.1), thick * taper)

    start, heading = rng.uniform(-0.5, 0.5, 2), rng.uniform(0, 2 * math.pi)
    if trunks == 1:
        start = -0.9 * np.array([math.cos(heading), math.sin(heading)])
    for number in range(trunks):
        grow(start, heading + number * 2 * math.pi / trunks + rng.normal(0, 0.15), rng.uniform(0.4, 0.65), width)
    return blend(textures.ground(rng, side), palette(rng, 1)[0], lines_mask(side, lines) * rng.uniform(0.7, 1))


def fractal(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
    """The attractor of an iterated function system, as in FractalDB (Kataoka et al. 2020), coloured by density.

    The class fixes the maps; the image varies them a little (Kataoka's instance augmentation), turns and scales them.
    """
    num_maps = int(kind.integers(2, 6))
    linear = kind.uniform(-1, 1, (num_maps, 2, 2))
    shift = kind.uniform(-1, 1, (num_maps, 2))
    norms = np.linalg.norm(linear, ord=2, axis=(1, 2))
    # Contractions: the points stay finite.
    linear = linear * (kind.uniform(0.45, 0.85, num_maps) / norms)[:, None, None]
    chance = np.abs(np.linalg.det(linear)) + 0.08
    linear = linear * rng.uniform(0.92, 1.08, linear.shape)
    points = rng.normal(size=(700, 2))
    kept = []
    for step in range(34):
        chosen = rng.choice(num_maps, len(points), p=chance / chance.sum())
        points = np.einsum("nij,nj->ni", linear[chosen], points) + shift[chosen]
        if step >= 12:
            kept.append(points)
    cloud = turned(np.concatenate(kept), rng)
    low, high = np.quantile(cloud, 0.01, axis=0), np.quantile(cloud, 0.99, axis=0)
    cloud = (cloud - (low + high) / 2) * 2 * rng.uniform(0.6, 0.95) / max(*(high - low), 1e-6)
    cloud = cloud + rng.uniform(-0.2, 0.2, 2)
    edges = np.linspace(-1, 1, side + 1)
    density = np.histogram2d(cloud[:, 1], cloud[:, 0], bins=(edges, edges))[0].astype(np.float32)
    density = gaussian_filter(np.minimum(density, 4), rng.uniform(0.5, 0.9))
    mask = np.clip(density * 1.6, 0, 1)
    return blend(
        textures.ground(rng, side),
        colourise(normalised(np.sqrt(density)), palette(rng, 3)),
        mask,
    )


def _filling(rng: np.random.Generator, side: int) -> np.ndarray:
    if rng.random() < 0.35:
        return np.broadcast_to(palette(rng, 1)[0], (side, side, 3))
    if rng.random() < 0.5:
        return colourise(spectral_noise(side, rng, slope=rng.uniform(0.6, 1.6)), palette(rng, 3))
    return textures.any_texture(rng, side)


def _placed(image: np.ndarray, fill: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return blend_lit(image, fill, mask, rng, light=0.8) if rng.random() < 0.6 else blend(image, fill, mask)
