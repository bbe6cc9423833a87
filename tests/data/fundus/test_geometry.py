"""Places in a frame, worked out by hand; what is drawn of cameras and eyes."""

from collections import Counter

import numpy as np
import pytest

from lib.data.fundus.geometry import choose_camera, choose_eye, field_mask
from lib.data.fundus.photograph import FundusCase
from tests.data.fundus.frames import camera_of, eye_of


def test_places_are_counted_in_radii_from_the_fields_centre():
    camera = camera_of(center_x=60.0)
    x, y = camera.grid()
    assert (x.shape, y.shape) == ((1, 100), (100, 1))
    assert (x[0, 0], y[0, 0], x[0, 99]) == pytest.approx((-59.5 / 40, -49.5 / 40, 39.5 / 40))
    assert camera.to_pixels(np.array([[0.0, 0.0], [0.5, -1.0]])).tolist() == [[60.0, 50.0], [80.0, 10.0]]
    small_x, small_y = camera.grid((10, 25))  # a pixel of it is 4 wide and 10 high
    assert (small_x.shape, small_y.shape) == ((1, 25), (10, 1))
    assert (small_x[0, 0], small_y[9, 0]) == pytest.approx(((2 - 60) / 40, (95 - 50) / 40))


def test_a_window_is_cut_off_at_the_frame_and_none_beside_it():
    camera = camera_of()
    assert camera.window((0.0, 0.0), 0.1) == (slice(46, 54), slice(46, 54))
    assert camera.window((-1.25, 0.5), 0.1) == (slice(66, 74), slice(0, 4))
    assert camera.window((2.0, 0.0), 0.1) is None
    assert camera.window((0.0, -2.0), 0.1) is None


def test_what_is_seen_lies_in_the_field_and_in_the_frame_by_a_margin():
    cut = camera_of(height=60, center_y=30.0)  # the field is cut off 0.75 above and below
    points = np.array([[0.0, 0.0], [0.95, 0.0], [1.05, 0.0], [0.0, 0.7], [0.0, 0.8], [0.0, -0.8]])
    assert cut.is_visible(points).tolist() == [True, True, False, True, False, False]
    assert cut.is_visible(points, margin=0.1).tolist() == [True, False, False, False, False, False]


def test_the_field_lets_light_through_with_a_soft_edge():
    light = field_mask(camera_of())
    assert light.shape == (100, 100)
    assert (light[50, 50], light[0, 0], light[50, 5]) == (1, 0, 0)
    # Of the area of a circle of 40 px; the edge is soft over two pixels.
    assert light.sum() == pytest.approx(np.pi * 40**2, rel=0.005)
    assert 0 < light[50, 89] < 1


def test_a_square_notch_adds_light_and_a_triangle_takes_some_away():
    plain = field_mask(camera_of())
    square = field_mask(camera_of(notch_angle=0.0, notch_kind="square"))
    triangle = field_mask(camera_of(notch_angle=0.0, notch_kind="triangle"))
    assert (square >= plain).all()
    assert (triangle <= plain).all()
    for notched in (square, triangle):
        rows, columns = np.nonzero(notched != plain)
        assert rows.size
        assert columns.min() >= 50 + 0.9 * 40 - 1  # to the right, where it was asked for
        assert abs(rows - 49.5).max() < 5


def test_quadrants_and_places_by_the_disc_mirror_each_other_in_both_eyes():
    right, left = eye_of(), eye_of(is_right=False, disc=(-0.4, -0.1), fovea=(0.3, 0.0))
    points = np.array([[-0.5, -0.2], [0.0, -0.2], [-0.5, 0.2], [0.0, 0.2]])
    assert right.quadrants(points).tolist() == [0, 1, 2, 3]
    assert left.quadrants(points * (-1, 1)).tolist() == [0, 1, 2, 3]
    temporal, upward = np.array([0.1, 0.0]), np.array([0.0, 0.2])
    assert right.from_disc(temporal, upward) == pytest.approx(np.array([[0.3, -0.1], [0.4, -0.3]]))
    assert left.from_disc(temporal, upward) == pytest.approx(np.array([[-0.3, -0.1], [-0.4, -0.3]]))


def test_both_eyes_of_a_patient_mirror_each_other():
    left, right = (
        choose_eye(case.shared_rng("anatomy"), case.rng("view"), is_right=case.is_right)
        for case in (FundusCase(0, 5, False, 0), FundusCase(0, 5, True, 0))
    )
    assert left.disc[0] < left.fovea[0]
    assert right.disc[0] > right.fovea[0]
    assert (left.disc_radius, left.cup_share, left.macula_radius) == (
        right.disc_radius, right.cup_share, right.macula_radius,
    )  # fmt: skip
    places = [np.array([[eye.fovea[0] + side, -0.5]]) for eye, side in ((left, -0.1), (right, 0.1))]
    assert left.quadrants(places[0]) == right.quadrants(places[1]) == 1


def test_disc_and_fovea_lie_apart_as_in_eyes_and_in_the_field():
    rng = np.random.default_rng(0)
    for number in range(200):
        eye = choose_eye(rng, rng, is_right=bool(number % 2))
        assert 0.64 <= np.hypot(*np.subtract(eye.disc, eye.fovea)) <= 0.74
        assert (eye.disc[0] > eye.fovea[0]) == eye.is_right
        assert camera_of().is_visible(np.array([eye.fovea]))[0]
    tilts = [choose_eye(rng, rng, is_right=True) for _ in range(200)]
    below = [np.degrees(np.arctan2(eye.fovea[1] - eye.disc[1], eye.disc[0] - eye.fovea[0])) for eye in tilts]
    assert np.mean(below) == pytest.approx(6.5, abs=1)


def test_cameras_have_the_frames_of_their_kinds_in_their_shares():
    rng = np.random.default_rng(0)
    cameras = [choose_camera(rng, 120) for _ in range(600)]
    counts = Counter(camera.name for camera in cameras)
    assert {name: count / 600 for name, count in counts.items()} == pytest.approx(
        {"round": 0.31, "cut": 0.18, "zoomed": 0.47, "wide": 0.04}, abs=0.06
    )
    for camera in cameras:
        height, width = camera.shape
        assert width == (160 if camera.name == "wide" else 120)
        assert height == 120 or (camera.name == "cut" and 0.65 * 120 - 1 < height < 0.87 * 120 + 1)
        assert (camera.radius_px > 60) == (camera.name == "zoomed")
        assert (camera.notch_angle is None) == (camera.notch_kind == "")
