"""Generated fundus photographs in the five grades of diabetic retinopathy: a data set that can be shipped.

No photograph and no patient stands behind these pictures. Grades follow the International Clinical Diabetic Retinopathy
severity scale (Wilkinson et al. 2003, Ophthalmology 110:1677, doi 10.1016/S0161-6420(03)00475-5):
0 no lesion; 1 microaneurysms only; 2 more than microaneurysms, less than severe; 3 the 4-2-1 rule, here by its first
part (many haemorrhages in all four quadrants); 4 new vessels or preretinal haemorrhage. Colour, exposure and blur are
drawn apart from the grade, so that they tell nothing about it.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from lib.progress import Progress, ignore_progress

CLASS_FOLDERS = ("0_no_dr", "1_mild", "2_moderate", "3_severe", "4_proliferative")
CLASS_NAMES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
_DRAW_SCALE = 2  # vessels and new vessels are drawn at twice the size and reduced, which smooths their edges


@dataclass(frozen=True)
class _Eye:
    """Geometry of one photograph in units of its side: retina radius, disc and fovea centres; `side` is -1 or 1."""

    radius: float
    disc: np.ndarray
    fovea: np.ndarray
    side: int


@dataclass(frozen=True)
class _Vessel:
    """Where a vessel begins (pixels of the drawing), its direction (radians), width, and how it bends a step."""

    start: np.ndarray
    angle: float
    width: float
    bend: float = 0.0


def generate(
    folder: Path, *, per_class: int = 40, size_px: int = 256, seed: int = 0, progress: Progress = ignore_progress
) -> None:
    """Write `per_class` images a grade as JPEG below one sub-folder a grade, and `metadata.csv`.

    The table has the columns path, patient and laterality; two images (left and right eye) belong to a patient. The
    same arguments give the same pixels.
    """
    rows = []
    total = per_class * len(CLASS_FOLDERS)
    for grade, class_folder in enumerate(CLASS_FOLDERS):
        (folder / class_folder).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            patient, is_right = divmod(number, 2)
            path = f"{class_folder}/p{patient:04d}_{'right' if is_right else 'left'}.jpg"
            rng = np.random.default_rng([seed, grade, patient, is_right])
            picture = draw_fundus(grade, size_px=size_px, is_right=bool(is_right), rng=rng)
            quality = int(rng.integers(86, 96))
            Image.fromarray(picture).save(folder / path, quality=quality)
            rows.append((path, f"g{grade}p{patient:04d}", "right" if is_right else "left"))
            progress(len(rows), total, "drawing fundus photographs")
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(("path", "patient", "laterality"))
        writer.writerows(rows)


def draw_fundus(grade: int, *, size_px: int, is_right: bool, rng: np.random.Generator) -> np.ndarray:
    """Draw one photograph; returns uint8 (size_px, size_px, 3)."""
    side = 1 if is_right else -1
    tilt = rng.normal(0, 0.02, 2)
    disc = np.array([0.5 + side * rng.uniform(0.20, 0.25), 0.5 + rng.normal(0, 0.015)]) + tilt
    fovea = np.array([0.5 - side * rng.uniform(0.03, 0.07), 0.52 + rng.normal(0, 0.015)]) + tilt
    eye = _Eye(radius=rng.uniform(0.455, 0.485), disc=disc, fovea=fovea, side=side)

    colour = _background(eye, size_px, rng)
    colour = _blend(colour, _vessels(eye, size_px, rng, is_vein=False), np.array([0.56, 0.16, 0.07]), 0.55)
    colour = _blend(colour, _vessels(eye, size_px, rng, is_vein=True), np.array([0.36, 0.07, 0.05]), 0.75)
    colour = _add_lesions(colour, grade, eye, size_px, rng)
    return _photograph(colour, eye, size_px, rng)


def _distance(size_px: int, centre: np.ndarray, stretch: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    axis = ((np.arange(size_px) + 0.5) / size_px).astype(np.float32)
    x = (axis[None, :] - centre[0]) / stretch[0]
    y = (axis[:, None] - centre[1]) / stretch[1]
    return np.hypot(x, y)


def _noise(size_px: int, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of about unit variance with `cells` cells along the side."""
    grid = Image.fromarray(rng.normal(size=(cells + 2, cells + 2)).astype(np.float32))
    box = (1.0, 1.0, cells + 1.0, cells + 1.0)  # away from the edge, where interpolation has nothing to go on
    return np.asarray(grid.resize((size_px, size_px), Image.Resampling.BICUBIC, box=box))


