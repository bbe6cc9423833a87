"""The retina without vessels and lesions: fall of the light, pigment, macula, choroid, nerve fibres, optic disc.

Everything is relative reflectance (3, h, w): 1 is the field's mean in each of red, green and blue; the camera gives it
its colour. Soft things are drawn at a quarter of the size, texture at half.
"""

import math

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from lib.data.fundus.drawing import Rng, StrokeCanvas, enlarged, smooth_noise
from lib.data.fundus.geometry import Camera, Eye

# By how much the rim and, beyond that, the cup are brighter than the retina, in red, green and blue, lowest and highest
# (scikit-image's photograph: 0.35 and 0.65 in green, 0.25 and 0.75 in blue, its red at its limit).
_RIM = ((0.28, 0.60), (0.52, 1.08), (0.38, 1.02))
_CUP = ((0.05, 0.22), (0.35, 0.90), (0.50, 1.30))
_EDGE = (14.0, 34.0)  # steepness of the disc's edge, per disc radius
_CUP_EDGE = (6.0, 16.0)
_HIDES = 0.8  # share of the texture below that the disc hides
_SHARE_WITH_CRESCENT, _SHARE_WITH_PIGMENT = 0.35, 0.22  # beside the temporal edge: bare sclera, heaped pigment
# Mean profile of fundus photographs from the centre to the rim by tenths of the radius (red, green, blue), without the
# dip of the macula; the rim's blue comes from light scattered in the eye's lens.
_RADII = np.linspace(0.05, 1.05, 11)
_FALL = (
    (1.13, 1.13, 1.135, 1.137, 1.125, 1.085, 1.02, 0.945, 0.875, 0.81, 0.74),
    (1.14, 1.14, 1.135, 1.13, 1.11, 1.065, 1.0, 0.94, 0.895, 0.875, 0.85),
    (1.12, 1.10, 1.08, 1.075, 1.07, 1.045, 1.0, 0.96, 0.94, 0.96, 0.97),
)
_VIGNETTE = (0.0, 2.3)  # how strongly a camera shows the mean profile
_TILT = 0.22  # deviation of the light's gradient: a pupil that is not centred
_SHARE_WITH_SHADOW = 0.15  # of photographs, through a narrow pupil
# Uneven light and pigment: cells over the field, amplitude; set so that local contrast is that of photographs.
_CLOUDS = ((2, 0.06), (5, 0.03), (12, 0.018))
# Contrast of the choroid's pattern in the eldest, what youth takes of it, and the power by which draws crowd at none.
_TESSELLATION_STRENGTH = (0.09, 0.05, 2.2)
_GRAIN = (0.0062, 0.0165)  # contrast of the pigment epithelium at 34 and 90 cells over the field
# How strongly the macula darkens red, green and blue, in the proportion of its yellow pigment, which absorbs blue, and
# of the taller epithelium below it, which absorbs all (measured on scikit-image's photograph: 0.17, 0.50, 0.65 at the
# foveola).
_MACULA = (0.48, 1.2, 1.38)
_MACULA_UNEVEN = (0.05, 0.35)  # deviation of its radius
_TESSELLATION = (0.55, 1.0, 0.75)  # how much of the choroid's pattern each channel shows
_CHOROIDAL_WIDTH = (0.016, 0.040)  # 100 to 260 um: the large vessels of Haller's layer
_DRUSEN = (0.5, 1.0, 0.55)  # pale yellow
# Of the eldest eyes, and how many: most show a few hard drusen below 63 um, some many, a few of them soft ones of twice
# that (Klein et al., the Beaver Dam Eye Study, Ophthalmology 1992; 99:933). They tell nothing of the grade.
_SHARE_WITH_DRUSEN, _NUM_DRUSEN, _DRUSEN_WIDTH = 0.5, (4, 60, 2.5), (0.007, 0.022)
_CHOROID_SOFTNESS = 0.014  # seen through the pigment epithelium
_SHEEN = (0.45, 1.0, 1.05)  # nerve fibres and reflexes are white, on a red ground


