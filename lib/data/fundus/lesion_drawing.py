"""Puts planned lesions on the retina and writes their mask: for each kind a share of cover, and the colour it gives."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_dilation

from lib.data.fundus.drawing import Rng, StrokeCanvas, smooth_noise
from lib.data.fundus.geometry import Camera, Eye
from lib.data.fundus.lesion_plan import BEADED_POINTS, Lesion
from lib.data.fundus.vessels import Vessel
from lib.data.grades import LesionKind

# Factors by which red, green and blue reflectance change where a lesion covers wholly. Blood takes away green and blue,
# as in vessels; a lesion's draw of cover (0.4 to 1) makes most fainter than these.
_TINTS = {
    LesionKind.MICROANEURYSM: (0.88, 0.60, 0.70),
    LesionKind.DOT_HAEMORRHAGE: (0.84, 0.54, 0.64),
    LesionKind.BLOT_HAEMORRHAGE: (0.78, 0.47, 0.58),
    LesionKind.FLAME_HAEMORRHAGE: (0.84, 0.52, 0.60),
    LesionKind.HARD_EXUDATE: (1.22, 1.50, 1.15),
    LesionKind.COTTON_WOOL_SPOT: (1.12, 1.36, 1.50),
    LesionKind.VENOUS_BEADING: (1.0, 1.0, 1.0),
    LesionKind.IRMA: (0.84, 0.54, 0.64),
    LesionKind.NEOVASCULARISATION: (0.82, 0.50, 0.60),
    LesionKind.PRERETINAL_HAEMORRHAGE: (0.66, 0.34, 0.42),
}
_HIDES = 0.9  # share of the texture below a haemorrhage before the retina that is not seen
# How far the window reaches, in radii of the lesion.
_REACH = {LesionKind.FLAME_HAEMORRHAGE: 1.35, LesionKind.HARD_EXUDATE: 1.3, LesionKind.COTTON_WOOL_SPOT: 1.7}
_COVERED_FROM = 0.25  # share of cover from which a pixel belongs to the lesion
_LAST = (LesionKind.NEOVASCULARISATION, LesionKind.PRERETINAL_HAEMORRHAGE)  # they lie before the retina


def _shape_of(
    kind: LesionKind, dx: np.ndarray, dy: np.ndarray, *, radius: float, heading: float, rng: Rng
) -> np.ndarray:
    """Cover (h, w) from 0 to 1 in a window with pixel offsets dx (1, w) and dy (h, 1) from the lesion's centre.

    `heading` is the direction of the nerve fibres there; `radius` is in pixels.
    """
    if kind is LesionKind.FLAME_HAEMORRHAGE:
        return _flame(dx, dy, radius, heading, rng)
    if kind is LesionKind.HARD_EXUDATE:
        return _exudates(dx, dy, radius, rng)
    if kind is LesionKind.COTTON_WOOL_SPOT:
        return _cotton_wool(dx, dy, radius, heading, rng)
    if kind is LesionKind.PRERETINAL_HAEMORRHAGE:
        return _boat(dx, dy, radius, rng)
    if kind in (LesionKind.IRMA, LesionKind.NEOVASCULARISATION):
        return _tangle(kind, dx, dy, radius, rng)
    return _spot(dx, dy, radius, rng, irregular=0.05 if kind is LesionKind.MICROANEURYSM else 0.09)


def _spot(dx: np.ndarray, dy: np.ndarray, radius: float, rng: Rng, *, irregular: float) -> np.ndarray:
    """A round spot with an irregular outline, soft over a pixel and a half."""
    angle = np.arctan2(dy, dx)
    phases, waves = rng.uniform(0, 6.28, 3), rng.normal(0, irregular, 3) / (1.0, 1.3, 1.6)
    outline = radius * (
        1 + sum(wave * np.cos(n * angle + p) for n, wave, p in zip((2, 3, 5), waves, phases, strict=True))
    )
    return np.clip((outline - np.hypot(dx, dy)) / max(1.2, 0.45 * radius) + 0.5, 0, 1) * rng.uniform(0.5, 1.0)


def _flame(dx: np.ndarray, dy: np.ndarray, radius: float, heading: float, rng: Rng) -> np.ndarray:
    """Blood between nerve fibres: long, along them, with frayed ends."""
    along = (dx * np.cos(heading) + dy * np.sin(heading)) / radius
    across = (dy * np.cos(heading) - dx * np.sin(heading)) / radius
    thin = rng.uniform(0.22, 0.38)
    body = 1 - (along**2 + (across / thin) ** 2)
    fray = 0.55 * np.sin(across * rng.uniform(28, 44) + rng.uniform(0, 6)) * np.clip(np.abs(along) - 0.25, 0, 1)
    return np.clip((body + fray) * 1.8, 0, 1) * rng.uniform(0.5, 0.95)


def _exudates(dx: np.ndarray, dy: np.ndarray, radius: float, rng: Rng) -> np.ndarray:
    """Waxy deposits with sharp edges, scattered in a cluster or set in a ring round a leak."""
    cover = np.zeros((dy.shape[0], dx.shape[1]), dtype=np.float32)
    count = int(rng.integers(5, 9) + rng.integers(0, 14) * min(1.0, radius / 25))
    in_ring = rng.random() < 0.35
    angles = rng.uniform(0, 2 * np.pi, count)
    distances = radius * (rng.normal(0.85, 0.1, count) if in_ring else np.sqrt(rng.uniform(0, 0.9, count)))
    sizes = (0.5 + rng.gamma(1.3, 0.45, count)) * max(1.0, radius / 16) ** 0.4
    for angle, distance, size in zip(angles, distances, sizes, strict=True):
        gone = np.hypot(dx - distance * np.cos(angle), (dy - distance * np.sin(angle)) * rng.uniform(0.7, 1.3))
        np.maximum(cover, np.clip(size - gone + 0.5, 0, 1), out=cover)
    return cover * np.float32(rng.uniform(0.65, 1.0))


def _cotton_wool(dx: np.ndarray, dy: np.ndarray, radius: float, heading: float, rng: Rng) -> np.ndarray:
    """A fluffy pale patch in the nerve fibre layer, wider than it is long."""
    along = dx * np.cos(heading) + dy * np.sin(heading)
    across = (dy * np.cos(heading) - dx * np.sin(heading)) * rng.uniform(0.6, 0.95)
    cover = np.zeros((dy.shape[0], dx.shape[1]), dtype=np.float32)
    for _ in range(4):
        shift = rng.normal(0, 0.33, 2) * radius
        gone = np.hypot(along - shift[0], across - shift[1]) / (radius * rng.uniform(0.5, 0.8))
        np.maximum(cover, np.exp(-(gone**2.6)), out=cover)
    return cover * np.float32(rng.uniform(0.55, 0.95))


def _boat(dx: np.ndarray, dy: np.ndarray, radius: float, rng: Rng) -> np.ndarray:
    """Blood between retina and vitreous: it settles, so that its upper edge is level; vessels vanish behind it.

    Its cells sink, so that it is thin and pale at the top and thick at the bottom, where it thins out again to its
    edge.
    """
    wide, deep = radius, radius * rng.uniform(0.5, 1.0)
    phases, waves = rng.uniform(0, 6.28, 3), rng.normal(0, (0.07, 0.04, 0.02))
    angle = np.arctan2(dy + 0.3 * deep, dx)
    outline = 1 + sum(wave * np.sin(n * angle + p) for n, wave, p in zip((2, 3, 5), waves, phases, strict=True))
    bowl = outline - np.hypot(dx / wide, np.maximum(dy + 0.3 * deep, 0) / deep)
    depth = dy + 0.3 * deep + 0.10 * deep * np.sin(dx / wide * 3 + rng.uniform(0, 6))
    soft = rng.uniform(0.06, 0.22)  # of the radius: where the blood thins out towards its edge
    level = np.clip(depth / max(1.5, rng.uniform(0.02, 0.12) * radius) + 0.3, 0, 1)
    thick = rng.uniform(0.66, 0.88) + 0.25 * np.clip(depth / (1.3 * deep), 0, 1)
    thick = thick * (1 + 0.08 * smooth_noise(bowl.shape, rng.uniform(3, 7), rng))
    return np.clip(bowl / soft, 0, 1) ** 0.7 * level * np.clip(thick, 0, 0.97)


def _tangle(kind: LesionKind, dx: np.ndarray, dy: np.ndarray, radius: float, rng: Rng) -> np.ndarray:
    """Fine vessels that turn sharply: a few for IRMA; a fan of loops for new vessels."""
    is_new = kind is LesionKind.NEOVASCULARISATION
    unit = radius / (30 if is_new else 16)
    canvas = StrokeCanvas((dy.shape[0], dx.shape[1]))
    offset = np.array([-dx[0, 0], -dy[0, 0]]) + 0.5
    num_lines = int(rng.integers(14, 24)) if is_new else int(rng.integers(3, 6))
    fan = rng.uniform(0, 2 * np.pi)
    for _ in range(num_lines):
        steps = int(rng.integers(18, 34))
        turns = rng.normal(0, 0.26, steps) + (rng.choice((-1, 1)) * rng.uniform(0.0, 0.12) if is_new else 0)
        if not is_new:
            turns += 0.42 * np.sin(np.arange(steps) * rng.uniform(0.6, 0.95) + rng.uniform(0, 6))
        heading = (fan + rng.normal(0, 1.1) if is_new else rng.uniform(0, 6.28)) + np.cumsum(turns)
        step = radius * (0.055 if is_new else 0.085)
        path = np.cumsum(step * np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
        path += rng.normal(0, 0.12 if is_new else 0.3, 2) * radius + offset
        width = max(0.8, rng.uniform(0.8, 1.4) * min(1.6, max(0.8, unit)))
        canvas.line(path, np.full(steps, width) * np.linspace(1.15, 0.8, steps), strength=0.85)
    edge = np.clip((_REACH.get(kind, 1.25) - np.hypot(dx, dy) / radius) * 6, 0, 1)
    return canvas.to_array() * edge.astype(np.float32)


def with_beading(vessels: Sequence[Vessel], lesions: Sequence[Lesion]) -> list[Vessel]:
    """The vessels with the planned veins beaded: constricted and dilated in turn, like a string of sausages."""
    beaded = list(vessels)
    for lesion in lesions:
        if lesion.kind is LesionKind.VENOUS_BEADING:
            vessel = beaded[lesion.vein]
            rng = np.random.default_rng(lesion.seed)
            stretch = np.arange(BEADED_POINTS)
            period, depth = rng.uniform(4.5, 7.0), rng.uniform(0.38, 0.6)
            wave = 1.12 + depth * np.sin(2 * np.pi * stretch / period) * np.sin(np.pi * stretch / BEADED_POINTS) ** 0.5
            factors = np.ones(len(vessel.points)) if vessel.beading is None else vessel.beading.copy()
            factors[lesion.first_point : lesion.first_point + BEADED_POINTS] *= wave
            beaded[lesion.vein] = replace(vessel, beading=factors)
    return beaded


def paint_lesions(
    planes: np.ndarray,
    lesions: Sequence[Lesion],
    vessels: Sequence[Vessel],
    *,
    eye: Eye,
    camera: Camera,
    visibility: float,
) -> np.ndarray:
    """Change reflectance (3, h, w) in place where lesions lie; returns their mask, uint8 (h, w) of `LesionKind` values.

    `visibility` scales the contrast of all lesions of a photograph. `vessels` are those with beading.
    """
    mask = np.zeros(camera.shape, dtype=np.uint8)
    for lesion in sorted(lesions, key=lambda lesion: (lesion.kind in _LAST, -lesion.radius)):
        if lesion.kind is LesionKind.VENOUS_BEADING:
            _mark_beading(mask, lesion, vessels, camera)
        else:
            _paint(planes, mask, lesion, eye=eye, camera=camera, visibility=visibility)
    return mask


def _paint(
    planes: np.ndarray, mask: np.ndarray, lesion: Lesion, *, eye: Eye, camera: Camera, visibility: float
) -> None:
    radius = lesion.radius * camera.radius_px
    center_x, center_y = camera.to_pixels(np.array([[lesion.x, lesion.y]]))[0]
    reach = radius * _REACH.get(lesion.kind, 1.25) + 2
    left, right = max(0, int(center_x - reach)), min(camera.width, int(center_x + reach) + 2)
    top, bottom = max(0, int(center_y - reach)), min(camera.height, int(center_y + reach) + 2)
    if left >= right or top >= bottom:
        return
    dx = (np.arange(left, right, dtype=np.float32) + 0.5 - center_x)[None, :]
    dy = (np.arange(top, bottom, dtype=np.float32) + 0.5 - center_y)[:, None]
    # The direction of the nerve fibres there, away from the disc (radians, picture coordinates).
    heading = float(np.arctan2(lesion.y - eye.disc[1], lesion.x - eye.disc[0]))
    rng = np.random.default_rng(lesion.seed)
    cover = _shape_of(lesion.kind, dx, dy, radius=radius, heading=heading, rng=rng).astype(np.float32)
    share = cover * np.float32(visibility)
    for plane, factor in zip(planes[:, top:bottom, left:right], _TINTS[lesion.kind], strict=True):
        changed = plane * np.float32(factor)
        if lesion.kind is LesionKind.PRERETINAL_HAEMORRHAGE:
            changed = changed * (1 - _HIDES) + np.float32(_HIDES * factor)
        np.add(plane, share * (changed - plane), out=plane)
    window = mask[top:bottom, left:right]
    is_covered = cover > min(_COVERED_FROM, 0.6 * float(cover.max()))
    if lesion.kind in (LesionKind.IRMA, LesionKind.NEOVASCULARISATION):
        is_covered = binary_dilation(is_covered, iterations=2)  # the tangle as one region
    window[is_covered] = lesion.kind


def _mark_beading(mask: np.ndarray, lesion: Lesion, vessels: Sequence[Vessel], camera: Camera) -> None:
    vessel = vessels[lesion.vein]
    stretch = slice(lesion.first_point, lesion.first_point + BEADED_POINTS)
    points = camera.to_pixels(vessel.points[stretch])
    widths = vessel.seen_widths[stretch] * camera.radius_px + 2.5
    low = np.maximum(0, np.floor(points.min(axis=0) - 8)).astype(int)
    high = np.minimum((camera.width, camera.height), np.ceil(points.max(axis=0) + 8).astype(int))
    if (low >= high).any():
        return
    canvas = StrokeCanvas((int(high[1] - low[1]), int(high[0] - low[0])))
    canvas.line(points - low, widths)
    mask[low[1] : high[1], low[0] : high[0]][canvas.to_array() > 0.4] = LesionKind.VENOUS_BEADING
