"""Plain frames and eyes, whose places can be worked out by hand."""

from typing import Any

from lib.data.fundus.geometry import Camera, Eye


def camera_of(**changes: Any) -> Camera:
    """The whole circle in a square frame of 100 px, without a notch."""
    return Camera(**{
        "name": "round", "width": 100, "height": 100, "center_x": 50.0, "center_y": 50.0, "radius_px": 40.0,
        "notch_angle": None, "notch_kind": "", **changes,
    })  # fmt: skip


def eye_of(**changes: Any) -> Eye:
    """A right eye, centred between disc and fovea."""
    return Eye(**{
        "is_right": True, "disc": (0.4, -0.1), "fovea": (-0.3, 0.0), "disc_radius": 0.14, "cup_share": 0.4,
        "macula_radius": 0.2, **changes,
    })  # fmt: skip
