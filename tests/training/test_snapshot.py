import dataclasses
import random

import numpy as np
import pytest
import torch

from lib.errors import UserError
from lib.training.checkpoints import CheckpointStore
from lib.training.config import TrainConfig
from lib.training.loop import fit
from lib.training.snapshot import (
    are_finite,
    check_config,
    config_hash,
    random_states,
    restore_random_states,
)
from tests.training.tiny import TinyNetwork, tiny_config, tiny_data


def test_all_random_generators_go_on_where_they_were(tmp_path) -> None:
    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), float(torch.rand(1))]

    draw()
    store = CheckpointStore(tmp_path)
    store.save({"random": random_states()})
    expected = draw()
    draw()
    content = store.load()
    assert content is not None
    restore_random_states(content["random"])
    assert draw() == expected


def test_a_checkpoint_holds_all_that_the_rest_depends_on(tmp_path) -> None:
    store = CheckpointStore(tmp_path, interval_s=0, max_saving_share=1e9)
    fit(TinyNetwork(), tiny_data(), tiny_config(epochs=2, schedule="plateau"), checkpoints=store)
    content = store.load()
    assert content is not None
    assert {"tuned", "best", "optimizer", "schedule", "scaler", "random", "state", "config_hash"} <= set(content)
    assert (content["state"]["epoch"], content["state"]["batches_done"], content["state"]["step"]) == (3, 0, 4)
    assert content["schedule"]["name"] == "plateau"
    assert content["scaler"] is None
    assert set(content["random"]) == {"python", "numpy", "torch", "cuda", "mps"}


def test_a_checkpoint_of_another_config_is_refused_in_a_sentence(tmp_path) -> None:
    store = CheckpointStore(tmp_path, interval_s=0)
    fit(TinyNetwork(), tiny_data(), tiny_config(epochs=1), checkpoints=store)
    with pytest.raises(UserError, match=r"its learning_rate is 0.02, here it is 0.03\. Start a new run"):
        fit(TinyNetwork(), tiny_data(), tiny_config(epochs=1, learning_rate=0.03), checkpoints=store)
    fit(TinyNetwork(), tiny_data(), tiny_config(epochs=1, device="cpu"), checkpoints=store)  # another machine


def test_settings_that_an_update_brought_do_not_refuse_and_lost_ones_do(tmp_path) -> None:
    config = tiny_config()
    described = {
        key: value for key, value in config.to_dict().items() if key not in ("mixup", "device", "format_version")
    }
    check_config({"config": described, "config_hash": "of the older version"}, config, tmp_path)
    check_config({}, config, tmp_path)  # a checkpoint of the first format
    with pytest.raises(UserError, match="the setting flux"):
        check_config({"config": {**described, "flux": 1}, "config_hash": "other"}, config, tmp_path)


def test_every_setting_but_the_device_counts_in_the_hash() -> None:
    config = tiny_config()
    other: dict = {"device": "cuda", "format_version": 0}
    assert config_hash(dataclasses.replace(config, **other)) == config_hash(config)
    assert config_hash(dataclasses.replace(config, seed=4)) != config_hash(config)
    assert isinstance(config, TrainConfig)


def test_weights_that_are_not_numbers_are_seen() -> None:
    assert are_finite({"a": torch.ones(2), "b": torch.tensor(3)})
    assert not are_finite({"a": torch.tensor([1.0, float("nan")])})
    assert not are_finite({"a": torch.tensor([1.0, float("inf")])})
