"""The retina below vessels and lesions: where it is bright, where dark, and what both eyes have in common."""

import numpy as np
import pytest

from lib.data.fundus import retina
from lib.data.fundus.retina import paint_disc, paint_retina
from tests.data.fundus.frames import camera_of, eye_of

CAMERA, EYE = camera_of(), eye_of()


def around(planes: np.ndarray, place: tuple[float, float], reach: float) -> np.ndarray:
    """Mean of each channel within `reach` of a place."""
    x, y = CAMERA.grid()
    is_near = np.hypot(x - place[0], y - place[1]) < reach
    return planes[:, is_near].mean(axis=1)


def painted(seed: int = 0, **changes) -> np.ndarray:
    return paint_retina(CAMERA, eye_of(**changes), np.random.default_rng(seed), np.random.default_rng([seed, 1]))


def test_the_disc_is_the_brightest_and_the_fovea_darker_than_the_retina_beside_it():
    found = np.mean([painted(seed) for seed in range(12)], axis=0)
    assert (found.shape, found.dtype) == ((3, 100, 100), np.float32)
    assert np.isfinite(found).all()
    disc, fovea = around(found, EYE.disc, 0.12), around(found, EYE.fovea, 0.06)
    beside = around(found, (EYE.fovea[0], 0.45), 0.1)
    assert (disc > 1.25 * beside).all()
    # The macula's pigment absorbs blue most, red least.
    loss = 1 - fovea / beside
    assert 0 < loss[0] < loss[1] < loss[2]


def test_the_disc_changes_nothing_far_from_it_and_nothing_where_it_is_out_of_the_frame():
    planes = np.ones((3, 100, 100), dtype=np.float32)
    paint_disc(planes, CAMERA, EYE, np.random.default_rng(0))
    x, y = CAMERA.grid()
    distance = np.hypot(x - EYE.disc[0], y - EYE.disc[1])
    assert (planes[:, distance < 0.6 * EYE.disc_radius] > 1.1).all()
    assert (planes[:, distance > 3 * EYE.disc_radius] == 1).all()
    before = planes.copy()
    paint_disc(planes, CAMERA, eye_of(disc=(2.0, 0.0)), np.random.default_rng(0))
    assert np.array_equal(planes, before)


def test_the_cup_is_paler_than_the_rim():
    planes = np.ones((3, 100, 100), dtype=np.float32)
    paint_disc(planes, CAMERA, eye_of(disc_radius=0.5, disc=(0.0, 0.0)), np.random.default_rng(1))
    x, y = CAMERA.grid()
    distance = np.hypot(x + 0.05, y) / 0.5 + 0 * x
    cup, rim = (planes[:, where].mean(axis=1) for where in (distance < 0.25, (distance > 0.7) & (distance < 0.9)))
    assert (cup[1:] - 1 > 1.25 * (rim[1:] - 1)).all()  # in green and blue; the rim is nearly as red
    assert cup[0] > rim[0]


def test_a_disc_that_is_hidden_in_the_frame_leaves_later_draws_as_they_are():
    """So that a photograph's other parts do not depend on where its disc lies."""
    drawn = []
    for disc in ((0.4, -0.1), (2.0, 0.0)):
        rng = np.random.default_rng(0)
        paint_disc(np.ones((3, 100, 100), dtype=np.float32), CAMERA, eye_of(disc=disc), rng)
        drawn.append(rng.random())
    assert drawn[0] == drawn[1]


def test_the_same_draws_give_the_same_retina_and_either_stream_changes_it():
    first = painted(3)
    assert np.array_equal(first, painted(3))
    own, shared = (np.random.default_rng(number) for number in (8, 3))
    other_view = paint_retina(CAMERA, EYE, shared, own)
    other_eye = paint_retina(CAMERA, EYE, np.random.default_rng(4), np.random.default_rng([3, 1]))
    assert not np.array_equal(first, other_view)
    assert not np.array_equal(first, other_eye)


@pytest.mark.parametrize(("youth", "share"), [(1.0, 0.0), (0.0, 0.5)])
def test_drusen_are_pale_in_half_of_the_eldest_and_in_none_of_the_young(youth: float, share: float):
    found = [retina._drusen(CAMERA, EYE, (50, 50), np.random.default_rng(seed), youth=youth) for seed in range(60)]
    shown = [one for one in found if one is not None]
    assert len(shown) / 60 == pytest.approx(share, abs=0.15)
    assert all(one.shape == (50, 50) and one.min() >= 0 and one.max() > 0 for one in shown)


def test_a_frame_of_few_pixels_is_painted_too():
    small = camera_of(width=12, height=10, center_x=6.0, center_y=5.0, radius_px=5.0)
    planes = paint_retina(small, EYE, np.random.default_rng(0), np.random.default_rng(1))
    assert planes.shape == (3, 10, 12)
    assert np.isfinite(planes).all()
