"""Where the round field lies in the frame: cameras differ in aspect, crop and notch. Geometry only, no light.

Lengths are in units of the field's radius and counted from its centre, x to the right and y down.
"""

from dataclasses import dataclass

import numpy as np


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

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) in radii as pixels."""
        return points * self.radius_px + (self.center_x, self.center_y)

    def is_visible(self, points: np.ndarray, *, margin: float = 0.0) -> np.ndarray:
        """Whether points (n, 2) in radii lie in the field and the frame, at least `margin` from the edge."""
        pixels = self.to_pixels(points)
        edge = margin * self.radius_px
        in_frame = (pixels >= edge) & (pixels <= np.array([self.width, self.height]) - edge)
        return in_frame.all(axis=1) & (np.hypot(points[:, 0], points[:, 1]) < 1 - margin)


# Set so that the share of the frame that the field covers is that of photographs (quartiles 0.72, 0.91, 0.97).
_SHARES = (0.31, 0.18, 0.47, 0.04)  # of round, cut, zoomed and wide frames
_NOTCHES = (0.55, 0.25, 0.20)  # none, triangle, square
_ROUND = (0.895, 0.99)  # the field's radius beside half the frame
_CUT_HEIGHT = (0.65, 0.87)  # of the width
_ZOOM = (1.06, 1.33)  # as for round ones


def choose_camera(rng: np.random.Generator, size_px: int) -> Camera:
    """Draw one of four kinds of camera; `size_px` is the frame's width, of the wide kind its height.

    round: the whole circle, a little black round it. cut: the circle cut off above and below. zoomed: cropped within
    the circle. wide: the whole circle in a 4:3 frame.
    """
    name = str(rng.choice(["round", "cut", "zoomed", "wide"], p=_SHARES))
    width = height = size_px
    radius = size_px / 2
    if name == "round":
        radius *= rng.uniform(*_ROUND)
    elif name == "cut":
        radius *= rng.uniform(0.97, 1.0)
        height = round(size_px * rng.uniform(*_CUT_HEIGHT))
    elif name == "zoomed":
        radius *= rng.uniform(*_ZOOM)
    else:
        width = round(size_px * 4 / 3)
        radius *= rng.uniform(0.94, 0.99)
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
