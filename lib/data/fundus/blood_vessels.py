"""How vessels are seen: veins darker and wider, arteries paler with a light reflex along their middle."""

from collections.abc import Sequence

import numpy as np

from lib.data.fundus.camera import Camera
from lib.data.fundus.strokes import StrokeCanvas, fine_line_strength
from lib.data.fundus.vessels import Vessel, vein_narrowing

# Share of red, green and blue light that a vessel of full width takes away: blood absorbs green and blue, and red the
# more the less oxygen it holds (scikit-image's photograph: 0.1, 0.45 and 0.3 less than the retina beside it).
_VEIN = (0.18, 0.51, 0.37)
_ARTERY = (0.11, 0.42, 0.32)
_REFLEX = (0.10, 0.25, 0.20)  # added back along the middle
_REFLEX_WIDTH = 0.32  # of the vessel's width (Brinchmann-Hansen & Engvold 1986: a third)
_REFLEX_FROM_PX = 2.4  # of 512: thinner vessels show none
_FULL_WIDTH = 0.008  # of the field's radius: vessels much wider than this take away all they can (Beer and Lambert)
_STRENGTH = (0.36, 0.96)  # of a photograph: blood seems paler through a clouded lens
_NARROWING = (0.05, 0.45)  # of a vein's width under a crossing artery


def paint_vessels(planes: np.ndarray, vessels: Sequence[Vessel], camera: Camera, rng: np.random.Generator) -> None:
    """Darken relative reflectance (3, h, w) in place where vessels run."""
    strength = rng.uniform(*_STRENGTH)
    unit = camera.radius_px / 250
    veins, arteries, reflex = (StrokeCanvas(camera.shape) for _ in range(3))
    reflex_strength = rng.uniform(0.3, 1.0)
    narrowing = vein_narrowing(list(vessels), rng.uniform(*_NARROWING))
    for index, vessel in enumerate(vessels):
        points, widths = camera.to_pixels(vessel.points), vessel.widths * camera.radius_px
        body = veins if vessel.is_vein else arteries
        mean_width = float(vessel.widths.mean())
        pale = fine_line_strength(mean_width * camera.radius_px) * (1 - np.exp(-(mean_width + 0.004) / _FULL_WIDTH))
        body.line(points, vessel.seen_widths * camera.radius_px * narrowing.get(index, 1.0), strength=pale)
        wide = widths > _REFLEX_FROM_PX * unit * (1.5 if vessel.is_vein else 1.0)
        num = int(wide.sum())  # widths fall, so that the wide part comes first
        if num > 3:
            strength_here = reflex_strength * (0.35 if vessel.is_vein else 0.9)
            reflex.line(points[:num], _REFLEX_WIDTH * widths[:num], strength=strength_here)
    vein, artery, shine = veins.to_array(), arteries.to_array(), reflex.to_array()
    for plane, of_vein, of_artery, lift in zip(planes, _VEIN, _ARTERY, _REFLEX, strict=True):
        # An artery lies over the vein that it crosses and lets little of it through.
        taken = vein * np.float32(of_vein * strength)
        taken *= 1 - np.float32(0.75) * artery
        taken = np.maximum(taken, artery * np.float32(of_artery * strength))
        taken -= shine * np.float32(lift * strength)
        np.multiply(plane, 1 - taken, out=plane)
