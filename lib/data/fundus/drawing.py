"""What pictures are drawn with: a stream of random numbers for each part, so that no other part moves, noise, lines."""

import zlib

import numpy as np
from PIL import Image, ImageDraw

Rng = np.random.Generator
BOTH_EYES = 2  # in place of 0 (left) or 1 (right): what the eyes of a patient share
_SCALE = 3
_LEAST_PX = 0.55  # thinner lines are drawn this wide: a polygon thinner than a pixel is not drawn


def component_rng(seed: int, patient: int, eye: int, component: str) -> Rng:
    """The stream of one component, such as "vessels", of one eye of one patient."""
    return np.random.default_rng([seed, patient, eye, zlib.crc32(component.encode())])


def smooth_noise(shape: tuple[int, int], cells: float, rng: Rng) -> np.ndarray:
    """Noise (h, w) of about zero mean and unit deviation, smooth over 1/`cells` of the longer side."""
    longest = max(shape)
    height, width = (max(2, round(cells * side / longest)) + 3 for side in shape)
    grid = Image.fromarray(rng.standard_normal((height, width), dtype=np.float32))
    # Away from the edge, where interpolation has nothing to go on; bicubic interpolation shrinks deviations to 0.74.
    box = (1.0, 1.0, width - 1.0, height - 1.0)
    return np.asarray(grid.resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=box)) / np.float32(0.74)


def enlarged(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A small map (h, w) enlarged to `shape` smoothly."""
    image = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


class StrokeCanvas:
    """A grey picture (h, w) of smooth-edged tapering lines: polygons at three times the size, averaged down.

    Coordinates are in pixels of the result.
    """

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
