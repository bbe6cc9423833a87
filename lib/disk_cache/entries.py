"""The entries of the cache: where they lie, how one is read under a lock, and how one is removed."""

import fcntl
import os
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from lib.settings import cache_dir

KINDS = {"features": "features and activations", "enhanced": "preprocessed images"}
SUFFIX = ".npy"


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
    return cache_dir() / kind / f"{key}{SUFFIX}"


def list_entries() -> list[Entry]:
    """All entries, most recently used first."""
    entries = []
    for kind in KINDS:
        for path in (cache_dir() / kind).glob(f"[!.]*{SUFFIX}"):
            with suppress(FileNotFoundError):
                status = path.stat()
                entries.append(Entry(path, kind, status.st_size, status.st_mtime))
    return sorted(entries, key=lambda entry: -entry.used_s)


def read_entry(path: Path, num_rows: int, *, is_mapped: bool) -> np.ndarray | None:
    """The array of an entry, locked against removal while it lives; None if there is none or the file is damaged."""
    handle = _locked(path)
    if handle is None:
        return None
    try:
        array: np.ndarray = np.load(path, mmap_mode="r" if is_mapped else None, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        handle.close()
        return None
    if len(array) != num_rows:
        handle.close()
        return None
    with suppress(OSError):
        os.utime(path)
    weakref.finalize(array, handle.close)
    return array


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
