"""How much room the cache may take and the disk has left, and how room is made."""

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass

from lib.atomic import read_json, write_json
from lib.disk_cache.entries import KINDS, Entry, list_entries, remove_entry
from lib.errors import DiskFull, UserError
from lib.settings import cache_dir

DEFAULT_LIMIT_GIB = 10.0
_LIMITS_GIB = (0.1, 100_000.0)
_LIMIT_FILE = "limit.json"
_SPARE_BYTES = 256 * 2**20  # left free on the disk, for checkpoints and the database of runs
_ABANDONED_S = 3600.0  # a half-written file that old belongs to a process that was killed


@dataclass(frozen=True)
class Usage:
    """How full the cache is, in bytes; `free_bytes` is what the disk has left."""

    used_bytes: int
    limit_bytes: int
    free_bytes: int
    num_entries: int


def usage() -> Usage:
    """How full the cache is."""
    entries = list_entries()
    used = sum(entry.num_bytes for entry in entries)
    return Usage(used, cache_limit_bytes(), shutil.disk_usage(cache_dir()).free, len(entries))


def cache_limit_bytes() -> int:
    """The size above which the least recently used entries go."""
    try:
        chosen = float(read_json(cache_dir() / _LIMIT_FILE)["limit_gib"])
    except (OSError, ValueError, KeyError, TypeError):
        chosen = DEFAULT_LIMIT_GIB
    return int(chosen * 2**30)


def set_cache_limit(limit_gib: float) -> list[Entry]:
    """Keep a limit, in GiB, for this home, and remove what is above it; returns what was removed.

    Raises:
        UserError: a limit out of range.
    """
    low, high = _LIMITS_GIB
    if not low <= limit_gib <= high:
        raise UserError(f"The limit of the cache must lie between {low:g} and {high:,.0f} GiB, received {limit_gib:g}.")
    write_json(cache_dir() / _LIMIT_FILE, {"format_version": 1, "limit_gib": limit_gib})
    return make_room()


def check_disk(num_bytes: int) -> None:
    """Raise DiskFull, in one sentence, if the disk of the cache has no room for so many bytes."""
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
        if remove_entry(entry):
            excess -= entry.num_bytes
            removed.append(entry)
    return removed


def clear() -> tuple[int, int]:
    """Delete every entry that is not in use; returns the bytes set free and how many entries had to stay."""
    found = list_entries()
    removed = [entry for entry in found if remove_entry(entry)]
    _sweep()
    return sum(entry.num_bytes for entry in removed), len(found) - len(removed)


def size_words(num_bytes: float) -> str:
    """A size as people say it: "340 MiB", "1.4 GiB"."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if num_bytes >= size:
            value = num_bytes / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
    return f"{num_bytes:.0f} bytes"


def _sweep() -> None:
    """Delete what killed processes left half-written."""
    for kind in KINDS:
        for path in (cache_dir() / kind).glob(".*.part"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED_S:
                    path.unlink()
