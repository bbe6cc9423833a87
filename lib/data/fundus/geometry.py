"""Where the round field lies in the frame, and disc, cup and fovea in it. Geometry only, no light.

Lengths are in units of the field's radius and counted from its centre, x to the right and y down. Proportions of an
eye: a photograph of 45 degrees shows a circle of about 13 mm; the disc is 1.8 mm wide and the fovea lies about 4.5 mm
to its temporal side, a little below its centre, which is a disc radius of 0.14 and a distance of 0.70.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.data.fundus.drawing import Rng

# Kinds of frame: share of photographs, and the field's radius beside half the frame; set so that the share of the frame
# that the field covers is that of photographs (quartiles 0.72, 0.91, 0.97).
_CAMERAS = {
    "round": (0.31, (0.895, 0.99)),
    "cut": (0.18, (0.97, 1.0)),
    "zoomed": (0.47, (1.06, 1.33)),
    "wide": (0.04, (0.94, 0.99)),
}
_NOTCHES = (0.55, 0.25, 0.20)  # none, triangle, square
_CUT_HEIGHT = (0.65, 0.87)  # of the width
_DISC_RADIUS = (0.116, 0.150)  # 1.5 to 1.95 mm across
# Shares of photographs centred on the macula and on the disc (fields 2 and 1 of the ETDRS protocol, report 10,
# Ophthalmology 1991; 98:786); the others are centred between them.
_SHARE_ON_MACULA, _SHARE_ON_DISC = 0.52, 0.06


@dataclass(frozen=True)
class Camera:
    """One photograph's frame: size in pixels, the field's centre and radius in pixels, and its notch."""

    name: str
    width: int
    height: int
    center_x: float
    center_y: float
    radius_px: float
    notch_angle: float | None  # radians; None for a camera without a notch
    notch_kind: str  # "triangle", "square" or ""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def grid(self, shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """X (1, w) and y (h, 1) of the pixels' centres in radii; `shape` for a smaller map of the same frame."""
        height, width = shape or self.shape
        x = ((np.arange(width, dtype=np.float32) + 0.5) * (self.width / width) - self.center_x) / self.radius_px
        y = ((np.arange(height, dtype=np.float32) + 0.5) * (self.height / height) - self.center_y) / self.radius_px
        return x[None, :].astype(np.float32), y[:, None].astype(np.float32)

    def window(self, center: Sequence[float] | np.ndarray, reach: float) -> tuple[slice, slice] | None:
        """Rows and columns of the pixels within `reach` of a point (radii) on each axis; None where there are none."""
        x, y = self.grid()
        columns = np.flatnonzero(np.abs(x[0] - center[0]) < reach)
        rows = np.flatnonzero(np.abs(y[:, 0] - center[1]) < reach)
        if not len(columns) or not len(rows):
            return None
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) in radii as pixels."""
        return points * self.radius_px + (self.center_x, self.center_y)

    def is_visible(self, points: np.ndarray, *, margin: float = 0.0) -> np.ndarray:
        """Whether points (n, 2) in radii lie in the field and the frame, at least `margin` from the edge."""
        pixels = self.to_pixels(points)
        edge = margin * self.radius_px
        in_frame = (pixels >= edge) & (pixels <= np.array([self.width, self.height]) - edge)
        return in_frame.all(axis=1) & (np.hypot(points[:, 0], points[:, 1]) < 1 - margin)


def choose_camera(rng: Rng, size_px: int) -> Camera:
    """Draw one of four kinds of camera; `size_px` is the frame's width, of the wide kind its height.

    round: the whole circle, a little black round it. cut: the circle cut off above and below. zoomed: cropped within
    the circle. wide: the whole circle in a 4:3 frame.
    """
    name = str(rng.choice(list(_CAMERAS), p=[share for share, _ in _CAMERAS.values()]))
    radius = size_px / 2 * rng.uniform(*_CAMERAS[name][1])
    width = round(size_px * 4 / 3) if name == "wide" else size_px
    height = round(size_px * rng.uniform(*_CUT_HEIGHT)) if name == "cut" else size_px
    slack = 0.004 * size_px
    center = (width / 2 + rng.normal(0, slack), height / 2 + rng.normal(0, slack))
    kind = str(rng.choice(["", "triangle", "square"], p=_NOTCHES))
    angle = float(rng.choice([-0.25, 0.25, 0.75, -0.75]) * np.pi + rng.normal(0, 0.05)) if kind else None
    return Camera(name, width, height, center[0], center[1], float(radius), angle, kind)


def field_mask(camera: Camera) -> np.ndarray:
    """Share of light (h, w) that the field's edge lets through: 1 inside, 0 outside, soft over two pixels."""
    x, y = camera.grid()
    inside = np.hypot(x, y)
    inside = np.clip((1 - inside) * (camera.radius_px / 2.0) + 0.5, 0, 1)
    if camera.notch_angle is None:
        return inside
    # A notch is a small tab of light outside the circle, as in scikit-image's example, or a bite out of it.
    along = x * np.cos(camera.notch_angle) + y * np.sin(camera.notch_angle)
    across = np.abs(y * np.cos(camera.notch_angle) - x * np.sin(camera.notch_angle))
    if camera.notch_kind == "square":
        tab = (along > 0.9) & (along < 1.045) & (across < 0.055)
        return np.maximum(inside, tab.astype(np.float32))
    bite = (across < 0.8 * (along - 0.945)) & (along > 0.945)
    return np.where(bite, 0, inside).astype(np.float32)