def _background(eye: _Eye, size_px: int, rng: np.random.Generator) -> np.ndarray:
    base = np.array([0.72, 0.34, 0.15]) + rng.normal(0, 1, 3) * np.array([0.05, 0.035, 0.03])
    texture = 0.035 * _noise(size_px, 6, rng) + 0.02 * _noise(size_px, 22, rng) + 0.012 * _noise(size_px, 60, rng)
    colour = np.clip(base, 0.08, 0.95) * (1 + texture[..., None] * np.array([0.8, 1.2, 1.3]))
    fovea = np.exp(-((_distance(size_px, eye.fovea) / rng.uniform(0.06, 0.085)) ** 2))
    colour = (colour * (1 - fovea[..., None] * np.array([0.28, 0.42, 0.45]))).astype(np.float32)
    disc_radius = rng.uniform(0.058, 0.072)
    distance = _distance(size_px, eye.disc, (1.0, rng.uniform(1.02, 1.15)))
    disc = 1 / (1 + np.exp((distance - disc_radius) * 190))
    cup = 1 / (1 + np.exp((distance - disc_radius * rng.uniform(0.3, 0.55)) * 150))
    colour = _blend(colour, disc, np.array([0.96, 0.74, 0.42]), 0.85)
    return _blend(colour, cup, np.array([1.0, 0.90, 0.68]), 0.7)


def _blend(colour: np.ndarray, mask: np.ndarray, target: np.ndarray, strength: float) -> np.ndarray:
    share = np.clip(mask * strength, 0, 1).astype(np.float32)[..., None]
    return colour + (target.astype(np.float32) - colour) * share


def _vessels(eye: _Eye, size_px: int, rng: np.random.Generator, *, is_vein: bool) -> np.ndarray:
    side = size_px * _DRAW_SCALE
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    width = side * (0.0115 if is_vein else 0.0085) * rng.uniform(0.9, 1.1)
    for up in (-1, 1):
        # The temporal arcade leaves the disc steeply and bends round the fovea; the nasal branch runs outwards.
        temporal = np.arctan2(up * 1.0, -eye.side * rng.uniform(0.15, 0.45))
        _grow(pen, _Vessel(eye.disc * side, temporal, width, bend=up * eye.side), side, rng, depth=0)
        nasal = np.arctan2(up * 1.0, eye.side * rng.uniform(0.5, 1.3))
        _grow(pen, _Vessel(eye.disc * side, nasal, width * 0.7), side, rng, depth=1)
    mask = np.asarray(canvas.resize((size_px, size_px), Image.Resampling.BOX), dtype=np.float32) / 255
    return gaussian_filter(mask, size_px / 900)


def _grow(pen: ImageDraw.ImageDraw, vessel: _Vessel, side: int, rng: np.random.Generator, *, depth: int) -> None:
    """Draw a vessel that tapers, wanders and branches (a random walk in its direction)."""
    x, y = (float(value) for value in vessel.start)
    angle, width, step = vessel.angle, vessel.width, side * 0.011
    steps = int(rng.integers(38, 52) / (1 + 0.55 * depth))
    wander, chance = rng.normal(0, 0.08, steps), rng.random(steps)
    for number in range(steps):
        angle += wander[number] + vessel.bend * 0.036
        before = (x, y)
        x, y = x + step * math.cos(angle), y + step * math.sin(angle)
        pen.line([before, (x, y)], fill=255, width=max(1, round(width)))
        width *= 0.978
        if depth < 3 and number > 3 and chance[number] < 0.10:
            turn = rng.choice((-1, 1)) * rng.uniform(0.45, 0.95)
            branch = _Vessel(np.array((x, y)), angle + turn, width * rng.uniform(0.55, 0.75))
            _grow(pen, branch, side, rng, depth=depth + 1)
        if math.hypot(x / side - 0.5, y / side - 0.5) > 0.52 or width < 0.7:
            return


def _places(count: int, eye: _Eye, rng: np.random.Generator, *, quadrants: int = 4) -> list[np.ndarray]:
    """Positions on the retina outside the disc, spread over that many quadrants round the fovea."""
    first = int(rng.integers(4))
    found: list[np.ndarray] = []
    while len(found) < count:
        quadrant = (first + len(found) % quadrants) % 4
        angle = (quadrant + rng.uniform(0.04, 0.96)) * np.pi / 2
        place = 0.5 + rng.uniform(0.10, eye.radius * 0.88) * np.array([np.cos(angle), np.sin(angle)])
        if np.hypot(*(place - eye.disc)) > 0.10:
            found.append(place)
    return found


def _spots(
    places: list[np.ndarray], radii: np.ndarray, size_px: int, rng: np.random.Generator, *, softness: float = 0.25
) -> np.ndarray:
    """A mask of roundish blots; `radii` in pixels, one a place."""
    mask = np.zeros((size_px, size_px), dtype=np.float32)
    for place, radius in zip(places, radii, strict=True):
        reach = int(np.ceil(radius * 3 + 2))
        x, y = (place * size_px).astype(int)
        left, top = max(0, x - reach), max(0, y - reach)
        right, bottom = min(size_px, x + reach + 1), min(size_px, y + reach + 1)
        across = np.arange(left, right)[None, :] + 0.5 - place[0] * size_px
        down = np.arange(top, bottom)[:, None] + 0.5 - place[1] * size_px
        turn, squeeze = rng.uniform(0, np.pi), rng.uniform(0.75, 1.0)
        along = across * np.cos(turn) + down * np.sin(turn)
        beside = (-across * np.sin(turn) + down * np.cos(turn)) / squeeze
        spot = 1 / (1 + np.exp((np.hypot(along, beside) - radius) / (softness * radius + 0.15)))
        mask[top:bottom, left:right] = np.maximum(mask[top:bottom, left:right], spot)
    return mask


