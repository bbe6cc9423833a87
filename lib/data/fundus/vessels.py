"""Arteries and veins as branching trees that taper, and how they are seen.

Four trunks of each leave the disc; the temporal ones bend round the macula as arcades, divide, and send winding
branches to it that end before the foveal avascular zone. At every division the cubes of the daughters' radii add up to
the parent's (Murray, J Gen Physiol 1926; 9:835). Arteries are two thirds as wide as veins (mean ratio 0.67 to 0.69 in
the ARIC study, Hubbard et al., Ophthalmology 1999; 106:2269). Headings are angles from the temporal direction,
counter-clockwise upwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.data.fundus.drawing import Rng, StrokeCanvas, fine_line_strength
from lib.data.fundus.geometry import Camera, Eye

_STEP = 0.013  # radii; 3 px at 512 px
_AVASCULAR = (0.07, 0.2)  # branches end this far from the fovea: the zone without vessels is 0.4 to 0.6 mm wide
_REACH = 1.04
# Veins are 125 to 175 um wide at the disc's edge: 0.019 to 0.027 of the field's radius of 6.5 mm.
_VEIN_WIDTH = (0.0195, 0.0265)
_ARTERY_TO_VEIN = (0.62, 0.78)
_WAVES = ((0.11, 0.22, 0.5), (0.22, 0.45, 1.1))  # shortest and longest of three wavelengths, in radii
_WAVE_WEIGHTS = np.array([0.8, 1.0, 1.1])
# By depth: how much a vessel winds (radians), the room between its branches (radii), how wide a branch is beside its
# parent, how long it is. Small vessels wind more (Hart et al., Int J Med Inform 1999; 53:239).
_WINDING = (0.09, 0.20, 0.30, 0.34)
_SPACING = (0.28, 0.245, 0.245)
_BRANCH_WIDTH = ((0.36, 0.62), (0.50, 0.78), (0.60, 0.85))
_BRANCH_LENGTH = (0.70, 0.40, 0.24)
_TORTUOSITY, _DENSITY = (0.55, 1.75), (0.68, 1.42)  # of an eye, beside the mean
_THINNEST = 0.0026  # 17 um: capillaries are not seen
# Headings of the trunks in degrees at these lengths from the disc: a common stem, then the arcade or the nasal branch.
_LENGTHS = (0.0, 0.09, 0.22, 0.55, 0.95, 1.5, 2.2)
_TEMPORAL = (98.0, 86.0, 64.0, 38.0, 9.0, -6.0, -20.0)
_NASAL = (98.0, 108.0, 126.0, 139.0, 147.0, 150.0, 152.0)
_SHIFT_SHARE = np.array([0.4, 0.8, 1, 0.9, 0.7, 0.5, 0.4])
# Share of red, green and blue light that a vessel of full width takes away: blood absorbs green and blue, and red the
# more the less oxygen it holds (scikit-image's photograph: 0.1, 0.45 and 0.3 less than the retina beside it).
_VEIN = (0.18, 0.51, 0.37)
_ARTERY = (0.11, 0.42, 0.32)
_REFLEX = (0.10, 0.25, 0.20)  # added back along the middle
_REFLEX_WIDTH = 0.32  # of the vessel's width (Brinchmann-Hansen & Engvold 1986: a third)
_REFLEX_FROM_PX = 2.4  # of 512: thinner vessels show none
_FULL_WIDTH = 0.008  # of the field's radius: vessels much wider than this take away all they can (Beer and Lambert)
_STRENGTH = (0.36, 0.96)  # of a photograph: blood seems paler through a clouded lens
_NARROWING = (0.05, 0.45)  # of a vein's width under a crossing artery


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
    """How a vessel runs: headings (radians) at given lengths, starting width, how much it winds."""

    start: np.ndarray  # (temporal, upward) from the disc's centre
    lengths: tuple[float, ...]
    headings: tuple[float, ...]
    width: float
    winding: float
    end_share: float = 0.6  # of the width that is left at the end, before branches take theirs


def grow_vessels(eye: Eye, rng: Rng) -> list[Vessel]:
    """Grow all vessels of an eye; veins first, so that arteries cross over them."""
    width = rng.uniform(*_VEIN_WIDTH)
    tortuosity = rng.uniform(*_TORTUOSITY)
    density = rng.uniform(*_DENSITY)  # how many branches are filled well enough to be seen
    found: list[Vessel] = []
    for is_vein in (True, False):
        calibre = width if is_vein else width * rng.uniform(*_ARTERY_TO_VEIN)
        grower = _Grower(found, eye, rng, is_vein=is_vein, tortuosity=tortuosity, density=density)
        for up in (1, -1):
            for base, share in ((_TEMPORAL, 1.0), (_NASAL, 0.68)):
                grower.grow_trunk(up, base, calibre * share)
        for _ in range(int(rng.integers(1, 4))):
            grower.grow_small(calibre * rng.uniform(0.24, 0.4))
    return found


@dataclass(frozen=True)
class _Grower:
    """Grows the arteries or the veins of an eye into `found`."""

    found: list[Vessel]
    eye: Eye
    rng: Rng
    is_vein: bool
    tortuosity: float
    density: float

    def grow_trunk(self, up: int, base: tuple[float, ...], width: float) -> None:
        rng = self.rng
        shift = rng.normal(0, 7) + (6 if self.is_vein else -6) * rng.choice((-1, 1))
        headings = np.radians(np.array(base) + shift * _SHIFT_SHARE + rng.normal(0, 5, len(base))) * up
        # Veins and arteries come out side by side through the cup's nasal wall.
        start = (
            np.array([-0.2 + (0.1 if self.is_vein else -0.1), up * -0.15]) + rng.normal(0, 0.05, 2)
        ) * self.eye.disc_radius
        self._grow(_Course(start, _LENGTHS, tuple(headings), width, _WINDING[0] * self.tortuosity), depth=0)

    def grow_small(self, width: float) -> None:
        """A small vessel from the disc straight towards macula or nose."""
        rng = self.rng
        to_nose = rng.random() < 0.55
        heading = rng.uniform(-1, 1) * (1.0 if to_nose else 0.75) + (np.pi if to_nose else 0.0)
        start = rng.uniform(0.2, 0.8) * self.eye.disc_radius * np.array([np.cos(heading), np.sin(heading)])
        course = _Course(start, (0.0, rng.uniform(0.35, 0.8)), (heading, heading * 0.8), width, 0.22 * self.tortuosity)
        self._grow(course, depth=2)

    def _grow(self, course: _Course, *, depth: int) -> None:
        """Follow a course to its end or out of the field, then let branches grow from it."""
        rng, length = self.rng, course.lengths[-1]
        num = max(4, int(length / _STEP))
        along = np.arange(num) * (length / (num - 1))
        heading = np.interp(along, course.lengths, course.headings) + course.winding * _wander(along, rng)
        steps = np.empty((num, 2))
        np.cos(heading, out=steps[:, 0])
        np.sin(heading, out=steps[:, 1])
        path = course.start + (length / (num - 1)) * steps.cumsum(axis=0)
        points = self.eye.from_disc(path[:, 0], path[:, 1])
        num = _visible_length(points, self.eye, depth, rng.uniform(*_AVASCULAR))
        if num < 4:
            return
        widths = course.width * (1 - (1 - course.end_share) * along[:num] / length)
        widths *= 1 + 0.04 * np.sin(along[:num] * rng.uniform(9, 16) + rng.uniform(0, 6))
        self.found.append(Vessel(points[:num], widths, self.is_vein, depth))
        if depth < 3:
            self._branch(path[:num], heading[:num], widths, depth)

    def _branch(self, path: np.ndarray, heading: np.ndarray, widths: np.ndarray, depth: int) -> None:
        rng, spacing = self.rng, _SPACING[depth] / self.density
        at = rng.uniform(0.5, 1.2) * (0.2 if depth == 0 else 0.1)
        side = int(rng.choice((-1, 1)))
        divides_at = rng.uniform(0.4, 0.95) if depth == 0 else np.inf  # the trunk's own division in two like ones
        while (index := int(at / _STEP)) < len(path) - 3:
            side = -side if rng.random() < 0.7 else side
            share = rng.uniform(*_BRANCH_WIDTH[depth])
            if at >= divides_at:
                share, divides_at = rng.uniform(0.7, 0.88), np.inf
            at += spacing * rng.uniform(0.5, 1.6)
            width = widths[index] * share
            if width < _THINNEST:
                continue
            first = heading[index] + side * rng.uniform(0.5, 1.15)
            last = self._target_heading(path[index], heading[index], side=side, depth=depth)
            length = rng.uniform(0.5, 1.4) * _BRANCH_LENGTH[depth] * (0.6 + 28 * width)
            winding = _WINDING[depth + 1] * self.tortuosity * rng.uniform(0.7, 1.3)
            lengths = (0.0, 0.4 * length, length)
            course = _Course(path[index], lengths, (first, 0.4 * first + 0.6 * last, last), width, winding)
            widths[index:] *= (1 - share**3) ** (1 / 3)  # Murray
            self._grow(course, depth=depth + 1)

    def _target_heading(self, place: np.ndarray, parent: float, *, side: int, depth: int) -> float:
        """Towards the fovea on the arcades' inner side, else along the parent but spreading."""
        eye, rng = self.eye, self.rng
        fovea = np.array([-(eye.fovea[0] - eye.disc[0]) * eye.nasal, -(eye.fovea[1] - eye.disc[1])])
        to_fovea = float(np.arctan2(*(fovea - place)[::-1]))
        turn = (to_fovea - parent + np.pi) % (2 * np.pi) - np.pi
        is_inner = np.sign(turn) == side and 0.3 < abs(turn) < 2.6
        if is_inner and depth < 2:
            return float(parent + turn * rng.uniform(0.45, 0.95))
        return float(parent + side * rng.uniform(0.1, 0.8))


