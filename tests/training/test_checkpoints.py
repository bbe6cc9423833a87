import json

import pytest
import torch

from lib.training import checkpoints
from lib.training.checkpoints import CheckpointStore


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


def test_damaged_checkpoint_gives_way_to_the_one_before(tmp_path) -> None:
    store = CheckpointStore(tmp_path)
    store.save({"step": 1})
    newest = store.save({"step": 2})
    newest.write_bytes(newest.read_bytes()[:-20])
    content = store.load()
    assert content is not None
    assert content["step"] == 1


def test_nothing_is_loaded_from_a_damaged_index_or_a_pickle(tmp_path) -> None:
    store = CheckpointStore(tmp_path)
    path = store.save({"step": 1})
    torch.save({"call": print}, path)  # a checksum alone would not help against a rewritten index
    index = tmp_path / "index.json"
    entries = json.loads(index.read_text())
    entries[0]["sha256"] = checkpoints.sha256_of_file(path)
    index.write_text(json.dumps(entries))
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        store.load()
    index.write_text("{")
    assert store.load() is None


def test_due_by_time_and_never_for_more_than_a_tenth_of_it(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    store.save({})  # ends at 135 after 5 seconds, so the next one is due 50 seconds later
    assert not store.is_quick()
    now[0] = 184.0
    assert not store.is_due()
    now[0] = 185.0
    assert store.is_due()


def test_clear_leaves_nothing(tmp_path) -> None:
    store = CheckpointStore(tmp_path)
    store.save({"step": 1})
    store.clear()
    assert list(tmp_path.iterdir()) == []
    store.clear()
