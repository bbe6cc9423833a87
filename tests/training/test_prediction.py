import numpy as np
import pytest
import torch

from lib.errors import Stopped
from lib.training import prediction
from lib.training.inputs import CachedInputs
from lib.training.prediction import predict_features, predict_logits
from tests.training.tiny import TinyNetwork, tiny_data


def test_logits_in_the_order_of_rows_whatever_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    network, data = TinyNetwork().train(), tiny_data(7)
    rows = np.array([6, 0, 3, 2, 5])
    whole = predict_logits(network, data.inputs, rows)
    monkeypatch.setattr(prediction, "EVALUATION_BATCH", 2)
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
