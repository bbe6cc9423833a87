"""The optic disc: a rim of nerve fibres, the paler cup in it, and what surrounds it."""

import numpy as np

from lib.data.fundus.anatomy import Eye
from lib.data.fundus.camera import Camera

# By how much the rim and, beyond that, the cup are brighter than the retina, in red, green and blue, lowest and highest
# (scikit-image's photograph: 0.35 and 0.65 in green, 0.25 and 0.75 in blue, its red at its limit).
_RIM = ((0.28, 0.60), (0.52, 1.08), (0.38, 1.02))
_CUP = ((0.05, 0.22), (0.35, 0.90), (0.50, 1.30))
_EDGE = (14.0, 34.0)  # steepness of the disc's edge, per disc radius
_CUP_EDGE = (6.0, 16.0)
_HIDES = 0.8  # share of the texture below that the disc hides
_SHARE_WITH_CRESCENT, _SHARE_WITH_PIGMENT = 0.35, 0.22  # beside the temporal edge: bare sclera, heaped pigment


def paint_disc(planes: np.ndarray, camera: Camera, eye: Eye, rng: np.random.Generator) -> None:
    """Brighten the optic disc with its paler cup, and draw the crescent beside it, in place on (3, h, w)."""
    x, y = camera.grid()
    reach = 2.0 * eye.disc_radius
    columns = np.flatnonzero(np.abs(x[0] - eye.disc[0]) < reach)
    rows = np.flatnonzero(np.abs(y[:, 0] - eye.disc[1]) < reach)
    draws = rng.uniform(size=16)
    if not len(columns) or not len(rows):
        return
    window = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    dx = (x[:, window[2]] - eye.disc[0]) * (-eye.nasal) / eye.disc_radius  # towards the temple
    dy = (y[window[1]] - eye.disc[1]) / eye.disc_radius
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
        inside = plane[window[1:]]
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
