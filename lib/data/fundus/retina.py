"""The retina without vessels and lesions: choroid, pigment, macula, nerve fibres, optic disc, fall of the light.

Everything is relative reflectance (3, h, w): 1 is the field's mean in each of red, green and blue; the camera gives it
its colour. Soft things are drawn at a quarter of the size.
"""

import math

import numpy as np
from scipy.ndimage import map_coordinates

from lib.data.fundus.anatomy import Eye
from lib.data.fundus.camera import Camera
from lib.data.fundus.random_streams import enlarged, smooth_noise

# Mean profile of fundus photographs from the centre to the rim by tenths of the radius (red, green, blue), without the
# dip of the macula; the rim's blue comes from light scattered in the eye's lens.
_RADII = np.linspace(0.05, 1.05, 11)
_FALL = (
    (1.13, 1.13, 1.135, 1.137, 1.125, 1.085, 1.02, 0.945, 0.875, 0.81, 0.74),
    (1.14, 1.14, 1.135, 1.13, 1.11, 1.065, 1.0, 0.94, 0.895, 0.875, 0.85),
    (1.12, 1.10, 1.08, 1.075, 1.07, 1.045, 1.0, 0.96, 0.94, 0.96, 0.97),
)


def paint_retina(camera: Camera, eye: Eye, shared: np.random.Generator, own: np.random.Generator) -> np.ndarray:
    """Relative reflectance (3, h, w) of the whole frame; `shared` draws what both eyes have in common."""
    shape = camera.shape
    small = (max(8, shape[0] // 4), max(8, shape[1] // 4))
    soft = _soft_layers(camera, eye, small, shared, own)
    planes = np.stack([enlarged(plane, shape) for plane in soft])
    half = (max(8, shape[0] // 2), max(8, shape[1] // 2))
    detail = enlarged(_detail(camera, eye, half, shared, own), shape)
    for plane, weight in zip(planes, (0.6, 1.0, 0.9), strict=True):
        plane *= 1 + weight * detail
    paint_disc(planes, camera, eye, shared)
    return planes


def _soft_layers(
    camera: Camera, eye: Eye, shape: tuple[int, int], shared: np.random.Generator, own: np.random.Generator
) -> np.ndarray:
    x, y = camera.grid(shape)
    light_x, light_y = own.normal(0, 0.09, 2)
    distance = np.hypot(x - light_x, y - light_y)
    tilt_angle, tilt = own.uniform(0, 2 * np.pi), abs(own.normal(0, 0.19))
    gradient = 1 + tilt * (x * math.cos(tilt_angle) + y * math.sin(tilt_angle))
    vignette = own.uniform(0.9, 2.0)  # how strongly this camera shows the mean profile
    clouds = sum(amplitude * smooth_noise(shape, cells, own) for cells, amplitude in ((2, 0.06), (5, 0.035), (13, 0.018)))
    pigment = smooth_noise(shape, 5, shared) * 0.03
    macula = _macula(x, y, eye, shared)
    planes = []
    for fall, mottled, depth in zip(_FALL, (1.1, 1.0, 1.25), (0.42, 1.0, 0.75), strict=True):
        profile = np.interp(distance, _RADII, 1 + vignette * (np.array(fall) - 1)).astype(np.float32)
        planes.append(profile * gradient * (1 + mottled * (clouds + pigment)) * (1 - depth * macula))
    return np.stack(planes).astype(np.float32)


def _macula(x: np.ndarray, y: np.ndarray, eye: Eye, rng: np.random.Generator) -> np.ndarray:
    """Share of green light that macular pigment and the deeper epithelium take away (h, w)."""
    distance = np.hypot(x - eye.fovea[0], y - eye.fovea[1])
    wide = rng.uniform(0.05, 0.17) * np.exp(-((distance / (1.35 * eye.macula_radius)) ** 2))
    core = rng.uniform(0.12, 0.28) * np.exp(-((distance / (0.45 * eye.macula_radius)) ** 2))
    reflex = rng.uniform(0, 0.12) * np.exp(-((distance / 0.022) ** 2)) * (rng.random() < 0.4)
    return wide + core - reflex


def _detail(
    camera: Camera, eye: Eye, shape: tuple[int, int], shared: np.random.Generator, own: np.random.Generator
) -> np.ndarray:
    """Choroidal vessels, grain of the pigment epithelium and nerve-fibre sheen as one relative change (h, w)."""
    tessellation = shared.uniform(0, 1) ** 2 * 0.075  # strong in lightly pigmented eyes
    warp = 0.6 * smooth_noise(shape, 9, own)
    ridges = np.abs(smooth_noise(shape, 15, own) + warp)
    choroid = tessellation * (1 - 1.6 * np.minimum(ridges, 1.2))
    grain = own.uniform(0.006, 0.018)
    fine = grain * (smooth_noise(shape, 34, own) + 0.8 * smooth_noise(shape, 75, own))
    return choroid + fine + _nerve_fibres(camera, eye, shape, shared)


def _nerve_fibres(camera: Camera, eye: Eye, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Fine bright streaks that leave the disc along the arcades, strongest near it and absent at the macula."""
    x, y = camera.grid(shape)
    temporal, upward = -(x - eye.disc[0]) * eye.nasal, -(y - eye.disc[1])
    distance = np.hypot(temporal, upward)
    # The streaks bend with the arcades: the further from the disc, the more they turn towards the temple.
    angle = np.arctan2(np.abs(upward), temporal) + 0.35 * np.minimum(distance, 1.2) * (temporal > -0.2)
    cells = np.stack([angle * (60 / np.pi) + 80 * (upward < 0), distance * 5 + np.zeros_like(angle)])
    noise = rng.standard_normal((170, 16), dtype=np.float32)
    streaks = map_coordinates(noise, cells, order=1, mode="wrap")
    sheen = rng.uniform(0.2, 1.0)
    strength = np.exp(-(((distance - 0.22) / 0.33) ** 2)) * np.sin(np.clip(angle, 0, np.pi)) ** 2
    return np.asarray(sheen * strength * (0.09 + 0.05 * streaks), dtype=np.float32)


def paint_disc(planes: np.ndarray, camera: Camera, eye: Eye, rng: np.random.Generator) -> None:
    """Brighten the optic disc with its paler cup, and the crescent beside it, in place."""
    x, y = camera.grid()
    reach = 2.0 * eye.disc_radius
    columns = np.flatnonzero(np.abs(x[0] - eye.disc[0]) < reach)
    rows = np.flatnonzero(np.abs(y[:, 0] - eye.disc[1]) < reach)
    draws = rng.uniform(size=12)
    if not len(columns) or not len(rows):
        return
    window = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    dx = (x[:, window[2]] - eye.disc[0]) * (-eye.nasal) / eye.disc_radius  # towards the temple
    dy = (y[window[1]] - eye.disc[1]) / eye.disc_radius
    angle = np.arctan2(dy, dx)
    outline = 1 + 0.03 * np.sin(2 * angle + 6 * draws[0]) + 0.02 * np.sin(3 * angle + 6 * draws[1])
    distance = np.hypot(dx * (1.02 + 0.1 * draws[2]), dy) / outline
    edge = 9 + 11 * draws[3]
    disc = 1 / (1 + np.exp((distance - 1) * edge * 1.6))
    cup_distance = np.hypot(dx - 0.12, dy * 0.95)
    cup = 1 / (1 + np.exp((cup_distance - eye.cup_share * 1.05) * (7 + 8 * draws[4])))
    halo = (0.05 + 0.14 * draws[5]) * np.exp(-(((distance - 1.05) / 0.28) ** 2))
    crescent = (draws[6] < 0.35) * 0.45 * draws[7] * np.exp(-(((distance - 1.1) / 0.13) ** 2)) * np.clip(dx, 0, 1)
    pale = 0.06 * np.clip(dx, -1, 1)  # the temporal rim has fewer fibres and is paler
    glow = 0.62 + 0.33 * draws[8]
    red_gain, green_gain, blue_gain = 0.46 * glow, (0.62 + 0.25 * draws[9]) * glow, (0.55 + 0.45 * draws[10]) * glow
    for plane, rim_gain, cup_gain, ring in (
        (planes[0], red_gain, 0.22, 0.5),
        (planes[1], green_gain, 0.55, 1.0),
        (planes[2], blue_gain, 0.80, 1.0),
    ):
        lifted = disc * (rim_gain * (1 + pale) + glow * cup_gain * cup) + ring * (halo + crescent) * (1 - disc)
        inside = plane[window[1:]]
        # The disc hides the texture below it.
        flat = 0.75 * disc
        inside *= 1 - flat
        inside += flat
        inside *= 1 + lifted
