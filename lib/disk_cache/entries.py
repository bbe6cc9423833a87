"""The entries of the cache: where they lie, how one is read under a lock, and how one is removed.

An entry is a .npy file with the checksums of its blocks of rows behind them, where NumPy does not look; entries of
before there were any have none and are read unchecked. Exported networks are .onnx files, read whole.
"""

import fcntl
import logging
import os
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from lib.checked_rows import ROWS_PER_BLOCK, CheckedRows, Remake, Rows
from lib.errors import UserError
from lib.settings import cache_dir

KINDS = {
    "features": "features and activations",
    "enhanced": "preprocessed images",
    "networks": "exported networks",
}
_SUFFIXES = {"features": ".npy", "enhanced": ".npy", "networks": ".onnx"}
_SUMS_MARK = b"TSBLOCK1"
_SUM = np.dtype("<u4")
_logger = logging.getLogger(__name__)


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

    Args:
        path: where the entry lies.
        num_rows: how many it must have.
        is_mapped: map them into memory and check each block when it is first read; else read and check all now.
        remake: makes damaged rows anew; without it a mapped entry raises UserError there, and None is returned here.
    """
    handle = _locked(path)
    if handle is None:
        return None
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        offset = int(array.offset)  # type: ignore[attr-defined]
        sums = _read_sums(path, array, offset)
    except (ValueError, EOFError, OSError):
        handle.close()
        return None
    if len(array) != num_rows:
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
    if is_mapped:
        weakref.finalize(array, handle.close)
        return rows
    try:
        whole = np.array(rows[:])
    except UserError as error:
        _logger.warning("%s It is computed again.", error)
        handle.close()
        return None
    weakref.finalize(whole, handle.close)
    return whole


def trailer(sums: Sequence[int]) -> bytes:
    """What stands behind the rows: a checksum for each block of them, and a mark."""
    return np.array(sums, dtype=_SUM).tobytes() + _SUMS_MARK


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


def remove_entry(entry: Entry) -> bool:
    """Delete one entry, unless somebody is using it; returns whether it is gone."""
    try:
        with entry.path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entry.path.unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except OSError:  # locked by a reader, or not ours to delete
        return False
    return True


def is_in_use(entry: Entry) -> bool:
    """Whether a process holds the entry at this moment."""
    try:
        with entry.path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


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
