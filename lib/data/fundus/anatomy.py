"""One eye as geometry: optic disc, cup, fovea, and the four quadrants round the fovea.

Proportions: a photograph of 45 degrees shows a circle of about 13 mm; the disc is 1.8 mm wide and the fovea lies about
4.5 mm to its temporal side, a little below its centre. In units of the field's radius (6.5 mm) that is a disc radius
of 0.14 and a distance of 0.70.
"""

import math
from dataclasses import dataclass

import numpy as np

_DISC_RADIUS = (0.116, 0.150)  # 1.5 to 1.95 mm across
# Shares of photographs centred on the macula and on the disc (fields 2 and 1 of the ETDRS protocol, report 10,
# Ophthalmology 1991; 98:786); the others are centred between them.
_SHARE_ON_MACULA, _SHARE_ON_DISC = 0.52, 0.06


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

    def quadrant(self, x: float, y: float) -> int:
        """0 superior temporal, 1 superior nasal, 2 inferior temporal, 3 inferior nasal; the fovea is the centre."""
        return 2 * int(y > self.fovea[1]) + int((x - self.fovea[0]) * self.nasal > 0)

    def quadrants(self, points: np.ndarray) -> np.ndarray:
        """The quadrants of points (n, 2)."""
        below = points[:, 1] > self.fovea[1]
        return 2 * below.astype(int) + ((points[:, 0] - self.fovea[0]) * self.nasal > 0)

    def from_disc(self, temporal: np.ndarray, upward: np.ndarray) -> np.ndarray:
        """Points (n, 2) given by their distance from the disc's centre towards the temple and upwards."""
        points = np.empty((len(temporal), 2))
        points[:, 0] = self.disc[0] - self.nasal * temporal
        points[:, 1] = self.disc[1] - upward
        return points


def choose_eye(shared: np.random.Generator, own: np.random.Generator, *, is_right: bool) -> Eye:
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
