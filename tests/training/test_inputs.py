import dataclasses

import numpy as np
import pytest
import torch

from lib.data.augmentation import POLICIES, drawn_views
from lib.errors import Stopped
from lib.training.inputs import (
    BatchTransform,
    CachedInputs,
    ImageInputs,
    augmented_views,
    predict_features,
    predict_logits,
    run_stages,
)
from tests.training.tiny import TinyNetwork, colour_images, tiny_data


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


def test_logits_in_the_order_of_rows_whatever_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    network, data = TinyNetwork().train(), tiny_data(7)
    rows = np.array([6, 0, 3, 2, 5])
    whole = predict_logits(network, data.inputs, rows)
    monkeypatch.setattr("lib.training.inputs.EVALUATION_BATCH", 2)
    told: list[int] = []
    parts = predict_logits(network, data.inputs, rows, on_batch=told.append)
    assert told == [2, 2, 1]
    assert parts == pytest.approx(whole, abs=1e-5)
    assert not network.training
    with torch.no_grad():
        assert whole == pytest.approx(network(data.inputs.for_evaluation(rows)), abs=1e-5)


def test_features_from_images_activations_and_cache_agree() -> None:
    network, data = TinyNetwork().eval(), tiny_data(6)
    rows = np.array([4, 1])
    from_images = predict_features(network, data.inputs, rows)
    with torch.no_grad():
        low = network.forward_until(data.inputs.for_evaluation(np.arange(6)), "low").numpy()
    ids = data.inputs.image_ids
    assert predict_features(network, CachedInputs(low, (), ids, 0, "low"), rows) == pytest.approx(from_images, abs=1e-6)
    pooled = predict_features(network, data.inputs, np.arange(6))
    assert np.array_equal(predict_features(network, CachedInputs(pooled, (), ids, 0), rows), pooled[rows])


def test_stop_ends_prediction() -> None:
    for predict in (predict_logits, predict_features):
        with pytest.raises(Stopped):
            predict(TinyNetwork(), tiny_data(4).inputs, np.arange(4), should_stop=lambda: True)


@pytest.mark.parametrize("policy", ["rotations", "modern"])
def test_preview_is_what_training_sees(policy: str) -> None:
    pixels, _ = colour_images(3)
    names = ["a", "b", "c"]
    shown = augmented_views(pixels, names, policy, num_views=None, seed=4, num_epochs=3, size_px=32)
    assert (shown.shape, shown.dtype) == ((3, 3, 32, 32, 3), np.uint8)
    inputs = ImageInputs(pixels, names, BatchTransform(32, (0.0,) * 3, (1.0,) * 3), 4, policy)
    for epoch in (1, 2, 3):
        expected = inputs.for_training(np.arange(3), epoch).permute(0, 2, 3, 1).numpy() * 255
        assert np.abs(shown[:, epoch - 1] - expected).max() <= 0.51


def test_kept_views_repeat_over_the_epochs() -> None:
    pixels, _ = colour_images(2)
    shown = augmented_views(pixels, ["a", "b"], "modern", num_views=2, seed=0, num_epochs=12, size_px=32)
    for image in shown:
        assert len({view.tobytes() for view in image}) == 2