def _add_lesions(colour: np.ndarray, grade: int, eye: _Eye, size_px: int, rng: np.random.Generator) -> np.ndarray:
    unit = size_px / 256  # one unit is about 50 micrometres on the retina
    dark_red, red = np.array([0.30, 0.04, 0.03]), np.array([0.46, 0.07, 0.05])
    if grade >= 1:
        count = int(rng.integers(4, 11) if grade == 1 else rng.integers(8, 24))
        mask = _spots(_places(count, eye, rng), rng.uniform(0.9, 1.5, count) * unit, size_px, rng)
        colour = _blend(colour, mask, red, 0.9)
    if grade >= 2:
        severe = grade == 3 or (grade == 4 and rng.random() < 0.4)
        count = int(rng.integers(84, 130) if severe else rng.integers(3, 16))
        places = _places(count, eye, rng, quadrants=4 if severe else int(rng.integers(1, 4)))
        colour = _blend(colour, _spots(places, rng.uniform(1.2, 3.8, count) * unit, size_px, rng), dark_red, 0.85)
        colour = _add_exudates(colour, eye, size_px, rng)
    if grade == 4:
        colour = _add_proliferation(colour, eye, size_px, rng)
    return colour


def _add_exudates(colour: np.ndarray, eye: _Eye, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """Hard exudates in clusters (yellow, sharp) and cotton-wool spots (pale, soft)."""
    unit = size_px / 256
    for centre in _places(int(rng.integers(0, 4)), eye, rng):
        count = int(rng.integers(4, 14))
        places = [centre + rng.normal(0, 0.022, 2) for _ in range(count)]
        mask = _spots(places, rng.uniform(0.6, 1.9, count) * unit, size_px, rng, softness=0.12)
        colour = _blend(colour, mask, np.array([0.98, 0.86, 0.46]), 0.85)
    count = int(rng.integers(0, 4))
    mask = _spots(_places(count, eye, rng), rng.uniform(3.5, 6.5, count) * unit, size_px, rng, softness=0.5)
    return _blend(colour, mask, np.array([0.95, 0.82, 0.62]), 0.65)


def _add_proliferation(colour: np.ndarray, eye: _Eye, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """New vessels at the disc or elsewhere (a fine tangle), and sometimes a preretinal haemorrhage with a level."""
    side = size_px * _DRAW_SCALE
    canvas = Image.new("L", (side, side))
    pen = ImageDraw.Draw(canvas)
    centres = _places(int(rng.integers(1, 3)), eye, rng) + ([eye.disc] if rng.random() < 0.6 else [])
    for centre in centres:
        for _ in range(int(rng.integers(14, 26))):
            position, angle = centre * side + rng.normal(0, side * 0.006, 2), rng.uniform(0, 2 * np.pi)
            for _ in range(int(rng.integers(8, 18))):
                angle += rng.normal(0, 0.75)
                following = position + side * 0.007 * np.array([np.cos(angle), np.sin(angle)])
                pen.line([*position, *following], fill=235, width=2)
                position = following
    mask = np.asarray(canvas.resize((size_px, size_px), Image.Resampling.BOX), dtype=np.float32) / 255
    colour = _blend(colour, mask, np.array([0.50, 0.05, 0.05]), 0.9)
    if rng.random() < 0.5:
        centre = _places(1, eye, rng)[0]
        pool = _distance(size_px, centre, (1.0, 0.75)) < rng.uniform(0.05, 0.11)
        level = (np.arange(size_px)[:, None] + 0.5) / size_px > centre[1]  # blood settles below a horizontal line
        colour = _blend(
            colour, gaussian_filter((pool & level).astype(np.float32), 0.8), np.array([0.28, 0.03, 0.03]), 0.92
        )
    return colour


def _photograph(colour: np.ndarray, eye: _Eye, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """What the camera adds: light falling off, exposure, cast, blur, noise and the round mask."""
    light_centre = 0.5 + rng.normal(0, 0.06, 2)
    light = 1.06 - rng.uniform(0.25, 0.6) * (_distance(size_px, light_centre) / 0.5) ** 2
    cast = 1 + rng.normal(0, 1, 3) * np.array([0.04, 0.05, 0.07])
    gain = (cast * rng.uniform(0.78, 1.15)).astype(np.float32)
    colour = colour * np.clip(light, 0.2, 1.3).astype(np.float32)[..., None] * gain
    blur = rng.uniform(0.0, 0.9) * size_px / 256
    colour = gaussian_filter(colour, (blur, blur, 0))
    colour = colour + rng.uniform(0.004, 0.014) * rng.standard_normal(colour.shape, dtype=np.float32)
    inside = 1 / (1 + np.exp((_distance(size_px, np.array([0.5, 0.5])) - eye.radius) * size_px * 1.2))
    return np.asarray(np.clip(colour * inside[..., None], 0, 1) * 255).round().astype(np.uint8)
