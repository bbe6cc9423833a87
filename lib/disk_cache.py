"""Arrays that are dear to make, kept on disk under content hashes, up to a limit: the least recently used go first.

An entry is a .npy file with the checksums of its blocks of rows behind them, where NumPy does not look; entries of
before there were any have none and are read unchecked. Exported networks are .onnx files, read whole; models to take
away are .zip and .onnx files. An entry in use
is never removed: whoever reads one holds a shared lock (flock) on its file for as long as the array lives, and the
system lets go of it when a process dies, however it dies.
"""

import fcntl
import logging
import os
import shutil
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from lib.atomic import atomic_path, read_json, write_json
from lib.checked_rows import ROWS_PER_BLOCK, BlockSums, CheckedRows, Remake, Rows
from lib.errors import DiskFull, UserError
from lib.progress import size_words
from lib.quota import require_room
from lib.settings import cache_dir

KINDS = {
    "features": "features and activations", "enhanced": "preprocessed images", "networks": "exported networks",
    "units": "what channels look for", "maps": "where runs looked in images",
    "statistics": "measures and mean images of data sets", "layouts": "maps of data sets",
    "exports": "models to take away",
}  # fmt: skip
_SUFFIXES = {
    "features": ".npy", "enhanced": ".npy", "networks": ".onnx", "units": ".npy", "maps": ".npy",
    "statistics": ".npy", "layouts": ".npy", "exports": "",
}  # fmt: skip
_SUMS_MARK = b"TSBLOCK1"
_SUM = np.dtype("<u4")
_logger = logging.getLogger(__name__)
DEFAULT_LIMIT_GIB = 10.0
_LIMITS_GIB = (0.1, 100_000.0)
_LIMIT_FILE = "limit.json"
_SPARE_BYTES = 256 * 2**20  # left free on the disk, for checkpoints and the database of runs
_ABANDONED_S = 3600.0  # a half-written file that old belongs to a process that was killed


@dataclass(frozen=True)
class Entry:
    """One file of the cache; `used_s` is when it was last read or written (seconds since 1970)."""

    path: Path
    kind: str
    num_bytes: int
    used_s: float

    @property
    def key(self) -> str:
        """The hash that names it."""
        return self.path.stem


def entry_path(kind: str, key: str) -> Path:
    """Where an entry lies, whether it exists or not."""
    if kind not in KINDS:
        raise ValueError(f"There is no kind of cache {kind!r}; choose one of {', '.join(KINDS)}.")
    return cache_dir() / kind / f"{key}{_SUFFIXES[kind]}"


