"""Frozen stages run once per image: their output is kept on disk under a hash of everything that it depends on.

Very many images are computed in parts by several processes or machines that share a folder. Part i of n is a file of
its own beside its checksum. Whoever finds all parts there puts them together into the file that a training reads; the
files are the only thing that the processes need to agree on.
"""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from lib.atomic import read_json, sha256_of_file, write_json
from lib.checked_rows import Rows
from lib.disk_cache import read_entry
from lib.distributed import ALONE, Ranks
from lib.errors import Stopped, UserError
from lib.features.extraction import WHAT, CachedRequest, write_features
from lib.progress import Progress, ignore_progress

MAX_SHARDS = 10_000
_ROWS_AT_A_TIME = 256


@dataclass(frozen=True)
class FeatureSet:
    """Frozen outputs of all images in the order of the data set's table.

    `features` is float32, (N, D) pooled or (N, C, H, W) unpooled (then memory-mapped); `seconds` is what this call
    took, `key` the cache's name for it.
    """

    features: Rows
    seconds: float
    was_cached: bool
    key: str

    @property
    def images_per_second(self) -> float:
        """Of this call; 0 from the cache."""
        return 0.0 if self.was_cached else len(self.features) / max(self.seconds, 1e-9)


def read_or_extract(
    request: CachedRequest,
    *,
    copies_left: int = 1,
    ranks: Ranks = ALONE,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> FeatureSet:
    """Return the frozen features of every image, from the cache where they are; a hit builds no network.

    Args:
        request: whose features.
        copies_left: how many sets of this size are still to be kept, this one included: the disk must hold them all.
        ranks: who computes together; each calls this alike and does its share.
        progress: called after each batch.
        should_stop: asked before each batch, and between stages.

    Raises:
        Stopped: `should_stop()` turned true; nothing is left behind.
        UserError: an unknown network, or the disk has not enough room.
        WeightsUnavailable: pretrained weights are needed and not at hand.
    """
    started, num_images = time.perf_counter(), request.num_images
    if (features := request.read()) is not None:
        progress(num_images, num_images, WHAT)
        return FeatureSet(features, time.perf_counter() - started, was_cached=True, key=request.key)
    if ranks.is_alone:
        batches = request.extraction().batches(should_stop, range(num_images))
        write_features(request.path, batches, num_images, progress, copies_left=copies_left)
    else:
        _fill_together(request, ranks, progress=progress, should_stop=should_stop)
    seconds = time.perf_counter() - started
    if (features := request.read()) is None:
        raise RuntimeError(f"The features just written to {request.path} cannot be read back.")
    return FeatureSet(features, seconds, was_cached=False, key=request.key)


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1; shards of a data set differ by one image at most."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count <= MAX_SHARDS:
            raise UserError(
                f"A shard is i/n with i from 1 to n, and n at most {MAX_SHARDS}, such as 2/8; "
                f"received {self.index}/{self.count}."
            )

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read "2/8"; raises UserError."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if not found:
            raise UserError(f"A shard is i/n with i from 1 to n, such as 2/8; received {text!r}.")
        return cls(int(found[1]), int(found[2]))

    def rows(self, num_images: int) -> range:
        """The images of this shard; none where there are more shards than images."""
        start, end = (num_images * part // self.count for part in (self.index - 1, self.index))
        return range(start, end)


def fill_shard(
    request: CachedRequest,
    shard: Shard,
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Compute one shard unless it is there and whole; returns whether it was computed.

    Raises:
        Stopped: `should_stop()` turned true; nothing of this shard is left behind.
    """
    path, rows = _shard_path(request, shard), shard.rows(request.num_images)
    part = f", shard {shard.index}/{shard.count}" if shard.count > 1 else ""
    if _is_whole(path, len(rows)):
        progress(len(rows), len(rows), f"shard {shard.index}/{shard.count}")
        return False
    if rows:
        batches = request.extraction().batches(should_stop, rows)
        write_features(path, batches, len(rows), lambda done, total, what: progress(done, total, what + part))
    write_json(_seal(path), {"sha256": sha256_of_file(path) if rows else "", "num_images": len(rows)})
    return True


def _is_whole(path: Path, num_images: int) -> bool:
    """Whether a shard is there with its right checksum."""
    try:
        seal = read_json(_seal(path))
        return seal["num_images"] == num_images and (not num_images or seal["sha256"] == sha256_of_file(path))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def missing_shards(request: CachedRequest, count: int) -> list[int]:
    """The shards of `count` that nobody has finished yet, by a look at the folder."""
    return [shard.index for shard in _shards(count) if not _seal(_shard_path(request, shard)).is_file()]


def combine(
    request: CachedRequest,
    count: int,
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Put the shards together into the cache's file, if all are there; returns whether that file is there now.

    A shard that was damaged since it was written is computed again. Of several processes one combines, the others wait.
    """
    if request.read() is not None:
        return True
    if missing_shards(request, count):
        return request.read() is not None  # or another process has put them together in this moment
    folder = _shard_path(request, Shard(1, count)).parent
    with FileLock(folder.with_suffix(".lock")):
        if request.read() is not None:
            return True
        for shard in _shards(count):
            fill_shard(request, shard, progress=progress, should_stop=should_stop)
        write_features(request.path, _blocks(request, count), request.num_images, ignore_progress)
        for path in folder.iterdir():
            path.unlink(missing_ok=True)
        folder.rmdir()
    return True


def _fill_together(
    request: CachedRequest, ranks: Ranks, *, progress: Progress, should_stop: Callable[[], bool]
) -> None:
    """Each rank computes its shard, the first one combines; returns when the file is there for all.

    Raises:
        Stopped: of all ranks, if it was stopped meanwhile.
    """
    fill_shard(request, Shard(ranks.rank + 1, ranks.size), progress=progress, should_stop=should_stop)
    if not ranks.is_first:
        ranks.wait_until(lambda: request.path.is_file() and request.read() is not None)
        return
    while not combine(request, ranks.size, progress=progress, should_stop=should_stop):
        if should_stop():
            raise Stopped("Stopped while waiting for features of the other processes.")
        time.sleep(0.1)


def _blocks(request: CachedRequest, count: int) -> Iterator[np.ndarray]:
    for shard in _shards(count):
        if num_rows := len(shard.rows(request.num_images)):
            features = read_entry(_shard_path(request, shard), num_rows, is_mapped=True)
            if features is None:
                raise RuntimeError(f"The shard {shard.index}/{shard.count} of {request.key} cannot be read.")
            for start in range(0, num_rows, _ROWS_AT_A_TIME):
                yield features[start : start + _ROWS_AT_A_TIME]


def _shards(count: int) -> list[Shard]:
    return [Shard(index, count) for index in range(1, count + 1)]


def _shard_path(request: CachedRequest, shard: Shard) -> Path:
    return request.path.with_name(f"{request.key}.{shard.count}-shards") / f"{shard.index:05d}.npy"


def _seal(path: Path) -> Path:
    return path.with_suffix(".json")
