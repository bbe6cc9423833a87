"""Outlines: closed curves about the origin, by family."""

import math

import numpy as np

_CORNERS = 48


def outline(form: int, *, kind_seed: int, rng: np.random.Generator) -> np.ndarray:
    """A closed curve (K, 2) of radius about 1, turned at random: discs, ellipses, polygons, stars, petals, blobs.

    `form` (0 to 7) chooses the family; `kind_seed` fixes its parameters, such as the number of corners.
    """
    kind = np.random.default_rng([901, kind_seed])
    angle = np.arange(_CORNERS) * 2 * math.pi / _CORNERS
    radius = np.ones(_CORNERS)
    lobes, depth = int(kind.integers(3, 9)), kind.uniform(0.2, 0.55)
    if form == 2:
        return turned(_regular(int(kind.integers(3, 7))), rng)
    if form == 3:
        return turned(_star(lobes, 1 - depth), rng)
    if form == 4:
        radius = 1 + depth * np.cos(lobes * angle)
    elif form == 5:
        radius = superformula(angle, kind)
    elif form in (6, 7):
        radius = blob(angle, kind if form == 6 else rng)
    points = np.stack([np.cos(angle), np.sin(angle)], -1) * radius[:, None]
    if form == 1:
        points[:, 1] *= kind.uniform(0.25, 0.6)
    return turned(points / max(1.0, np.abs(radius).max()), rng)


def superformula(angle: np.ndarray, kind: np.random.Generator) -> np.ndarray:
    """Gielis' curve: leaves, flowers, shells (doi 10.3732/ajb.90.3.333)."""
    corners, n1 = int(kind.integers(2, 9)), kind.uniform(0.4, 3)
    n2, n3 = kind.uniform(0.5, 4, 2)
    terms = np.abs(np.cos(corners * angle / 4)) ** n2 + np.abs(np.sin(corners * angle / 4)) ** n3
    radius = np.maximum(terms, 1e-3) ** (-1 / n1)
    return radius / radius.max()


def blob(angle: np.ndarray, kind: np.random.Generator) -> np.ndarray:
    """A smooth irregular curve: a few random harmonics."""
    radius = np.ones_like(angle)
    for harmonic in range(2, 6):
        radius = radius + kind.normal(0, 0.42 / harmonic) * np.cos(harmonic * angle + kind.uniform(0, 6.28))
    return np.maximum(radius, 0.2)


def turned(points: np.ndarray, rng: np.random.Generator, limit: float = math.pi) -> np.ndarray:
    """Points (K, 2) rotated by at most `limit` radians."""
    angle = rng.uniform(-limit, limit)
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _regular(corners: int) -> np.ndarray:
    angle = np.arange(corners) * 2 * math.pi / corners
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def _star(points: int, inner: float) -> np.ndarray:
    angle = np.arange(2 * points) * math.pi / points
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return np.stack([np.cos(angle), np.sin(angle)], -1) * radius[:, None]
