"""Continuous changes, each against what it must do by hand."""

import math

import numpy as np
import pytest
import torch

from lib.data.warps import Warp, WarpParameters, draw_parameters, warp_images

STILL = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
PLAIN = np.concatenate([np.eye(3), np.zeros((3, 1))], axis=1)


def _warped(images: torch.Tensor, pose: np.ndarray = STILL, colours: np.ndarray = PLAIN) -> torch.Tensor:
    return warp_images(images, [WarpParameters(pose, colours)] * len(images), size_px=images.shape[-1])


def test_a_warp_without_ranges_changes_nothing():
    images = torch.rand(2, 3, 8, 8)
    drawn = [draw_parameters(Warp(), np.random.default_rng(seed)) for seed in range(2)]
    assert torch.allclose(warp_images(images, drawn, size_px=8), images, atol=1e-5)


def test_a_mirror_and_a_quarter_turn_move_every_pixel_where_they_should():
    images = torch.rand(1, 3, 8, 8)
    mirrored = _warped(images, STILL * [[-1], [1]])
    assert torch.allclose(mirrored, images.flip(-1), atol=1e-5)
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    assert torch.allclose(_warped(images, quarter), torch.rot90(images, 1, (2, 3)), atol=1e-5)


def test_half_the_brightness_is_half_of_every_value():
    images = torch.rand(1, 3, 8, 8)
    drawn = draw_parameters(Warp(brightness=(0.5, 0.5)), np.random.default_rng(0))
    assert torch.allclose(warp_images(images, [drawn], size_px=8), images / 2, atol=1e-5)


def test_hue_and_saturation_leave_grey_grey():
    grey = torch.rand(1, 1, 8, 8).expand(1, 3, 8, 8)
    drawn = draw_parameters(Warp(saturation=0.8, hue=0.5), np.random.default_rng(3))
    assert torch.allclose(warp_images(grey, [drawn], size_px=8), grey, atol=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_draws_stay_inside_their_ranges(seed: int):
    warp = Warp(min_area=0.35)
    pose = draw_parameters(warp, np.random.default_rng(seed)).pose
    width, height = math.hypot(*pose[:, 0]), math.hypot(*pose[:, 1])
    assert width * height * 4 / 3 >= 0.35 * 0.99
    assert width <= 1
    assert height <= 1
    # A crop never looks beyond the image.
    assert abs(pose[0, 2]) + width <= 1 + 1e-9
    assert abs(pose[1, 2]) + height <= 1 + 1e-9


def test_one_more_range_does_not_change_the_others():
    turned = draw_parameters(Warp(rotation_deg=20), np.random.default_rng(1))
    also_brighter = draw_parameters(Warp(rotation_deg=20, brightness=(0.1, 0.7)), np.random.default_rng(1))
    assert np.array_equal(turned.pose, also_brighter.pose)


def test_draws_and_images_must_agree():
    with pytest.raises(ValueError, match="1 draws for a batch of 2"):
        warp_images(torch.zeros(2, 3, 4, 4), [WarpParameters(STILL, PLAIN)], size_px=4)
