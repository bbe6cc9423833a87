"""What all generated images are made of: coordinates, colours, noise, masks, light.

Images are float32 (S, S, 3) from 0 to 1, fields and masks float32 (S, S); every random number comes from the generator
that is handed in.
"""

import colorsys
import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

_SMOOTH_EDGES = 2  # polygons and lines are drawn at this many times the size and reduced


@lru_cache(maxsize=8)
def unit_grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x and y of the pixel centres, each (S, S), from -1 to 1."""
    axis = ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    x.setflags(write=False)
    y.setflags(write=False)
    return x, y


def posed_grid(
    side: int, rng: np.random.Generator, *, turn: float = math.pi, zoom: float = 1.6, shift: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """The grid seen from somewhere else: turned by at most `turn` radians, zoomed up to that factor, shifted."""
    x, y = unit_grid(side)
    angle, scale = rng.uniform(-turn, turn), zoom ** rng.uniform(-1, 1)
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    dx, dy = rng.uniform(-shift, shift, 2)
    return (cos * x - sin * y + dx).astype(np.float32), (sin * x + cos * y + dy).astype(np.float32)


def palette(rng: np.random.Generator, count: int = 3) -> np.ndarray:
    """Colours (count, 3) that belong together: hues round one or two centres, lightness well apart."""
    hue, spread = rng.random(), rng.choice([0.03, 0.1, 0.5])
    lightness = np.clip(np.linspace(rng.uniform(0.05, 0.35), rng.uniform(0.6, 0.97), count), 0, 1)
    rng.shuffle(lightness)
    saturation = rng.beta(1.3, 1.6)
    rows = [
        colorsys.hls_to_rgb(
            (hue + rng.normal(0, spread)) % 1, level, float(np.clip(saturation + rng.normal(0, 0.1), 0, 1))
        )
        for level in lightness
    ]
    return np.array(rows, dtype=np.float32)


def colourise(field: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """A field from 0 to 1 as an image: colours (K, 3) at equal steps, blended between."""
    position = np.clip(field, 0, 1) * (len(colours) - 1)
    below = np.minimum(position.astype(np.int32), len(colours) - 2)
    share = (position - below)[..., None].astype(np.float32)
    return colours[below] * (1 - share) + colours[below + 1] * share


def normalised(field: np.ndarray) -> np.ndarray:
    """Stretch a field to 0 to 1 between its 1st and 99th percentile."""
    low, high = np.quantile(field[::3, ::3], (0.01, 0.99))
    return np.clip((field - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def smooth_noise(side: int, cells: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of about unit variance with that many cells along the side."""
    count = max(2, math.ceil(cells))
    grid = Image.fromarray(rng.normal(size=(count + 3, count + 3)).astype(np.float32))
    box = (1.0, 1.0, cells + 1.0, cells + 1.0) if cells <= count else (1.0, 1.0, count + 1.0, count + 1.0)
    return np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC, box=box))


@lru_cache(maxsize=8)
def _frequencies(side: int) -> tuple[np.ndarray, np.ndarray]:
    fy, fx = np.fft.fftfreq(side)[:, None] * side, np.fft.rfftfreq(side)[None, :] * side
    return fx.astype(np.float32), fy.astype(np.float32)


def spectral_noise(
    side: int, rng: np.random.Generator, *, slope: float, stretch: float = 1.0, angle: float = 0.0, lowest: float = 1.0
) -> np.ndarray:
    """Noise whose amplitude falls with frequency to the power `slope`; `stretch` above 1 makes it run along `angle`.

    Amplitude 1/f (slope 1) is that of natural photographs (Field 1987, doi 10.1364/JOSAA.4.002379). Normalised 0 to 1.
    """
    fx, fy = _frequencies(side)
    along, across = fx * math.cos(angle) + fy * math.sin(angle), -fx * math.sin(angle) + fy * math.cos(angle)
    radius = np.hypot(along * stretch, across / stretch)
    amplitude = np.maximum(radius, lowest) ** -slope
    amplitude[0, 0] = 0
    phases = np.exp(2j * np.pi * rng.random(amplitude.shape, dtype=np.float32))
    return normalised(np.fft.irfft2(amplitude * phases, s=(side, side)))


def polygon_mask(side: int, points: np.ndarray) -> np.ndarray:
    """The inside of a polygon with corners (K, 2) in -1..1."""
    scale = side * _SMOOTH_EDGES
    canvas = Image.new("L", (scale, scale))
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in ((points + 1) / 2 * scale).tolist()], fill=255)
    return np.asarray(canvas.reduce(_SMOOTH_EDGES), dtype=np.float32) / 255


def lines_mask(side: int, lines: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """Polylines (points (K, 2) in -1..1, width as a share of the side)."""
    scale = side * _SMOOTH_EDGES
    canvas = Image.new("L", (scale, scale))
    pen = ImageDraw.Draw(canvas)
    for points, width in lines:
        corners = [tuple(p) for p in ((points + 1) / 2 * scale).tolist()]
        pen.line(corners, fill=255, width=max(1, round(width * scale)), joint="curve")
    return np.asarray(canvas.reduce(_SMOOTH_EDGES), dtype=np.float32) / 255


def blend(image: np.ndarray, over: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`over` (an image or a colour) where the mask is 1."""
    share = mask[..., None]
    return image * (1 - share) + over * share


def relief(mask: np.ndarray, rng: np.random.Generator, *, softness: float = 0.04) -> np.ndarray:
    """Light and shade (S, S), about 0, on a mask taken as a rounded body lit from a random side."""
    height = gaussian_filter(mask, softness * len(mask))
    down, across = np.gradient(height)
    angle = rng.uniform(0, 2 * math.pi)
    lit = (across * math.cos(angle) + down * math.sin(angle)) * softness * len(mask) * 2.2
    return np.clip(lit, -1, 1).astype(np.float32) * mask


def photographed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, contrast, colour cast, uneven light, blur and grain; returns uint8 (S, S, 3)."""
    side = len(image)
    if rng.random() < 0.4:
        x, y = unit_grid(side)
        angle = rng.uniform(0, 2 * math.pi)
        image = image * (1 + rng.uniform(0.1, 0.5) * (x * math.cos(angle) + y * math.sin(angle)))[..., None]
    if rng.random() < 0.3:
        sigma = rng.uniform(0.4, 1.2)
        image = gaussian_filter(image, (sigma, sigma, 0))
    contrast, centre = rng.uniform(0.6, 1.25), rng.uniform(0.35, 0.6)
    image = (np.clip(image, 0, 1) - 0.5) * contrast + centre
    image = np.clip(image * (1 + rng.normal(0, 0.06, 3).astype(np.float32)), 0, 1) ** rng.uniform(0.75, 1.35)
    if rng.random() < 0.5:
        image = image + rng.normal(0, rng.uniform(0.005, 0.05), image.shape).astype(np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
