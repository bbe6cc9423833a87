"""What all generated images are drawn with: coordinates, colours, noise, outlines, masks, light.

Images are float32 (S, S, 3) from 0 to 1, fields and masks float32 (S, S), points (K, 2) from -1 to 1; every random
number comes from the generator that is handed in.
"""

import colorsys
import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

_SMOOTH_EDGES = 2  # polygons and lines are drawn at this many times the size and reduced
_CORNERS = 48


@lru_cache(maxsize=8)
def unit_grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates x and y of the pixel centres, each (S, S)."""
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
    rows = []
    for level in lightness:
        own_hue, own_saturation = (hue + rng.normal(0, spread)) % 1, saturation + rng.normal(0, 0.1)
        rows.append(colorsys.hls_to_rgb(own_hue, level, float(np.clip(own_saturation, 0, 1))))
    return np.array(rows, dtype=np.float32)


def class_colours(kind: np.random.Generator, rng: np.random.Generator, count: int) -> np.ndarray:
    """Colours (count, 3) that the class fixes in hue, saturation and lightness; the image varies them a little."""
    hue, rows = kind.random(), []
    for _ in range(count):
        hue = (hue + kind.choice([0.0, 0.06, 0.15, 0.5])) % 1
        lightness, saturation = kind.uniform(0.06, 0.9), kind.beta(1.2, 1.1)
        varied = (hue + rng.normal(0, 0.02)) % 1, lightness + rng.normal(0, 0.05), saturation + rng.normal(0, 0.07)
        rows.append(
            colorsys.hls_to_rgb(varied[0], float(np.clip(varied[1], 0.02, 0.97)), float(np.clip(varied[2], 0, 1)))
        )
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


def standardised(colour: np.ndarray) -> np.ndarray:
    """An image (S, S, 3), or its pixels (S * S, 3), with mean 0 and deviation 1 in each channel."""
    axes = tuple(range(colour.ndim - 1))
    return (colour - colour.mean(axes)) / (colour.std(axes) + 1e-4)


def smooth_noise(side: int, cells: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of about unit variance with that many cells along the side."""
    count = max(2, math.ceil(cells))
    grid = Image.fromarray(rng.normal(size=(count + 3, count + 3)).astype(np.float32))
    end = min(cells, count) + 1.0
    return np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC, box=(1.0, 1.0, end, end)))


def spectral_noise(
    side: int, rng: np.random.Generator, *, slope: float, stretch: float = 1.0, angle: float = 0.0, lowest: float = 1.0
) -> np.ndarray:
    """Noise whose amplitude falls with frequency to the power `slope`; `stretch` above 1 makes it run along `angle`.

    Amplitude 1/f (slope 1) is that of natural photographs (Field 1987, doi 10.1364/JOSAA.4.002379). Normalised 0 to 1.
    """
    fy, fx = np.fft.fftfreq(side)[:, None] * side, np.fft.rfftfreq(side)[None, :] * side
    fx, fy = fx.astype(np.float32), fy.astype(np.float32)
    along, across = fx * math.cos(angle) + fy * math.sin(angle), -fx * math.sin(angle) + fy * math.cos(angle)
    radius = np.hypot(along * stretch, across / stretch)
    amplitude = np.maximum(radius, lowest) ** -slope
    amplitude[0, 0] = 0
    phases = np.exp(2j * np.pi * rng.random(amplitude.shape, dtype=np.float32))
    return normalised(np.fft.irfft2(amplitude * phases, s=(side, side)))


def circle(corners: int) -> np.ndarray:
    """Points (K, 2) on the unit circle."""
    angle = np.arange(corners) * 2 * math.pi / corners
    return np.stack([np.cos(angle), np.sin(angle)], -1)


