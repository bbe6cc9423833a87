import errno
import os
from dataclasses import replace

import numpy as np
import pytest

from lib.data.augmentation import AS_IT_IS
from lib.errors import Stopped, UserError
from lib.features import cache
from lib.features.cache import Shard, combine, fill_shard, missing_shards, read_or_extract
from lib.features.extraction import Extraction, FeatureRequest
from lib.settings import cache_dir
from tests.features.extracted import extract_features as extract
from tests.features.extracted import feature_request
from tests.features.tiny_dataset import TinyDataset


def files() -> list[str]:
    return sorted(path.name for path in (cache_dir() / "features").glob("*"))


def test_hit_builds_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TinyDataset(num_images=6)
    first = extract(dataset)
    monkeypatch.setattr(
        "lib.features.extraction.frozen_backbone", lambda *args, **kwargs: pytest.fail("built a network")
    )
    again = extract(dataset)
    assert again.was_cached
    assert again.key == first.key
    assert np.array_equal(again.features, first.features)


def test_stop_leaves_nothing_behind() -> None:
    told: list[int] = []
    with pytest.raises(Stopped):
        extract(
            TinyDataset(num_images=12), batch_size=4, progress=lambda done, total, what: told.append(done),
            should_stop=lambda: len(told) == 2,
        )  # fmt: skip
    assert told == [0, 4]
    assert files() == []


def test_damaged_file_is_made_again() -> None:
    dataset = TinyDataset(num_images=5)
    first = extract(dataset)
    path = cache_dir() / "features" / f"{first.key}.npy"
    path.write_bytes(path.read_bytes()[:200])
    again = extract(dataset)
    assert not again.was_cached
    assert np.array_equal(again.features, first.features)


def test_unknown_backbone_is_refused() -> None:
    with pytest.raises(UserError, match="Unknown backbone"):
        read_or_extract(replace(feature_request(TinyDataset()), backbone_name="resnet19"))


def test_a_full_disk_is_an_error_before_the_work_and_no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing to a mapped file without room would end the process (SIGBUS)."""

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        extract(TinyDataset())
    assert not [path for path in cache_dir().rglob("*") if path.suffix in (".npy", ".part")]


@pytest.fixture
def request_() -> FeatureRequest:
    return FeatureRequest(
        TinyDataset(num_images=5),
        "mobilenet_v3_small",
        "random",
        0,
        "block2",
        "average",
        32,
        "float32",
        AS_IT_IS,
        "cpu",
    )


def test_shards_combine_into_the_cache_of_a_training(request_: FeatureRequest, monkeypatch) -> None:
    assert fill_shard(request_, Shard(2, 2))
    assert not combine(request_, 2)
    assert missing_shards(request_, 2) == [1]
    assert not fill_shard(request_, Shard(2, 2))
    assert fill_shard(request_, Shard(1, 2))
    damaged = next(request_.path.parent.glob("*-shards/00002.npy"))
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 255
    damaged.write_bytes(bytes(content))
    assert combine(request_, 2)
    assert not list(request_.path.parent.glob("*-shards"))
    expected = np.concatenate(list(Extraction(request_).batches(lambda: False, range(5))))
    monkeypatch.setattr(Extraction, "_run", lambda *args: pytest.fail("computed again"))
    found = read_or_extract(request_)
    assert found.was_cached
    assert found.features == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("text", ["3/2", "0/2", "1", "a/b", "-1/2"])
def test_bad_shards_are_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=rf"A shard is i/n .* received '?{text}"):
        Shard.parse(text)


def test_every_image_is_in_one_shard() -> None:
    for count in (1, 3, 7, 12):
        rows = [row for index in range(1, count + 1) for row in Shard(index, count).rows(10)]
        assert rows == list(range(10))


def test_parts_that_another_process_puts_together_meanwhile_are_there(request_: FeatureRequest, monkeypatch) -> None:
    for index in (1, 2):
        fill_shard(request_, Shard(index, 2))
    look = cache.missing_shards

    def look_too_late(request: FeatureRequest, count: int) -> list[int]:
        monkeypatch.setattr(cache, "missing_shards", look)
        assert combine(request, count)
        return look(request, count)

    monkeypatch.setattr(cache, "missing_shards", look_too_late)
    assert combine(request_, 2)
