import dataclasses

import numpy as np
import pytest
import torch

from lib.data.augmentation import POLICIES, drawn_views
from lib.errors import Stopped
from lib.training.inputs import CachedInputs, run_stages
from tests.training.tiny import TinyNetwork, tiny_data


def test_images_are_flipped_by_seed_epoch_and_image_alone() -> None:
    inputs = tiny_data(8).inputs
    rows = np.array([5, 2, 7])
    plain, augmented = inputs.for_evaluation(rows), inputs.for_training(rows, epoch=3)
    drawn = drawn_views([inputs.image_ids[row] for row in rows], 2, seed=7, epoch=3)
    for row in range(3):
        assert torch.equal(augmented[row], plain[row].flip(-1) if drawn[row] else plain[row])
    assert torch.equal(augmented[1:2], inputs.for_training(np.array([2]), epoch=3))
    assert not torch.equal(tiny_data(8).inputs.for_training(np.arange(8), 1), inputs.for_training(np.arange(8), 2))


def test_without_augmentation_training_inputs_are_the_images() -> None:
    inputs = tiny_data(4, flips=False).inputs
    assert torch.equal(inputs.for_training(np.arange(4), 1), inputs.for_evaluation(np.arange(4)))


def test_cached_views_follow_the_same_draw() -> None:
    image_ids = [f"image{row}" for row in range(8)]
    plain = np.arange(8, dtype=np.float32)[:, None]
    inputs = CachedInputs(plain, (plain, plain + 100), image_ids, seed=7)
    rows = np.array([5, 2, 7, 0])
    drawn = drawn_views([image_ids[row] for row in rows], 2, seed=7, epoch=3)
    assert inputs.for_training(rows, 3)[:, 0].tolist() == [
        row + 100 * flag for row, flag in zip(rows, drawn, strict=True)
    ]
    assert inputs.for_evaluation(rows)[:, 0].tolist() == rows.tolist()
    assert plain[:, 0].tolist() == list(range(8))  # the cache itself is never written


@pytest.mark.parametrize("policy", POLICIES.names)
def test_every_policy_draws_each_image_by_seed_epoch_and_image_alone(policy: str) -> None:
    inputs = dataclasses.replace(tiny_data(8).inputs, augmentation=policy)
    rows = np.array([5, 2, 7])
    batch = inputs.for_training(rows, epoch=3)
    assert batch.shape == (3, 3, 32, 32)
    assert torch.allclose(batch[1:2], inputs.for_training(np.array([2]), epoch=3), atol=1e-5)
    is_new = not torch.equal(inputs.for_training(np.arange(8), 1), inputs.for_training(np.arange(8), 2))
    assert is_new == (policy != "none")


def test_stage_by_stage_equals_the_whole_network() -> None:
    network = TinyNetwork().eval()
    batch = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(run_stages(network, batch, lambda: False), network(batch))
        low = network.forward_until(batch, "low")
        assert torch.equal(run_stages(network, low, lambda: False, after="low"), network(batch))


def test_stop_is_heard_in_the_backward_pass() -> None:
    network, asked = TinyNetwork(), [False]
    logits = run_stages(network, torch.randn(2, 3, 32, 32), lambda: asked[0])
    asked[0] = True
    with pytest.raises(Stopped):
        logits.sum().backward()
