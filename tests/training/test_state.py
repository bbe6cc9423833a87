import math

import numpy as np
import pytest
import torch

from lib.training.inputs import epoch_batches
from lib.training.state import EpochSums, FitState, are_finite, copied, put_back, tuned_tensors
from tests.training.tiny import TinyNetwork


def test_epoch_means_weigh_batches_by_their_images() -> None:
    sums = EpochSums()
    sums.add(loss=1.0, weight=4.0, num_correct=3, num_images=4)
    sums.add(loss=4.0, weight=1.0, num_correct=1, num_images=1)
    # (4 * 1 + 1 * 4) / 5 and 4 / 5; the mean of batch means would say 2.5.
    assert sums.metrics == pytest.approx({"train_loss": 1.6, "train_accuracy": 0.8, "gradient_norm": 0.0})


def test_state_survives_a_checkpoint() -> None:
    state = FitState(step=5, batches_done=2)
    state.sums.add(1.0, 2.0, 1, 2)
    assert FitState.from_dict(state.to_dict()) == state
    assert state.best_loss == math.inf


def test_patience_counts_epochs_after_the_best() -> None:
    state = FitState()
    for loss in (1.0, 0.5, 0.7, 0.6):
        state.end_epoch({"val_loss": loss})
    assert (state.best_epoch, state.epoch) == (2, 5)
    assert state.is_complete(epochs=10, patience=2)
    assert not state.is_complete(epochs=10, patience=3)
    assert state.is_complete(epochs=4, patience=100)


def test_put_back_undoes_changes_and_refuses_foreign_tensors() -> None:
    network = TinyNetwork()
    kept = copied(tuned_tensors(network))
    with torch.no_grad():
        network.head[1].weight.add_(1.0)
    put_back(network, kept)
    assert torch.equal(network.head[1].weight, kept["head.1.weight"])
    del kept["head.1.weight"]
    with pytest.raises(ValueError, match=r"head\.1\.weight"):
        put_back(network, kept)


def test_batches_are_a_shuffle_without_a_small_rest() -> None:
    batches = epoch_batches(np.arange(10, 19), batch_size=4, seed=1)
    assert [len(batch) for batch in batches] == [3, 3, 3]  # not 4, 4, 1
    assert sorted(np.concatenate(batches)) == list(range(10, 19))
    same = epoch_batches(np.arange(10, 19), batch_size=4, seed=1)
    other = epoch_batches(np.arange(10, 19), batch_size=4, seed=2)
    assert np.array_equal(np.concatenate(batches), np.concatenate(same))
    assert not np.array_equal(np.concatenate(batches), np.concatenate(other))


def test_weights_that_are_not_numbers_are_seen() -> None:
    assert are_finite({"a": torch.ones(2), "b": torch.tensor(3)})
    assert not are_finite({"a": torch.tensor([1.0, float("nan")])})
    assert not are_finite({"a": torch.tensor([1.0, float("inf")])})
