"""Arteries and veins as branching trees that taper: geometry only.

Four trunks of each leave the disc; the temporal ones bend round the macula as arcades and send branches to it that end
before the foveal avascular zone. A daughter vessel is thinner than its parent (Murray 1926: the cubes of the daughters'
radii add up to the parent's). Headings are angles from the temporal direction, counter-clockwise upwards.
"""

from dataclasses import dataclass

import numpy as np

from lib.data.fundus.anatomy import Eye

_STEP = 0.013  # radii; 3 px at 512 px
_AVASCULAR_RADIUS = 0.10  # the zone without vessels round the fovea is about 0.6 mm wide; branches fade before it
_REACH = 1.04
_WAVE_WEIGHTS = np.array([0.7, 1.0, 1.2])


@dataclass(frozen=True)
class Vessel:
    """A centre line (n, 2) in radii with widths (n,); `depth` 0 is a trunk.

    `beading` (n,) are the factors by which disease changes the widths, None for a healthy vessel.
    """

    points: np.ndarray
    widths: np.ndarray
    is_vein: bool
    depth: int
    beading: np.ndarray | None = None

    @property
    def seen_widths(self) -> np.ndarray:
        """The widths (n,) with their beading."""
        return self.widths if self.beading is None else self.widths * self.beading


@dataclass(frozen=True)
class _Course:
    """How a vessel runs: headings (radians) at given lengths, starting width, how much it wanders."""

    start: np.ndarray  # (temporal, upward) from the disc's centre
    lengths: tuple[float, ...]
    headings: tuple[float, ...]
    width: float
    wander: float
    end_share: float = 0.45  # of the width that is left at the end


# Headings of the trunks in degrees at these lengths from the disc.
_LENGTHS = (0.0, 0.22, 0.55, 0.95, 1.5, 2.2)
_TEMPORAL = (84.0, 64.0, 38.0, 9.0, -6.0, -22.0)
_NASAL = (116.0, 128.0, 138.0, 146.0, 150.0, 152.0)


def grow_vessels(eye: Eye, rng: np.random.Generator) -> list[Vessel]:
    """Grow all vessels of an eye; veins first, so that arteries cross over them."""
    width = rng.uniform(0.023, 0.030)
    tortuosity = rng.uniform(0.7, 1.5)
    found: list[Vessel] = []
    for is_vein in (True, False):
        calibre = width if is_vein else width * rng.uniform(0.66, 0.82)
        for up in (1, -1):
            for base, share in ((_TEMPORAL, 1.0), (_NASAL, 0.72)):
                _grow_trunk(found, eye, rng, up=up, base=base, width=calibre * share, is_vein=is_vein, wavy=tortuosity)
        for _ in range(int(rng.integers(3, 6))):
            _grow_small(found, eye, rng, width=calibre * 0.32, is_vein=is_vein, wavy=tortuosity)
    return found


def _grow_trunk(
    found: list[Vessel],
    eye: Eye,
    rng: np.random.Generator,
    *,
    up: int,
    base: tuple[float, ...],
    width: float,
    is_vein: bool,
    wavy: float,
) -> None:
    shift = rng.normal(0, 7) + (6 if is_vein else -6) * rng.choice((-1, 1))
    headings = np.radians(np.array(base) + shift * np.array([1, 1, 0.9, 0.7, 0.5, 0.4]) + rng.normal(0, 5, 6)) * up
    start = (np.array([-0.22, up * 0.04]) + rng.normal(0, 0.05, 2)) * eye.disc_radius
    wander = (0.13 if is_vein else 0.10) * wavy
    _grow(found, eye, rng, _Course(start, _LENGTHS, tuple(headings), width, wander), is_vein=is_vein, depth=0)


def _grow_small(
    found: list[Vessel], eye: Eye, rng: np.random.Generator, *, width: float, is_vein: bool, wavy: float
) -> None:
    """A small vessel from the disc straight towards macula or nose."""
    to_nose = rng.random() < 0.55
    heading = rng.uniform(-1, 1) * (1.0 if to_nose else 0.75) + (np.pi if to_nose else 0.0)
    start = 0.2 * eye.disc_radius * np.array([np.cos(heading) - 1, np.sin(heading)])
    course = _Course(start, (0.0, rng.uniform(0.35, 0.8)), (heading, heading * 0.8), width, 0.16 * wavy)
    _grow(found, eye, rng, course, is_vein=is_vein, depth=2)


