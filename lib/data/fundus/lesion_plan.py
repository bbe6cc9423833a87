"""Which lesions a grade gets, and where: drawn from the grade, so that the scale's rules give the grade back.

Within its rules a grade varies widely (Wilkinson et al. 2003, see `severity_scale`): a mild eye has one or many
microaneurysms, a severe one any of the three signs of the 4-2-1 rule, and a proliferative one may have few other
lesions. Most lesions are few and small: counts and sizes are drawn from `Spread`, whose draws crowd at the lower end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.data.fundus.drawing import Rng
from lib.data.fundus.geometry import Camera, Eye
from lib.data.fundus.vessels import Vessel
from lib.data.grades import INTRARETINAL_HAEMORRHAGES, NUM_QUADRANTS, SEVERE_HAEMORRHAGES, LesionKind

_NUM_CANDIDATES = 900
BEADED_POINTS = 30  # of a vein's centre line; 0.39 radii


@dataclass(frozen=True)
class Spread:
    """Values between two limits that crowd at the lower one: u to the power `crowding`, u uniform."""

    low: float
    high: float
    crowding: float = 2.0

    def draw(self, rng: Rng) -> float:
        """One value."""
        return float(self.low + (self.high - self.low) * rng.uniform() ** self.crowding)

    def count(self, rng: Rng) -> int:
        """One whole number, both limits included."""
        return int(Spread(self.low, self.high + 1 - 1e-9, self.crowding).draw(rng))


# Radii in units of the field's radius of 6.5 mm; 0.01 is 65 um, or 2.5 px of a picture of 512 px. Sizes from the ETDRS
# definitions (report 10, Ophthalmology 1991; 98:786): microaneurysms are below 125 um wide, the width of a vein at the
# disc's edge, and those that a camera resolves 40 um and more; cotton-wool spots are a quarter of a disc wide, some a
# half.
_RADII = {
    LesionKind.MICROANEURYSM: Spread(0.0060, 0.0096, 2.0),
    LesionKind.DOT_HAEMORRHAGE: Spread(0.0070, 0.0140, 1.8),
    LesionKind.BLOT_HAEMORRHAGE: Spread(0.0135, 0.0310, 2.4),
    LesionKind.FLAME_HAEMORRHAGE: Spread(0.0180, 0.0480, 1.8),
    LesionKind.HARD_EXUDATE: Spread(0.020, 0.100, 1.8),  # of a cluster or ring
    LesionKind.COTTON_WOOL_SPOT: Spread(0.018, 0.045, 1.6),
    LesionKind.IRMA: Spread(0.038, 0.075, 1.5),
    LesionKind.NEOVASCULARISATION: Spread(0.065, 0.150, 1.5),
    LesionKind.PRERETINAL_HAEMORRHAGE: Spread(0.09, 0.26, 1.5),
}
# How many, by grade. Most eyes with mild and moderate retinopathy show a handful (median of 3 microaneurysms in level
# 20, Klein et al., Arch Ophthalmol 1989; 107:1780), a few show dozens.
_MICROANEURYSMS = {1: Spread(1, 12, 1.8), 2: Spread(1, 18, 2.2), 3: Spread(3, 26, 1.6), 4: Spread(1, 22, 1.8)}
_HAEMORRHAGES = {2: Spread(1, 46, 2.6), 3: Spread(4, 56, 1.6), 4: Spread(1, 50, 1.9)}
_EXUDATE_SHARE = {2: 0.45, 3: 0.55, 4: 0.45}  # of eyes that have any
_EXUDATES = Spread(1, 5, 1.8)  # clusters
_COTTON_WOOL_SHARE = {2: 0.20, 3: 0.50, 4: 0.35}
_COTTON_WOOL_SPOTS = Spread(1, 5, 1.6)
_BEYOND_RULE = Spread(1, 6, 1.6)  # haemorrhages a quadrant beyond the twenty of the rule
_IRMA = Spread(1, 4, 1.3)
_SHARE_WITH_NEW_VESSELS = 0.88  # of proliferative eyes; the others have a haemorrhage before the retina alone
_NEW_VESSELS = Spread(1, 3, 1.5)
_KIND_WEIGHTS = (6.0, 1.6, 1.0)  # dots, blots, flames


@dataclass(frozen=True)
class Lesion:
    """One lesion: centre and radius in radii of the field, its quadrant, and the seed of its shape.

    Venous beading names the vein and the point where it begins instead of a radius.
    """

    kind: LesionKind
    x: float
    y: float
    radius: float
    quadrant: int
    seed: int
    vein: int = -1
    first_point: int = 0


class _Plan:
    """Places lesions one after another, apart from each other and from what they must not cover."""

    def __init__(self, eye: Eye, camera: Camera, vessels: Sequence[Vessel], rng: Rng) -> None:
        self.eye, self.camera, self.vessels, self.rng = eye, camera, vessels, rng
        self.lesions: list[Lesion] = []
        points = rng.uniform(-1, 1, (_NUM_CANDIDATES, 2)) * 0.94
        points = points[camera.is_visible(points, margin=0.055)]
        near_disc = np.hypot(*(points - np.array(eye.disc)).T) < 1.35 * eye.disc_radius
        near_fovea = np.hypot(*(points - np.array(eye.fovea)).T) < 0.05
        self._free = points[~near_disc & ~near_fovea]

    def add(self, kind: LesionKind, count: int = 1, *, quadrant: int | None = None) -> None:
        """Add lesions at free places (of a quadrant), as long as there are any."""
        for _ in range(count):
            found = self._free if quadrant is None else self._free[self.eye.quadrants(self._free) == quadrant]
            if kind is LesionKind.PRERETINAL_HAEMORRHAGE:
                found = found[self.camera.is_visible(found, margin=0.2)]
            if len(found):
                self._enter(kind, found[int(self.rng.integers(len(found)))])

    def add_at_disc(self, kind: LesionKind) -> None:
        """Add new vessels on the disc, if it is in the picture."""
        angle = self.rng.uniform(0, 2 * np.pi)
        place = np.array(self.eye.disc) + 0.6 * self.eye.disc_radius * np.array([np.cos(angle), np.sin(angle)])
        if self.camera.is_visible(place[None], margin=0.1)[0]:
            self._enter(kind, place)

    def add_haemorrhages(self, count: int, *, quadrant: int) -> None:
        """Add dots, blots and flames in a mixture of this quadrant's own."""
        weights = self.rng.dirichlet(_KIND_WEIGHTS)
        for kind in self.rng.choice(3, size=count, p=weights):
            self.add(INTRARETINAL_HAEMORRHAGES[kind], quadrant=quadrant)

    @property
    def has_many_haemorrhages(self) -> bool:
        """Whether every quadrant has more of them than the first of the three severe signs asks for."""
        quadrants = [lesion.quadrant for lesion in self.lesions if lesion.kind in INTRARETINAL_HAEMORRHAGES]
        return bool((np.bincount(quadrants, minlength=NUM_QUADRANTS) > SEVERE_HAEMORRHAGES).all())

    def add_beading(self, quadrant: int) -> bool:
        """Bead a wide vein of a quadrant; False where none is to be seen."""
        choices = []
        for index, vessel in enumerate(self.vessels):
            if vessel.is_vein and vessel.depth == 0 and len(vessel.points) > BEADED_POINTS:
                middles = vessel.points[BEADED_POINTS // 2 : -BEADED_POINTS // 2]
                is_good = (self.eye.quadrants(middles) == quadrant) & self.camera.is_visible(middles, margin=0.12)
                is_good &= np.hypot(*(middles - np.array(self.eye.disc)).T) > 0.3
                choices += [(index, int(first)) for first in np.flatnonzero(is_good)]
        if not choices:
            return False
        vein, first = choices[int(self.rng.integers(len(choices)))]
        x, y = self.vessels[vein].points[first + BEADED_POINTS // 2]
        seed = int(self.rng.integers(2**31))
        self.lesions.append(
            Lesion(LesionKind.VENOUS_BEADING, float(x), float(y), 0.0, quadrant, seed, vein=vein, first_point=first)
        )
        return True

    def _enter(self, kind: LesionKind, place: np.ndarray) -> None:
        radius, quadrant = _RADII[kind].draw(self.rng), int(self.eye.quadrants(place[None])[0])
        seed = int(self.rng.integers(2**31))
        self.lesions.append(Lesion(kind, float(place[0]), float(place[1]), radius, quadrant, seed))
        # Room for the next: a lesion must not hide another, or the count would not be what is seen.
        gap = radius + 0.022
        self._free = self._free[np.hypot(*(self._free - place).T) > gap]


def plan_lesions(grade: int, eye: Eye, camera: Camera, vessels: Sequence[Vessel], rng: Rng) -> list[Lesion]:
    """Draw the lesions of an eye of that grade; `grade_from_lesions` of them is that grade."""
    plan = _Plan(eye, camera, vessels, rng)
    if grade == 0:
        return []
    if grade == 1:
        plan.add(LesionKind.MICROANEURYSM, _MICROANEURYSMS[grade].count(rng))
        return plan.lesions
    if grade == 4:
        _add_proliferation(plan, rng)
    if grade == 3 or (grade == 4 and rng.random() < 0.35):
        _add_severe_signs(plan, rng)
    _add_moderate_signs(plan, rng, grade)
    return plan.lesions


def _add_proliferation(plan: _Plan, rng: Rng) -> None:
    """New vessels at the disc or elsewhere, a haemorrhage before the retina, or both."""
    has_vessels = rng.random() < _SHARE_WITH_NEW_VESSELS
    if not has_vessels or rng.random() < 0.2:
        plan.add(LesionKind.PRERETINAL_HAEMORRHAGE)
    if has_vessels:
        if rng.random() < 0.5:
            plan.add_at_disc(LesionKind.NEOVASCULARISATION)
        plan.add(LesionKind.NEOVASCULARISATION, _NEW_VESSELS.count(rng))


def _add_severe_signs(plan: _Plan, rng: Rng) -> None:
    """At least one sign of the 4-2-1 rule."""
    wanted = rng.random(3) < (0.40, 0.45, 0.55)
    if not wanted.any():
        wanted[rng.integers(3)] = True
    has_beading = False
    if wanted[1]:
        order = rng.permutation(NUM_QUADRANTS)
        num_beaded = 0
        for quadrant in order:
            num_beaded += plan.add_beading(int(quadrant)) if num_beaded < 3 else 0
        has_beading = num_beaded >= 2
    if wanted[0]:
        for quadrant in range(NUM_QUADRANTS):
            plan.add_haemorrhages(SEVERE_HAEMORRHAGES + _BEYOND_RULE.count(rng), quadrant=quadrant)
    if wanted[2] or not (has_beading or plan.has_many_haemorrhages):
        plan.add(LesionKind.IRMA, _IRMA.count(rng))


def _add_moderate_signs(plan: _Plan, rng: Rng, grade: int) -> None:
    """Microaneurysms and some of: haemorrhages, exudates, cotton-wool spots, beading in one quadrant."""
    plan.add(LesionKind.MICROANEURYSM, _MICROANEURYSMS[grade].count(rng))
    present = np.bincount([lesion.quadrant for lesion in plan.lesions], minlength=NUM_QUADRANTS)
    if not plan.has_many_haemorrhages:
        # At most 18 a quadrant and one quadrant with fewer: never the first sign of severe by accident.
        spread = rng.dirichlet((1.2,) * NUM_QUADRANTS)
        for quadrant, count in enumerate(np.minimum(18, np.round(_HAEMORRHAGES[grade].draw(rng) * spread)).astype(int)):
            room = max(0, SEVERE_HAEMORRHAGES - 1 - int(present[quadrant]))
            plan.add_haemorrhages(min(int(count), room), quadrant=quadrant)
    if rng.random() < _EXUDATE_SHARE[grade]:
        plan.add(LesionKind.HARD_EXUDATE, _EXUDATES.count(rng))
    if rng.random() < _COTTON_WOOL_SHARE[grade]:
        plan.add(LesionKind.COTTON_WOOL_SPOT, _COTTON_WOOL_SPOTS.count(rng))
    if grade == 2 and rng.random() < 0.12:
        plan.add_beading(int(rng.integers(NUM_QUADRANTS)))
    if grade == 2 and all(lesion.kind is LesionKind.MICROANEURYSM for lesion in plan.lesions):
        plan.add(LesionKind.DOT_HAEMORRHAGE)
