import dataclasses
import errno
import json
import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.errors import UserError, is_disk_full
from lib.training import checkpoints
from lib.training.checkpoints import (
    CheckpointStore,
    check_config,
    config_hash,
    random_states,
    restore_random_states,
)
from lib.training.config import TrainConfig
from lib.training.trainer import Trainer
from tests.training.tiny import TinyNetwork, tiny_config, tiny_data


def test_newest_of_two_is_loaded_and_older_ones_are_forgotten(tmp_path) -> None:
    store = CheckpointStore(tmp_path)
    assert store.load() is None
    for step in range(4):
        store.save({"step": step, "tensor": torch.full((2,), float(step))})
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["checkpoint-000003.pt", "checkpoint-000004.pt"]
    content = CheckpointStore(tmp_path).load()
    assert content is not None
    assert content["step"] == 3
    assert torch.equal(content["tensor"], torch.full((2,), 3.0))


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def test_damaged_checkpoint_gives_way_to_the_one_before_and_says_so(tmp_path) -> None:
    store = CheckpointStore(tmp_path)
    oldest = store.save({"step": 1})
    damage(store.save({"step": 2}))
    content = store.load()
    assert content is not None
    assert content["step"] == 1
    assert "checkpoint is damaged" in store.notice
    damage(oldest)
    assert store.load() is None
    assert "starts again" in store.notice
    assert CheckpointStore(tmp_path / "new").load() is None


def test_checkpoints_are_found_without_an_index(tmp_path) -> None:
    store = CheckpointStore(tmp_path)
    store.save({"step": 1})
    damage(store.save({"step": 2}))
    (tmp_path / "index.json").write_text("{")
    content = store.load()
    assert content is not None
    assert content["step"] == 1


def test_no_code_is_run_from_a_checkpoint(tmp_path) -> None:
    store = CheckpointStore(tmp_path)
    path = store.save({"step": 1})
    torch.save({"call": print}, path)  # a checksum alone would not help against a rewritten index
    index = tmp_path / "index.json"
    entries = json.loads(index.read_text())
    entries[0]["sha256"] = checkpoints.sha256_of_file(path)
    index.write_text(json.dumps(entries))
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        store.load()


@pytest.mark.parametrize("step", ["torch.save", "write_json", "fsync"])
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    store = CheckpointStore(tmp_path)
    store.save({"step": 1})

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    places = {"torch.save": (torch, "save"), "write_json": (checkpoints, "write_json"), "fsync": (os, "fsync")}
    with monkeypatch.context() as patch:
        patch.setattr(*places[step], full)
        with pytest.raises(OSError, match="No space left"):
            store.save({"step": 2})
    content = CheckpointStore(tmp_path).load()
    assert content is not None
    assert content["step"] == 1
    assert not list(tmp_path.glob(".*.part"))


def test_torch_does_not_hide_what_the_disk_said(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers a failed write with "unexpected pos 704 vs 598"."""
    store = CheckpointStore(tmp_path)
    store.save({"step": 1})
    monkeypatch.setattr(checkpoints, "_HashedFile", FullFile)
    with pytest.raises(OSError, match="No space left") as caught:
        store.save({"step": 2, "tensor": torch.zeros(10_000)})
    assert is_disk_full(caught.value)
    assert store.load() == {"step": 1}


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB, where this process may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_really_full_leaves_the_last_good_checkpoint(small_disk) -> None:
    store = CheckpointStore(small_disk / "checkpoints")
    store.save({"step": 1})
    with pytest.raises(OSError, match="No space left") as caught:
        store.save({"step": 2, "tensor": torch.zeros(100_000)})
    assert is_disk_full(caught.value)
    assert store.load() == {"step": 1}
    store.save({"step": 3})


class FullFile(checkpoints._HashedFile):
    """A file on a disk with room for 500 bytes."""

    def __init__(self, opened) -> None:
        super().__init__(opened)
        self._opened = _Room(opened)


class _Room:
    def __init__(self, opened) -> None:
        self.opened = opened

    def write(self, content: bytes) -> int:
        if self.opened.tell() + len(content) > 500:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.opened.write(content)

    def flush(self) -> None:
        self.opened.flush()


def test_what_a_killed_process_half_wrote_goes_with_the_next_checkpoint(tmp_path) -> None:
    store = CheckpointStore(tmp_path)
    store.save({"step": 1})
    (tmp_path / ".checkpoint-000002.pt.abc.part").write_bytes(b"half")
    (tmp_path / "checkpoint-000002.pt").write_bytes(b"written, but killed before the index")
    assert store.load() == {"step": 1}
    store.save({"step": 2})
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint-000001.pt", "checkpoint-000002.pt", "index.json",
    }  # fmt: skip
    assert store.load() == {"step": 2}


def test_due_by_time_and_never_for_more_than_a_hundredth_of_it(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    store = CheckpointStore(tmp_path, interval_s=30)
    now[0] = 129.0
    assert not store.is_due()
    now[0] = 130.0
    assert store.is_due()

    def slow_save(content: object, path: object) -> None:
        now[0] += 5.0

    monkeypatch.setattr(torch, "save", slow_save)
    store.save({})  # ends at 135 after 5 seconds, so the next one is due 500 seconds later
    assert not store.is_quick()
    now[0] = 634.0
    assert not store.is_due()
    now[0] = 635.0
    assert store.is_due()
    monkeypatch.setenv("TRANSFERSCOPE_CHECKPOINT_S", "0")
    assert CheckpointStore(tmp_path).is_due()  # asked for at any price


def test_clear_leaves_nothing(tmp_path) -> None:
    store = CheckpointStore(tmp_path)
    store.save({"step": 1})
    store.clear()
    assert list(tmp_path.iterdir()) == []
    store.clear()


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
    Trainer(TinyNetwork(), tiny_data(), tiny_config(epochs=2, schedule="plateau"), checkpoints=store).fit()
    content = store.load()
    assert content is not None
    assert {"tuned", "best", "optimizer", "schedule", "scaler", "random", "state", "config_hash"} <= set(content)
    assert (content["state"]["epoch"], content["state"]["batches_done"], content["state"]["step"]) == (3, 0, 4)
    assert content["schedule"]["name"] == "plateau"
    assert content["scaler"] is None
    assert set(content["random"]) == {"python", "numpy", "torch", "cuda", "mps"}


def test_a_checkpoint_of_another_config_is_refused_in_a_sentence(tmp_path) -> None:
    store = CheckpointStore(tmp_path, interval_s=0)
    Trainer(TinyNetwork(), tiny_data(), tiny_config(epochs=1), checkpoints=store).fit()
    with pytest.raises(UserError, match=r"its learning_rate is 0.02, here it is 0.03\. Start a new run"):
        Trainer(TinyNetwork(), tiny_data(), tiny_config(epochs=1, learning_rate=0.03), checkpoints=store).fit()
    Trainer(TinyNetwork(), tiny_data(), tiny_config(epochs=1, device="cpu"), checkpoints=store).fit()  # another machine


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
