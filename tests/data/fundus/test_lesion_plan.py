from functools import lru_cache

import numpy as np
import pytest

from lib.data.fundus.anatomy import choose_eye
from lib.data.fundus.camera import choose_camera
from lib.data.fundus.lesion_plan import plan_lesions
from lib.data.fundus.random_streams import component_rng
from lib.data.fundus.severity_scale import LesionKind, grade_from_lesions
from lib.data.fundus.vessels import grow_vessels


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
                assert lesion.quadrant == eye.quadrant(lesion.x, lesion.y)


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