def _visible_length(points: np.ndarray, eye: Eye, depth: int, avascular: float) -> int:
    """How many points come before the vessel leaves the field for good or reaches the avascular zone."""
    distance = np.hypot(points[:, 0], points[:, 1])
    far = np.flatnonzero(distance > _REACH)
    # A trunk may begin outside the field, where the disc lies at its edge.
    first_in = int(np.argmax(distance <= _REACH)) if (distance <= _REACH).any() else len(points)
    far = far[far > first_in]
    num = int(far[0]) if len(far) else len(points)
    if depth:
        gone = np.hypot(points[:, 0] - eye.fovea[0], points[:, 1] - eye.fovea[1])
        near = np.flatnonzero(gone < avascular)
        num = min(num, int(near[0])) if len(near) else num
    return num


def _wander(along: np.ndarray, rng: Rng) -> np.ndarray:
    waves = rng.uniform(*_WAVES)
    phases = rng.uniform(0, 2 * np.pi, 3)
    waved: np.ndarray = np.sin(along[:, None] * (2 * np.pi / waves) + phases) @ _WAVE_WEIGHTS
    return waved - waved[0] * np.exp(-along / 0.1)


def vein_narrowing(vessels: list[Vessel], depth: float) -> dict[int, np.ndarray]:
    """Factors (n,) of the widths of veins, by index, where an artery crosses: it narrows the vein by the share `depth`.

    The two share one sheath there (arteriovenous nicking); beside a crossing, within two widths, the vein tapers.
    """
    arteries = [vessel for vessel in vessels if not vessel.is_vein and vessel.depth < 2]
    if not arteries:
        return {}
    places = np.concatenate([vessel.points[1:] for vessel in arteries]).astype(np.float32)
    headings = np.concatenate([np.diff(vessel.points, axis=0) for vessel in arteries]) / _STEP
    factors = {}
    for index, vein in enumerate(vessels):
        if not vein.is_vein or vein.depth > 1:
            continue
        points = vein.points.astype(np.float32)
        reach = 4 * float(vein.widths.max())
        near = ((places > points.min(axis=0) - reach) & (places < points.max(axis=0) + reach)).all(axis=1)
        if not near.any():
            continue
        apart = (points[:, None, 0] - places[near, 0]) ** 2 + (points[:, None, 1] - places[near, 1]) ** 2
        nearest = apart.argmin(axis=1)
        along, across = np.gradient(vein.points, axis=0) / _STEP, headings[near][nearest]
        crossing = np.abs(along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0])
        gap = apart[np.arange(len(nearest)), nearest] / (1.5 * vein.widths) ** 2
        factors[index] = 1 - depth * np.exp(-gap) * np.clip(2 * crossing - 0.6, 0, 1)
    return factors


