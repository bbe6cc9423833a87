import numpy as np

from lib.data.fundus.drawing import component_rng
from lib.data.fundus.geometry import choose_eye
from lib.data.fundus.vessels import Vessel, grow_vessels, vein_narrowing


def _vessels(patient: int) -> list[Vessel]:
    eye = choose_eye(component_rng(0, patient, 2, "anatomy"), component_rng(0, patient, 0, "view"), is_right=False)
    return grow_vessels(eye, component_rng(0, patient, 0, "vessels"))


def test_arteries_are_two_thirds_as_wide_as_veins():
    ratios = []
    for patient in range(12):
        trunks = [vessel for vessel in _vessels(patient) if vessel.depth == 0]
        arteries, veins = (
            np.mean([vessel.widths[0] for vessel in trunks if vessel.is_vein == is_vein]) for is_vein in (False, True)
        )
        ratios.append(arteries / veins)
    assert min(ratios) > 0.6
    assert max(ratios) < 0.82
    assert abs(np.mean(ratios) - 0.70) < 0.05


def test_veins_are_as_wide_at_the_disc_as_measured_and_branches_are_thinner():
    for patient in range(4):
        vessels = _vessels(patient)
        widest = max(vessel.widths[0] for vessel in vessels if vessel.is_vein) * 6500
        assert 115 < widest < 185  # micrometres
        means = [np.mean([vessel.widths[0] for vessel in vessels if vessel.depth == depth]) for depth in range(4)]
        assert means == sorted(means, reverse=True)


def test_small_vessels_wind_more_than_trunks():
    """Winding: length along the vessel beside the straight way, over stretches of the same length."""

    def winding(depth: int) -> float:
        found = []
        for patient in range(6):
            for vessel in _vessels(patient):
                if vessel.depth == depth and len(vessel.points) > 16:
                    points = vessel.points[:16]
                    length = np.hypot(*np.diff(points, axis=0).T).sum()
                    found.append(length / np.hypot(*(points[-1] - points[0])))
        return float(np.mean(found))

    assert winding(2) > winding(0) > 1


def test_an_artery_narrows_the_vein_that_it_crosses_and_not_the_one_beside_it():
    line = np.linspace(-0.4, 0.4, 62)
    flat, upright = np.stack([line, 0 * line], axis=1), np.stack([0 * line, line], axis=1)
    vein, artery = Vessel(flat, np.full(62, 0.02), True, 0), Vessel(upright, np.full(62, 0.014), False, 0)
    factors = vein_narrowing([vein, artery], 0.4)[0]
    assert factors.argmin() in (30, 31)
    assert 0.6 <= factors.min() < 0.65
    assert factors[0] == factors[-1] == 1
    beside = Vessel(flat + np.array([0, 0.01]), np.full(62, 0.014), False, 0)
    assert vein_narrowing([vein, beside], 0.4)[0].min() == 1
    assert vein_narrowing([vein], 0.4) == {}
