"""How vessels are seen: veins darker and wider, arteries paler with a light reflex along their middle."""

from collections.abc import Sequence

import numpy as np

from lib.data.fundus.camera import Camera
from lib.data.fundus.strokes import StrokeCanvas, fine_line_strength
from lib.data.fundus.vessels import Vessel

# Share of red, green and blue light that a vessel of full width takes away.
_VEIN = (0.34, 0.52, 0.44)
_ARTERY = (0.17, 0.37, 0.33)
_REFLEX_FROM_PX = 2.6  # of 512: thinner vessels show none


def paint_vessels(planes: np.ndarray, vessels: Sequence[Vessel], camera: Camera, rng: np.random.Generator) -> None:
    """Darken relative reflectance (3, h, w) in place where vessels run."""
    strength = rng.uniform(0.52, 0.98)
    unit = camera.radius_px / 250
    veins, arteries, reflex = (StrokeCanvas(camera.shape) for _ in range(3))
    reflex_strength = rng.uniform(0.35, 1.0)
    for vessel in vessels:
        points, widths = camera.to_pixels(vessel.points), vessel.widths * camera.radius_px
        body = veins if vessel.is_vein else arteries
        pale = fine_line_strength(float(widths.mean()))
        body.line(points, vessel.seen_widths * camera.radius_px, strength=pale * (1.0 - 0.13 * vessel.depth))
        wide = widths > _REFLEX_FROM_PX * unit * (1.5 if vessel.is_vein else 1.0)
        num = int(wide.sum())  # widths fall, so that the wide part comes first
        if num > 3:
            strength_here = reflex_strength * (0.3 if vessel.is_vein else 0.8)
            reflex.line(points[:num], 0.34 * widths[:num], strength=strength_here)
    vein, artery, shine = veins.to_array(), arteries.to_array(), reflex.to_array()
    for plane, of_vein, of_artery, lift in zip(planes, _VEIN, _ARTERY, (0.16, 0.36, 0.30), strict=True):
        taken = np.maximum(vein * np.float32(of_vein * strength), artery * np.float32(of_artery * strength))
        taken -= shine * np.float32(lift)
        plane *= 1 - taken