def paint_disc(planes: np.ndarray, camera: Camera, eye: Eye, rng: Rng) -> None:
    """Brighten the optic disc with its paler cup, and draw the crescent beside it, in place on (3, h, w)."""
    x, y = camera.grid()
    window, draws = camera.window(eye.disc, 2.0 * eye.disc_radius), rng.uniform(size=16)
    if window is None:
        return
    dx = (x[:, window[1]] - eye.disc[0]) * (-eye.nasal) / eye.disc_radius  # towards the temple
    dy = (y[window[0]] - eye.disc[1]) / eye.disc_radius
    angle = np.arctan2(dy, dx)
    outline = 1 + 0.03 * np.sin(2 * angle + 6 * draws[0]) + 0.02 * np.sin(3 * angle + 6 * draws[1])
    # The disc is higher than wide (1.92 by 1.76 mm, Jonas et al., Invest Ophthalmol Vis Sci 1988; 29:1151).
    distance = np.hypot(dx * (1.03 + 0.08 * draws[2]), dy) / outline
    # The nasal edge is blurred by the fibres that cross it.
    edge = _between(_EDGE, draws[3]) * (1 - 0.35 * np.clip(-dx, 0, 1))
    disc = _inside(distance - 1, edge)
    cup_distance = np.hypot(dx - 0.06 - 0.14 * draws[4], dy * (1.0 - 0.1 * draws[5]))
    cup = _inside(cup_distance - eye.cup_share * 1.05, _between(_CUP_EDGE, draws[6]))
    # The rim is thick and red where fibres crowd (below, above), thin and pale at the temple.
    rim_tone = 1 + 0.14 * np.clip(dx, -1, 1) - 0.10 * np.abs(np.sin(angle)) * np.clip(distance, 0, 1)
    around = _around(distance, angle, dx, draws)
    for plane, rim, cup_range, shown in zip(planes, _RIM, _CUP, (0.5, 1.0, 1.0), strict=True):
        rim_gain, cup_gain = _between(rim, draws[7]), _between(cup_range, 0.5 * draws[7] + 0.5 * draws[8])
        inside = plane[window]
        inside *= 1 - _HIDES * disc
        inside += _HIDES * disc
        inside *= 1 + disc * (rim_gain * rim_tone + cup_gain * cup) + shown * around * (1 - disc)


