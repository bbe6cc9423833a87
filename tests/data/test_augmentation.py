import math

import numpy as np
import pytest
import torch

from lib.data.augmentation import (
    AS_IT_IS,
    POLICIES,
    View,
    Warp,
    WarpParameters,
    draw_parameters,
    drawn_views,
    epoch_parameters,
    finite_views,
    turned,
    view_parameters,
    warp_images,
)

IDS = [f"{number:016x}" for number in range(400)]


def test_views_depend_on_seed_epoch_and_image_only():
    views = drawn_views(IDS, 2, seed=0, epoch=1)
    assert (drawn_views(IDS[::-1], 2, seed=0, epoch=1)[::-1] == views).all()
    assert (drawn_views(IDS[100:110], 2, seed=0, epoch=1) == views[100:110]).all()
    assert (drawn_views(IDS, 2, seed=0, epoch=2) != views).any()
    assert (drawn_views(IDS, 2, seed=1, epoch=1) != views).any()
    assert 0.4 < views.mean() < 0.6


def test_all_eight_ways_to_lay_a_square_are_different_and_worked_out_by_hand():
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(8, 1, 2, 2).clone()
    laid = [tuple(one.flatten().int().tolist()) for one in turned(image, range(8))]
    assert laid == [
        (1, 2, 3, 4), (2, 4, 1, 3), (4, 3, 2, 1), (3, 1, 4, 2),
        (2, 1, 4, 3), (1, 3, 2, 4), (3, 4, 1, 2), (4, 2, 3, 1),
    ]  # fmt: skip
    assert image[5].flatten().tolist() == [1, 2, 3, 4]  # the batch given stays as it was


def test_elements_and_batch_must_agree():
    with pytest.raises(ValueError, match="3 elements for a batch of 2"):
        turned(torch.zeros(2, 3, 4, 4), [0, 1, 2])


def test_finite_policies_name_their_views():
    assert finite_views(POLICIES.get("none")) == (AS_IT_IS,)
    assert [view.key for view in finite_views(POLICIES.get("flip"))] == ["", "flipped"]
    assert len({view.key for view in finite_views(POLICIES.get("dihedral"))}) == 8
    assert finite_views(POLICIES.get("modern"), num_views=2, seed=5)[1] == View(policy="modern", number=1, seed=5)
    with pytest.raises(ValueError, match="endlessly many"):
        finite_views(POLICIES.get("modern"))


def test_turns_keep_every_colour():
    batch = torch.rand(4, 3, 6, 6)
    for before, after in zip(batch, turned(batch, POLICIES.get("rotations").elements), strict=True):
        assert torch.equal(before.flatten(1).sort().values, after.flatten(1).sort().values)


def test_a_seeded_view_is_not_an_epochs_draw():
    policy = POLICIES.get("tutorial")
    by_epoch = epoch_parameters(policy, IDS[:3], seed=0, epoch=0)
    by_view = view_parameters(View(policy="tutorial", number=0, seed=0), IDS[:3])
    assert not np.allclose(by_epoch[0].pose, by_view[0].pose)
    assert np.array_equal(by_view[2].pose, view_parameters(View(policy="tutorial"), IDS[2:3])[0].pose)


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