def _grow(
    found: list[Vessel], eye: Eye, rng: np.random.Generator, course: _Course, *, is_vein: bool, depth: int
) -> None:
    """Follow a course to its end or out of the field, then let branches grow from it."""
    length = course.lengths[-1]
    num = max(4, int(length / _STEP))
    along = np.arange(num) * (length / (num - 1))
    heading = np.interp(along, course.lengths, course.headings) + course.wander * _wander(along, rng)
    steps = np.empty((num, 2))
    np.cos(heading, out=steps[:, 0])
    np.sin(heading, out=steps[:, 1])
    path = course.start + (length / (num - 1)) * steps.cumsum(axis=0)
    points = eye.from_disc(path[:, 0], path[:, 1])
    num = _visible_length(points, eye, depth)
    if num < 4:
        return
    widths = course.width * (1 - (1 - course.end_share) * along[:num] / length)
    widths *= 1 + 0.05 * np.sin(along[:num] * rng.uniform(9, 16) + rng.uniform(0, 6))
    found.append(Vessel(points[:num], widths, is_vein, depth))
    if depth < 3:
        _branch(found, eye, rng, path[:num], heading[:num], widths, is_vein=is_vein, depth=depth, wander=course.wander)


def _visible_length(points: np.ndarray, eye: Eye, depth: int) -> int:
    """How many points come before the vessel leaves the field for good or reaches the avascular zone."""
    distance = np.hypot(points[:, 0], points[:, 1])
    far = np.flatnonzero(distance > _REACH)
    # A trunk may begin outside the field, where the disc lies at its edge.
    first_in = int(np.argmax(distance <= _REACH)) if (distance <= _REACH).any() else len(points)
    far = far[far > first_in]
    num = int(far[0]) if len(far) else len(points)
    if depth:
        gone = np.hypot(points[:, 0] - eye.fovea[0], points[:, 1] - eye.fovea[1])
        near = np.flatnonzero(gone < _AVASCULAR_RADIUS)
        num = min(num, int(near[0])) if len(near) else num
    return num


def _wander(along: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    waves = rng.uniform((0.13, 0.25, 0.5), (0.25, 0.5, 1.1))
    phases = rng.uniform(0, 2 * np.pi, 3)
    waved: np.ndarray = np.sin(along[:, None] * (2 * np.pi / waves) + phases) @ _WAVE_WEIGHTS
    return waved - waved[0] * np.exp(-along / 0.1)


def _branch(
    found: list[Vessel],
    eye: Eye,
    rng: np.random.Generator,
    path: np.ndarray,
    heading: np.ndarray,
    widths: np.ndarray,
    *,
    is_vein: bool,
    depth: int,
    wander: float,
) -> None:
    spacing = (0.24, 0.22, 0.26)[depth]
    at = rng.uniform(0.3, 1.0) * (0.16 if depth == 0 else 0.09)
    side = int(rng.choice((-1, 1)))
    while (index := int(at / _STEP)) < len(path) - 3:
        at += spacing * rng.uniform(0.5, 1.6)
        side = -side if rng.random() < 0.7 else side
        width = widths[index] * rng.uniform(*((0.34, 0.66), (0.5, 0.75), (0.6, 0.8))[depth])
        if width < 0.0028:
            continue
        first = heading[index] + side * rng.uniform(0.45, 1.0)
        last = _target_heading(eye, path[index], heading[index], first, rng, side=side, depth=depth)
        length = rng.uniform(0.5, 1.3) * (0.85, 0.42, 0.24)[depth] * (0.6 + 25 * width)
        course = _Course(
            path[index], (0.0, 0.45 * length, length), (first, 0.4 * first + 0.6 * last, last), width, wander * 1.25
        )
        _grow(found, eye, rng, course, is_vein=is_vein, depth=depth + 1)


def _target_heading(
    eye: Eye, place: np.ndarray, parent: float, first: float, rng: np.random.Generator, *, side: int, depth: int
) -> float:
    """Towards the fovea on the arcades' inner side, else along the parent but spreading."""
    fovea = np.array([-(eye.fovea[0] - eye.disc[0]) * eye.nasal, -(eye.fovea[1] - eye.disc[1])])
    to_fovea = float(np.arctan2(*(fovea - place)[::-1]))
    turn = (to_fovea - parent + np.pi) % (2 * np.pi) - np.pi
    is_inner = np.sign(turn) == side and 0.3 < abs(turn) < 2.6
    if is_inner and depth < 2:
        return float(parent + turn * rng.uniform(0.6, 0.95))
    return float(parent + side * rng.uniform(0.15, 0.7))