def _around(distance: np.ndarray, angle: np.ndarray, dx: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Relative change outside the edge: a faint halo, a crescent of sclera and one of pigment at the temple."""
    temple = np.clip(dx, 0, 1)
    halo = (0.02 + 0.10 * draws[9]) * np.exp(-(((distance - 1.05) / 0.22) ** 2))
    sclera = (draws[10] < _SHARE_WITH_CRESCENT) * (0.15 + 0.4 * draws[11])
    wide = 0.06 + 0.12 * draws[12]
    crescent = sclera * temple * _inside(distance - 1.04 - wide, 30.0)
    patches = np.clip(np.sin(5 * angle + 6 * draws[13]) + np.sin(9 * angle + 6 * draws[14]), 0, 1)
    heaped = (draws[15] < _SHARE_WITH_PIGMENT) * 0.35 * patches * temple
    pigment = heaped * np.exp(-(((distance - 1.08 - wide * (sclera > 0)) / 0.09) ** 2))
    return halo + crescent - pigment


def _inside(depth: np.ndarray, steepness: np.ndarray | float) -> np.ndarray:
    """1 where `depth` is well below 0, 0 where it is well above."""
    return 1 / (1 + np.exp(np.clip(depth * steepness, -50, 50)))


def _between(limits: tuple[float, float], draw: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * float(draw)


def paint_retina(camera: Camera, eye: Eye, shared: Rng, own: Rng) -> np.ndarray:
    """Relative reflectance (3, h, w) of the whole frame; `shared` draws what both eyes have in common."""
    shape = camera.shape
    youth = shared.uniform()  # reflexes and nerve fibres shine in the young, the choroid shows in the old
    small = (max(8, shape[0] // 4), max(8, shape[1] // 4))
    soft = _soft_layers(camera, eye, small, shared, own, youth=youth)
    half = (max(8, shape[0] // 2), max(8, shape[1] // 2))
    choroid, sheen = _texture(camera, eye, half, shared, own, youth=youth)
    drusen = _drusen(camera, eye, half, shared, youth=youth)
    planes = np.empty((3, *shape), dtype=np.float32)
    for plane, layer, tessellated, shining, pale in zip(planes, soft, _TESSELLATION, _SHEEN, _DRUSEN, strict=True):
        detail = np.float32(tessellated) * choroid + np.float32(shining) * sheen
        if drusen is not None:
            detail += np.float32(pale) * drusen
        plane[:] = enlarged(layer, shape) * enlarged(1 + detail, shape)
    paint_disc(planes, camera, eye, shared)
    return planes


def _soft_layers(
    camera: Camera, eye: Eye, shape: tuple[int, int], shared: Rng, own: Rng, *, youth: float
) -> np.ndarray:
    x, y = camera.grid(shape)
    light_x, light_y = own.normal(0, 0.09, 2)
    distance = np.hypot(x - light_x, y - light_y)
    tilt_angle, tilt = own.uniform(0, 2 * np.pi), abs(own.normal(0, _TILT))
    gradient = 1 + tilt * (x * math.cos(tilt_angle) + y * math.sin(tilt_angle))
    vignette = own.uniform(*_VIGNETTE)
    gradient *= _pupil_shadow(x, y, own)
    layers = [amplitude * smooth_noise(shape, cells, own) for cells, amplitude in _CLOUDS]
    clouds = own.uniform(0.2, 1.8) * np.sum(layers, axis=0)
    pigment = smooth_noise(shape, 5, shared) * 0.025
    macula = _macula(x, y, eye, shared, youth=youth)
    planes = []
    for fall, mottled, depth in zip(_FALL, (0.8, 1.0, 1.1), _MACULA, strict=True):
        profile = np.interp(distance, _RADII, 1 + vignette * (np.array(fall) - 1)).astype(np.float32)
        planes.append(profile * gradient * (1 + mottled * (clouds + pigment)) * np.maximum(1 - depth * macula, 0.1))
    return np.stack(planes).astype(np.float32)


def _pupil_shadow(x: np.ndarray, y: np.ndarray, rng: Rng) -> np.ndarray:
    """A factor (h, w): the iris of a narrow or badly met pupil keeps the light from one side of the field."""
    draws = rng.uniform(size=5)
    along = x * np.cos(6.28 * draws[0]) + y * np.sin(6.28 * draws[0])
    depth = (draws[1] < _SHARE_WITH_SHADOW) * (0.15 + 0.6 * draws[2])
    return np.asarray(1 - depth / (1 + np.exp(-(along - 0.1 - 0.9 * draws[3]) / (0.08 + 0.14 * draws[4]))))


def _macula(x: np.ndarray, y: np.ndarray, eye: Eye, rng: Rng, *, youth: float) -> np.ndarray:
    """Share of green light that macular pigment and the deeper epithelium take away (h, w)."""
    distance = np.hypot(x - eye.fovea[0], (y - eye.fovea[1]) * 1.08)
    draws = rng.uniform(size=5)
    # Pigment is heaped unevenly: the dark spot has no even outline.
    uneven = 1 + rng.uniform(*_MACULA_UNEVEN) * smooth_noise(np.broadcast(x, y).shape, 9, rng)
    blot = distance * np.clip(uneven, 0.5, 1.8)
    wide = (0.04 + 0.12 * draws[0]) * np.exp(-((blot / (1.2 * eye.macula_radius)) ** 2))
    core = (0.16 + 0.32 * draws[1]) * np.exp(-((blot / ((0.34 + 0.22 * draws[2]) * eye.macula_radius)) ** 1.7))
    # The foveal pit mirrors the flash as a dot, its slope as a ring of 3 mm: in most eyes of the young, in few of the
    # old.
    has_dot, has_ring = draws[3] < 0.2 + 0.6 * youth, draws[4] < 0.7 * youth
    dot = has_dot * (0.08 + 0.3 * youth) * np.exp(-((distance / 0.016) ** 2))
    ring = has_ring * 0.09 * youth * np.exp(-(((distance - eye.macula_radius) / 0.05) ** 2))
    return wide + core - dot - ring


def _texture(
    camera: Camera, eye: Eye, shape: tuple[int, int], shared: Rng, own: Rng, *, youth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Relative changes (h, w): the choroid with the epithelium's grain, and the white sheen of the nerve fibres."""
    most, less, crowding = _TESSELLATION_STRENGTH
    choroid = _choroid(camera, eye, shape, shared, strength=shared.uniform() ** crowding * (most - less * youth))
    grain = own.uniform(*_GRAIN)
    choroid += grain * (smooth_noise(shape, 34, own) + 1.0 * smooth_noise(shape, 90, own))
    return choroid, _nerve_fibres(camera, eye, shape, shared, youth=youth)


def _choroid(camera: Camera, eye: Eye, shape: tuple[int, int], rng: Rng, *, strength: float) -> np.ndarray:
    """Choroidal vessels: pale ribbons between dark pigment that stream from the macula towards the vortex veins.

    They show away from the macula, in lightly pigmented and older eyes (a tessellated or tigroid fundus).
    """
    count = int(rng.integers(70, 130))
    places = np.array(eye.fovea) + rng.uniform(0.1, 1.2, (count, 1)) * _unit_vectors(rng.uniform(0, 2 * np.pi, count))
    widths = rng.uniform(*_CHOROIDAL_WIDTH, count)
    turns = rng.normal(0, 0.6, (count, 2))
    canvas = StrokeCanvas(shape, scale=1)
    scale = np.array([shape[1] / camera.width, shape[0] / camera.height])
    steps = np.linspace(0, 1, 12)
    for place, width, (off, bend) in zip(places, widths, turns, strict=True):
        outwards = np.arctan2(*(place - np.array(eye.fovea))[::-1]) + off
        winding = bend * np.sin(5 * steps + 9 * off) + 0.5 * np.sin(11 * steps + 30 * bend)
        path = place + 0.6 * np.cumsum(_unit_vectors(outwards + winding), axis=0) / len(steps)
        swelling = 1 + 0.3 * np.sin(7 * steps + 20 * off)
        canvas.line(camera.to_pixels(path) * scale, swelling * (width * camera.radius_px * scale[0]))
    ribbons = gaussian_filter(canvas.to_array(), _CHOROID_SOFTNESS * camera.radius_px * scale[0], truncate=2)
    x, y = camera.grid(shape)
    distance = np.hypot(x - eye.fovea[0], y - eye.fovea[1])
    return np.asarray(strength * (2 * ribbons - 1) * (1 - 0.85 * np.exp(-((distance / 0.4) ** 2))), dtype=np.float32)


def _drusen(camera: Camera, eye: Eye, shape: tuple[int, int], rng: Rng, *, youth: float) -> np.ndarray | None:
    """Pale deposits below the macula of older eyes, crowded round the fovea: relative change (h, w), None for none."""
    if rng.random() >= _SHARE_WITH_DRUSEN * (1 - youth):
        return None
    fewest, most, crowding = _NUM_DRUSEN
    count = int(fewest + (most - fewest) * rng.uniform() ** crowding)
    places = np.array(eye.fovea) + rng.normal(0, rng.uniform(0.1, 0.3), (count, 2))
    low, high = _DRUSEN_WIDTH
    widths = low + (high - low) * rng.uniform(size=count) ** 3
    scale = shape[1] / camera.width
    canvas = StrokeCanvas(shape, scale=2)
    for place, width, strength in zip(
        camera.to_pixels(places) * scale, widths, rng.uniform(0.3, 1.0, count), strict=True
    ):
        reach = 0.5 * width * camera.radius_px * scale
        canvas.line(place + np.array([[-reach, 0.0], [reach, 0.0]]), np.full(2, 2 * reach), strength=strength)
    soft = gaussian_filter(canvas.to_array(), 0.0035 * camera.radius_px * scale, truncate=2)
    return np.asarray(rng.uniform(0.10, 0.30) * soft, dtype=np.float32)


def _unit_vectors(angles: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _nerve_fibres(camera: Camera, eye: Eye, shape: tuple[int, int], rng: Rng, *, youth: float) -> np.ndarray:
    """Fine bright streaks that leave the disc along the arcades, strongest near it and absent at the macula."""
    x, y = camera.grid(shape)
    temporal, upward = -(x - eye.disc[0]) * eye.nasal, -(y - eye.disc[1])
    distance = np.hypot(temporal, upward)
    # The streaks bend with the arcades: the further from the disc, the more they turn towards the temple.
    angle = np.arctan2(np.abs(upward), temporal) + 0.45 * np.minimum(distance, 1.3) * (temporal > -0.2)
    cells = np.stack([angle * (130 / np.pi) + 200 * (upward < 0), distance * 4 + np.zeros_like(angle)])
    noise = rng.standard_normal((400, 16), dtype=np.float32)
    streaks = map_coordinates(noise, cells, order=1, mode="wrap")
    sheen = rng.uniform(0.1, 0.5) + 0.8 * youth
    strength = np.exp(-(((distance - 0.24) / 0.36) ** 2)) * np.sin(np.clip(angle, 0, np.pi)) ** 2
    return np.asarray(sheen * strength * (0.055 + 0.045 * streaks), dtype=np.float32)
