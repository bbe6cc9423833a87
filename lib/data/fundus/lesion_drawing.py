"""Puts planned lesions on the retina and writes their mask."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import binary_dilation

from lib.data.fundus.anatomy import Eye
from lib.data.fundus.camera import Camera
from lib.data.fundus.lesion_plan import BEADED_POINTS, Lesion
from lib.data.fundus.lesion_shapes import REACH, TINTS, shape_of
from lib.data.fundus.severity_scale import LesionKind
from lib.data.fundus.strokes import StrokeCanvas
from lib.data.fundus.vessels import Vessel

_COVERED_FROM = 0.25  # share of cover from which a pixel belongs to the lesion
_LAST = (LesionKind.NEOVASCULARISATION, LesionKind.PRERETINAL_HAEMORRHAGE)  # they lie before the retina


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
    reach = radius * REACH.get(lesion.kind, 1.25) + 2
    left, right = max(0, int(center_x - reach)), min(camera.width, int(center_x + reach) + 2)
    top, bottom = max(0, int(center_y - reach)), min(camera.height, int(center_y + reach) + 2)
    if left >= right or top >= bottom:
        return
    dx = (np.arange(left, right, dtype=np.float32) + 0.5 - center_x)[None, :]
    dy = (np.arange(top, bottom, dtype=np.float32) + 0.5 - center_y)[:, None]
    heading = _fibre_heading(lesion, eye)
    rng = np.random.default_rng(lesion.seed)
    cover = shape_of(lesion.kind, dx, dy, radius=radius, heading=heading, rng=rng).astype(np.float32)
    tint = TINTS[lesion.kind]
    share = cover * np.float32(visibility)
    for plane, factor in zip(planes[:, top:bottom, left:right], tint.factors, strict=True):
        changed = plane * np.float32(factor)
        if tint.hides:
            changed = changed * (1 - tint.hides) + np.float32(tint.hides * factor)
        np.add(plane, share * (changed - plane), out=plane)
    window = mask[top:bottom, left:right]
    is_covered = cover > min(_COVERED_FROM, 0.6 * float(cover.max()))
    if lesion.kind in (LesionKind.IRMA, LesionKind.NEOVASCULARISATION):
        is_covered = binary_dilation(is_covered, iterations=2)  # the tangle as one region
    window[is_covered] = lesion.kind


def _fibre_heading(lesion: Lesion, eye: Eye) -> float:
    """The direction of the nerve fibres there, away from the disc (radians, picture coordinates)."""
    return float(np.arctan2(lesion.y - eye.disc[1], lesion.x - eye.disc[0]))


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