def list_entries() -> list[Entry]:
    """All entries, most recently used first."""
    entries = []
    for kind in KINDS:
        for path in (cache_dir() / kind).glob(f"[!.]*{_SUFFIXES[kind]}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                entries.append(Entry(path, kind, status.st_size, status.st_mtime))
    return sorted(entries, key=lambda entry: -entry.used_s)


def read_entry(path: Path, num_rows: int, *, is_mapped: bool, remake: Remake | None = None) -> Rows | None:
    """The rows of an entry, locked against removal while they live; None if there is none or the file is damaged.

    It must have `num_rows`. With `is_mapped` they are mapped into memory and each block is checked when it is first
    read, else all are read and checked now. `remake` makes damaged rows anew; without it a mapped entry raises
    UserError there, and None is returned here.
    """
    handle = _locked(path)
    if handle is None:
        return None
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        offset = int(array.offset)  # type: ignore[attr-defined]
        sums = _read_sums(path, array, offset)
        if len(array) != num_rows:
            raise ValueError(f"{path} has {len(array)} rows, not {num_rows}")
    except (ValueError, EOFError, OSError):
        handle.close()
        return None
    with suppress(OSError):
        os.utime(path)

    def keep_sum(block: int, value: int) -> None:
        with path.open("rb+") as opened:
            opened.seek(offset + array.nbytes + block * _SUM.itemsize)
            opened.write(np.array(value, dtype=_SUM).tobytes())

    rows = CheckedRows(
        array, sums, name="what is cached", path=path, offset=offset, remake=remake,
        reread=lambda: _read_sums(path, array, offset), keep_sum=keep_sum,
    )  # fmt: skip
    try:
        whole = array if is_mapped else np.array(rows[:])
    except UserError as error:
        _logger.warning("%s It is computed again.", error)
        handle.close()
        return None
    weakref.finalize(whole, handle.close)
    return rows if is_mapped else whole


def _read_sums(path: Path, array: np.ndarray, offset: int) -> list[int] | None:
    """The checksums behind the rows; None if there are none. Raises ValueError if the file is longer or cut off."""
    num_blocks = -(-len(array) // ROWS_PER_BLOCK)
    with path.open("rb") as opened:
        opened.seek(offset + array.nbytes)
        found = opened.read(num_blocks * _SUM.itemsize + len(_SUMS_MARK) + 1)
    if not found:
        return None
    if len(found) != num_blocks * _SUM.itemsize + len(_SUMS_MARK) or not found.endswith(_SUMS_MARK):
        raise ValueError(f"{path} does not end with its checksums")
    return [int(value) for value in np.frombuffer(found, dtype=_SUM, count=num_blocks)]


def is_free(entry: Entry, *, is_removed: bool = False) -> bool:
    """Whether nobody is using an entry, or it is gone; `is_removed` deletes it then."""
    try:
        with entry.path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_removed:
                entry.path.unlink(missing_ok=True)
    except OSError as error:  # locked by a reader, or not ours to delete
        return isinstance(error, FileNotFoundError)
    return True


def _locked(path: Path) -> IO[bytes] | None:
    """The open file with a shared lock; None if there is none, also if it was removed while we waited."""
    try:
        handle = path.open("rb")
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        if os.fstat(handle.fileno()).st_ino == path.stat().st_ino:
            return handle
    except OSError:
        pass
    handle.close()
    return None


@dataclass(frozen=True)
class Usage:
    """How full the cache is, in bytes; `free_bytes` is what the disk has left."""

    used_bytes: int
    limit_bytes: int
    free_bytes: int


def usage() -> Usage:
    """How full the cache is."""
    used = sum(entry.num_bytes for entry in list_entries())
    return Usage(used, cache_limit_bytes(), shutil.disk_usage(cache_dir()).free)


def cache_limit_bytes() -> int:
    """The size above which the least recently used entries go."""
    try:
        chosen = float(read_json(cache_dir() / _LIMIT_FILE)["limit_gib"])
    except (OSError, ValueError, KeyError, TypeError):
        chosen = DEFAULT_LIMIT_GIB
    return int(chosen * 2**30)


def set_cache_limit(limit_gib: float) -> list[Entry]:
    """Keep a limit, in GiB, for this home (raises UserError out of range); returns what was removed above it."""
    low, high = _LIMITS_GIB
    if not low <= limit_gib <= high:
        raise UserError(f"The limit of the cache must lie between {low:g} and {high:,.0f} GiB, received {limit_gib:g}.")
    write_json(cache_dir() / _LIMIT_FILE, {"format_version": 1, "limit_gib": limit_gib})
    return make_room()


def _check_disk(num_bytes: int) -> None:
    require_room(num_bytes, "The cache")
    free = shutil.disk_usage(cache_dir()).free
    if num_bytes > free - _SPARE_BYTES:
        raise DiskFull(
            f"The cache needs {size_words(num_bytes)} and the disk has {size_words(free)} free, of which "
            f"{size_words(_SPARE_BYTES)} stay free; clear caches (python -m lib caches clear) or choose an "
            "augmentation with fewer cached views."
        )


def make_room(num_bytes: int = 0, *, limit_bytes: int | None = None) -> list[Entry]:
    """Remove the least recently used entries until `num_bytes` more fit below the limit; returns what was removed.

    What is in use stays, so the limit can be exceeded while trainings run.
    """
    _sweep()
    limit = cache_limit_bytes() if limit_bytes is None else limit_bytes
    found = sorted(list_entries(), key=lambda entry: entry.used_s)
    excess, removed = sum(entry.num_bytes for entry in found) + num_bytes - limit, []
    for entry in found:
        if excess <= 0:
            break
        if is_free(entry, is_removed=True):
            excess -= entry.num_bytes
            removed.append(entry)
    return removed


def clear() -> tuple[int, int]:
    """Delete every entry that is not in use; returns the bytes set free and how many entries had to stay."""
    found = list_entries()
    removed = [entry for entry in found if is_free(entry, is_removed=True)]
    _sweep()
    return sum(entry.num_bytes for entry in removed), len(found) - len(removed)


def _sweep() -> None:
    """Delete what killed processes left half-written."""
    for kind in KINDS:
        for path in (cache_dir() / kind).glob(".*.part"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()


def write_entry(path: Path, batches: Iterable[np.ndarray], num_rows: int, *, copies_left: int = 1) -> Iterator[int]:
    """Fill an entry batch by batch, yielding the rows done; it appears under its name only when it is whole.

    The first batch tells the size: then room is made, and the disk is asked (raises DiskFull). `copies_left` counts the
    entries of the same size that are to follow, this one included.
    """
    with atomic_path(path) as temporary:
        target, done, sums = None, 0, BlockSums()
        for batch in batches:
            if target is None:
                num_bytes = batch[:1].nbytes * num_rows
                make_room(num_bytes)
                _check_disk(num_bytes * copies_left)
                shape = (num_rows, *batch.shape[1:])
                target = np.lib.format.open_memmap(temporary, mode="w+", dtype=batch.dtype, shape=shape)
                _take_room(temporary)
            target[done : done + len(batch)] = batch
            sums.add(batch)
            done += len(batch)
            yield done
        if target is not None:
            target.flush()
            with temporary.open("ab") as opened:
                opened.write(np.array(sums.sums, dtype=_SUM).tobytes() + _SUMS_MARK)


def _take_room(path: Path) -> None:
    """Have the disk set all blocks of a file aside; raises OSError (ENOSPC) if there are too few.

    Without it a full disk shows when a page of the mapped file is written, as a signal (SIGBUS) that ends the process.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("rb+") as opened:
            os.posix_fallocate(opened.fileno(), 0, path.stat().st_size)
