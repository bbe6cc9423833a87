import numpy as np
import pytest

from lib.data.augmentation import AS_IT_IS
from lib.errors import UserError
from lib.features import cache
from lib.features.cache import Shard, combine, fill_shard, missing_shards, read_or_extract
from lib.features.extraction import Extraction, FeatureRequest
from tests.features.tiny_dataset import TinyDataset


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