def paint_vessels(planes: np.ndarray, vessels: Sequence[Vessel], camera: Camera, rng: Rng) -> None:
    """Darken relative reflectance (3, h, w) in place where vessels run."""
    strength = rng.uniform(*_STRENGTH)
    unit = camera.radius_px / 250
    veins, arteries, reflex = (StrokeCanvas(camera.shape) for _ in range(3))
    reflex_strength = rng.uniform(0.3, 1.0)
    narrowing = vein_narrowing(list(vessels), rng.uniform(*_NARROWING))
    for index, vessel in enumerate(vessels):
        points, widths = camera.to_pixels(vessel.points), vessel.widths * camera.radius_px
        body = veins if vessel.is_vein else arteries
        mean_width = float(vessel.widths.mean())
        pale = fine_line_strength(mean_width * camera.radius_px) * (1 - np.exp(-(mean_width + 0.004) / _FULL_WIDTH))
        body.line(points, vessel.seen_widths * camera.radius_px * narrowing.get(index, 1.0), strength=pale)
        wide = widths > _REFLEX_FROM_PX * unit * (1.5 if vessel.is_vein else 1.0)
        num = int(wide.sum())  # widths fall, so that the wide part comes first
        if num > 3:
            strength_here = reflex_strength * (0.35 if vessel.is_vein else 0.9)
            reflex.line(points[:num], _REFLEX_WIDTH * widths[:num], strength=strength_here)
    vein, artery, shine = veins.to_array(), arteries.to_array(), reflex.to_array()
    for plane, of_vein, of_artery, lift in zip(planes, _VEIN, _ARTERY, _REFLEX, strict=True):
        # An artery lies over the vein that it crosses and lets little of it through.
        taken = vein * np.float32(of_vein * strength)
        taken *= 1 - np.float32(0.75) * artery
        taken = np.maximum(taken, artery * np.float32(of_artery * strength))
        taken -= shine * np.float32(lift * strength)
        np.multiply(plane, 1 - taken, out=plane)
