"""Smooth-edged drawing of thin lines: polygons at three times the size, averaged down."""

import numpy as np
from PIL import Image, ImageDraw

_SCALE = 3
_LEAST_PX = 0.55  # thinner lines are drawn this wide: a polygon thinner than a pixel is not drawn


class StrokeCanvas:
    """A grey picture (h, w) to draw tapering lines on; coordinates in pixels of the result."""

    def __init__(self, shape: tuple[int, int], *, scale: int = _SCALE) -> None:
        self._scale = scale
        self._image = Image.new("L", (shape[1] * scale, shape[0] * scale))
        self._pen = ImageDraw.Draw(self._image)

    def line(self, points: np.ndarray, widths: np.ndarray, *, strength: float = 1.0) -> None:
        """Draw a line through points (n, 2) with widths (n,)."""
        if len(points) < 2:
            return
        num = len(points)
        tangent = np.empty_like(points)
        tangent[1:-1] = points[2:] - points[:-2]
        tangent[0], tangent[-1] = points[1] - points[0], points[-1] - points[-2]
        length = np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-9)
        half = 0.5 * self._scale * np.maximum(widths, _LEAST_PX) / length
        outline = np.empty((2 * num, 2))
        outline[:num] = outline[: num - 1 : -1] = points * self._scale
        offset = np.empty_like(points)
        offset[:, 0], offset[:, 1] = -half * tangent[:, 1], half * tangent[:, 0]
        outline[:num] += offset
        outline[num:] -= offset[::-1]
        self._pen.polygon(outline.ravel().tolist(), fill=round(255 * min(1.0, strength)))

    def to_array(self) -> np.ndarray:
        """Coverage (h, w) from 0 to 1."""
        return np.asarray(self._image.reduce(self._scale), dtype=np.float32) * np.float32(1 / 255)


def fine_line_strength(width_px: float) -> float:
    """How strongly to draw a line: one thinner than can be drawn is paler, but by the root of what it lacks only."""
    return float(min(1.0, max(width_px, 1e-6) / _LEAST_PX) ** 0.5)