@dataclass(frozen=True)
class Eye:
    """Positions in units of the field's radius, x to the right and y down; nasal is right in a right eye."""

    is_right: bool
    disc: tuple[float, float]
    fovea: tuple[float, float]
    disc_radius: float
    cup_share: float  # of the disc's radius
    macula_radius: float

    @property
    def nasal(self) -> int:
        """1 if the nose is to the right of the picture (a right eye), else -1."""
        return 1 if self.is_right else -1

    def quadrants(self, points: np.ndarray) -> np.ndarray:
        """Where points (n, 2) lie: 0 superior temporal, 1 superior nasal, 2 inferior temporal, 3 inferior nasal."""
        below = points[:, 1] > self.fovea[1]
        return 2 * below.astype(int) + ((points[:, 0] - self.fovea[0]) * self.nasal > 0)

    def from_disc(self, temporal: np.ndarray, upward: np.ndarray) -> np.ndarray:
        """Points (n, 2) given by their distance from the disc's centre towards the temple and upwards."""
        points = np.empty((len(temporal), 2))
        points[:, 0] = self.disc[0] - self.nasal * temporal
        points[:, 1] = self.disc[1] - upward
        return points


def choose_eye(shared: Rng, own: Rng, *, is_right: bool) -> Eye:
    """Draw an eye; `shared` gives what both eyes of a patient have in common, `own` how this one was photographed."""
    disc_radius = shared.uniform(*_DISC_RADIUS)
    cup_share = shared.uniform(0.28, 0.58)
    distance = shared.uniform(0.64, 0.74)
    nasal = 1 if is_right else -1
    view = own.random()
    offset = own.normal(0.02, 0.05) if view < _SHARE_ON_MACULA else own.uniform(0.20, 0.38)
    if view > 1 - _SHARE_ON_DISC:
        offset = offset + 0.32
    fovea = (-nasal * float(offset), float(own.normal(0.0, 0.035)))
    tilt = math.radians(own.normal(6.5, 3.0))  # the fovea lies 6.5 degrees below the disc on average
    disc = (fovea[0] + nasal * distance * math.cos(tilt), fovea[1] - distance * math.sin(tilt))
    return Eye(is_right, disc, fovea, float(disc_radius), float(cup_share), float(shared.uniform(0.17, 0.24)))