def axes(angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The unit vectors along an angle and across it."""
    axis = np.array([math.cos(angle), math.sin(angle)])
    return axis, np.array([-axis[1], axis[0]])


def turned(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points (K, 2) rotated at random."""
    return points @ np.array(axes(rng.uniform(-math.pi, math.pi)))


def outline(form: int, *, kind_seed: int, rng: np.random.Generator) -> np.ndarray:
    """A closed curve (K, 2) of radius about 1, turned at random: discs, ellipses, polygons, stars, petals, blobs.

    `form` (0 to 7) chooses the family; `kind_seed` fixes its parameters, such as the number of corners.
    """
    kind = np.random.default_rng([901, kind_seed])
    angle = np.arange(_CORNERS) * 2 * math.pi / _CORNERS
    radius = np.ones(_CORNERS)
    lobes, depth = int(kind.integers(3, 9)), kind.uniform(0.2, 0.55)
    if form == 2:
        return turned(circle(int(kind.integers(3, 7))), rng)
    if form == 3:  # a star
        return turned(circle(2 * lobes) * np.tile([1.0, 1 - depth], lobes)[:, None], rng)
    if form == 4:
        radius = 1 + depth * np.cos(lobes * angle)
    elif form == 5:
        radius = _superformula(angle, kind)
    elif form in (6, 7):
        radius = _blob(angle, kind if form == 6 else rng)
    points = circle(_CORNERS) * radius[:, None]
    if form == 1:
        points[:, 1] *= kind.uniform(0.25, 0.6)
    return turned(points / max(1.0, np.abs(radius).max()), rng)


def _superformula(angle: np.ndarray, kind: np.random.Generator) -> np.ndarray:
    """Gielis' curve: leaves, flowers, shells (doi 10.3732/ajb.90.3.333)."""
    corners, n1 = int(kind.integers(2, 9)), kind.uniform(0.4, 3)
    n2, n3 = kind.uniform(0.5, 4, 2)
    terms = np.abs(np.cos(corners * angle / 4)) ** n2 + np.abs(np.sin(corners * angle / 4)) ** n3
    radius = np.maximum(terms, 1e-3) ** (-1 / n1)
    return radius / radius.max()


def _blob(angle: np.ndarray, kind: np.random.Generator) -> np.ndarray:
    """A smooth irregular curve: a few random harmonics."""
    radius = np.ones_like(angle)
    for harmonic in range(2, 6):
        radius = radius + kind.normal(0, 0.42 / harmonic) * np.cos(harmonic * angle + kind.uniform(0, 6.28))
    return np.maximum(radius, 0.2)


def polygon_mask(side: int, points: np.ndarray) -> np.ndarray:
    """The inside of a polygon with corners (K, 2)."""
    scale = side * _SMOOTH_EDGES
    canvas = Image.new("L", (scale, scale))
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in ((points + 1) / 2 * scale).tolist()], fill=255)
    return np.asarray(canvas.reduce(_SMOOTH_EDGES), dtype=np.float32) / 255


def ellipse_mask(side: int, centre: np.ndarray, size: float, aspect: float, angle: float) -> np.ndarray:
    """The inside of an ellipse that reaches 0.7 `size` along an angle and `aspect` times that across."""
    return polygon_mask(side, circle(24) * (1, aspect) * size * 0.7 @ np.array(axes(angle)) + centre)


def lines_mask(side: int, lines: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """Polylines (points (K, 2), width as a share of the side)."""
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


def blend_lit(
    image: np.ndarray, over: np.ndarray, mask: np.ndarray, rng: np.random.Generator,
    *, light: float, shade: float = 1.0, softness: float = 0.04,
) -> np.ndarray:  # fmt: skip
    """`over`, times `shade`, as a rounded body that is lit from a random side."""
    lit = shade * (1 + light * relief(mask, rng, softness=softness))
    return blend(image, np.clip(over * lit[..., None], 0, 1), mask)


def relief(mask: np.ndarray, rng: np.random.Generator, *, softness: float = 0.04) -> np.ndarray:
    """Light and shade (S, S), about 0, on a mask taken as a rounded body lit from a random side."""
    height = gaussian_filter(mask, softness * len(mask))
    down, across = np.gradient(height)
    angle = rng.uniform(0, 2 * math.pi)
    lit = (across * math.cos(angle) + down * math.sin(angle)) * softness * len(mask) * 2.2
    return np.clip(lit, -1, 1).astype(np.float32) * mask


def photographed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, contrast, colour cast, uneven light, blur and grain; returns uint8 (S, S, 3)."""
    if rng.random() < 0.4:
        x, y = unit_grid(len(image))
        angle = rng.uniform(0, 2 * math.pi)
        image = image * (1 + rng.uniform(0.1, 0.5) * (x * math.cos(angle) + y * math.sin(angle)))[..., None]
    if rng.random() < 0.3:
        image = gaussian_filter(image, (sigma := rng.uniform(0.4, 1.2), sigma, 0))
    contrast, centre = rng.uniform(0.6, 1.25), rng.uniform(0.35, 0.6)
    image = (np.clip(image, 0, 1) - 0.5) * contrast + centre
    image = np.clip(image * (1 + rng.normal(0, 0.06, 3).astype(np.float32)), 0, 1) ** rng.uniform(0.75, 1.35)
    if rng.random() < 0.5:
        image = image + rng.normal(0, rng.uniform(0.005, 0.05), image.shape).astype(np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
