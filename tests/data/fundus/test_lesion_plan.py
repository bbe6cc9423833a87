from functools import lru_cache

import numpy as np
import pytest

from lib.data.fundus.drawing import component_rng
from lib.data.fundus.geometry import choose_camera, choose_eye
from lib.data.fundus.lesion_plan import Spread, plan_lesions
from lib.data.fundus.vessels import grow_vessels
from lib.data.grades import LesionKind, grade_from_lesions


@lru_cache(maxsize=1)
def _eyes():
    found = []
    for patient in range(6):
        camera = choose_camera(component_rng(0, patient, 2, "camera"), 512)
        shared, own = component_rng(0, patient, 2, "anatomy"), component_rng(0, patient, 0, "view")
        eye = choose_eye(shared, own, is_right=False)
        vessels = grow_vessels(eye, component_rng(0, patient, 0, "vessels"))
        found.append((eye, camera, vessels))
    return found


def _plans(grade: int, count: int):
    for number in range(count):
        eye, camera, vessels = _eyes()[number % 6]
        yield plan_lesions(grade, eye, camera, vessels, component_rng(0, number, 0, "lesions")), eye, camera


@pytest.mark.parametrize("grade", range(5))
def test_the_rules_give_the_drawn_grade_back(grade: int):
    for lesions, eye, _ in _plans(grade, 24):
        assert grade_from_lesions((lesion.kind, lesion.quadrant) for lesion in lesions) == grade
        for lesion in lesions:
            if lesion.kind is not LesionKind.VENOUS_BEADING:
                assert lesion.quadrant == eye.quadrants(np.array([[lesion.x, lesion.y]]))[0]


def test_most_lesions_are_few_and_small():
    """Radii are shares of 6.5 mm: a microaneurysm is below 125 um wide, a cotton-wool spot half a disc at most."""
    counts = {1: [], 2: []}
    radii = []
    for grade, numbers in counts.items():
        for lesions, _, _ in _plans(grade, 60):
            numbers.append(len(lesions))
            radii += [lesion.radius for lesion in lesions if lesion.kind is LesionKind.MICROANEURYSM]
            for lesion in lesions:
                if lesion.kind is LesionKind.COTTON_WOOL_SPOT:
                    assert lesion.radius * 6.5 <= 0.45 * 1.8 / 2 * 1.01
    assert 2 * max(radii) * 6500 < 125
    assert np.median(radii) < 0.5 * (min(radii) + max(radii))
    assert 2 <= np.median(counts[1]) <= 6
    assert 5 <= np.median(counts[2]) <= 25
    assert max(counts[2]) > 30  # and a few show many


def test_a_spread_crowds_at_its_lower_limit():
    rng = np.random.default_rng(0)
    draws = [Spread(2.0, 10.0, 2.0).draw(rng) for _ in range(4000)]
    assert min(draws) >= 2
    assert max(draws) <= 10
    # The median of u squared is a quarter: 2 + 8 / 4.
    assert np.median(draws) == pytest.approx(4, abs=0.25)
    counts = [Spread(1, 3, 1.0).count(rng) for _ in range(3000)]
    assert [counts.count(number) / 3000 for number in (1, 2, 3)] == pytest.approx([1 / 3] * 3, abs=0.04)


def test_every_lesion_lies_in_the_picture():
    for grade in (2, 3, 4):
        for lesions, _, camera in _plans(grade, 6):
            places = np.array([(lesion.x, lesion.y) for lesion in lesions])
            assert camera.is_visible(places).all()


def test_severe_eyes_show_each_sign_of_the_rule_alone_and_together():
    beaded, irma, bled = [], [], []
    for lesions, _, _ in _plans(3, 48):
        kinds = {lesion.kind for lesion in lesions}
        beaded.append(LesionKind.VENOUS_BEADING in kinds)
        irma.append(LesionKind.IRMA in kinds)
        bled.append(sum(lesion.kind in (2, 3, 4) for lesion in lesions) > 80)
    for sign in (beaded, irma, bled):
        assert 0.2 < np.mean(sign) < 0.8
