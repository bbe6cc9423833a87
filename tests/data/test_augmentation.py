import numpy as np
import pytest
import torch

from lib.data.augmentation import (
    AS_IT_IS,
    POLICIES,
    View,
    drawn_views,
    epoch_parameters,
    finite_views,
    turned,
    view_parameters,
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
