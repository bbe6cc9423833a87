"""How much room everything that is made at run time may take: a limit that a person sets, none by default."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.atomic import read_json_or_empty, write_json
from lib.errors import DiskFull, UserError
from lib.progress import size_words
from lib.settings import home

NEAR = 0.9  # of the quota: from there on it is said
_FILE = "quota.json"
_RANGE_GIB = (0.1, 1_000_000.0)
_MEASURED_S = 10.0  # so long a measurement of the home holds
_measured: dict[Path, tuple[float, int]] = {}


@dataclass(frozen=True)
class Room:
    """What the home takes, in bytes, and what it may take; None: as much as the disk has."""

    used_bytes: int
    quota_bytes: int | None

    @property
    def share(self) -> float:
        """Used of the quota, 0 without one."""
        return self.used_bytes / self.quota_bytes if self.quota_bytes else 0.0

    @property
    def words(self) -> str:
        """Such as "9.2 GiB of a quota of 10.0 GiB"."""
        quota = f" of a quota of {size_words(self.quota_bytes)}" if self.quota_bytes else ""
        return f"{size_words(self.used_bytes)}{quota}"


def room(*, is_fresh: bool = False) -> Room:
    """What the home takes now, measured at most every ten seconds, or anew."""
    folder, now = home(), time.monotonic()
    moment, used = _measured.get(folder, (-_MEASURED_S, 0))
    if is_fresh or now - moment >= _MEASURED_S:
        used = folder_bytes(folder)
        _measured[folder] = (now, used)
    return Room(used, quota_bytes())


def quota_bytes() -> int | None:
    """The quota of this home, in bytes; None for none."""
    try:
        return int(float(read_json_or_empty(home() / _FILE)["quota_gib"]) * 2**30)
    except (KeyError, ValueError, TypeError):
        return None


def set_quota(quota_gib: float | None) -> None:
    """Set or take away the quota of this home, in GiB; raises UserError out of range."""
    low, high = _RANGE_GIB
    if quota_gib is not None and not low <= quota_gib <= high:
        raise UserError(f"The quota must lie between {low:g} and {high:,.0f} GiB, received {quota_gib:g}.")
    home().mkdir(parents=True, exist_ok=True)
    write_json(home() / _FILE, {"format_version": 1, "quota_gib": quota_gib})


def require_room(num_bytes: int, what: str) -> None:
    """Raise DiskFull where `num_bytes` more would exceed the quota; `what` begins the sentence."""
    if (quota := quota_bytes()) is None:
        return
    used = room(is_fresh=True).used_bytes
    if used + num_bytes > quota:
        raise DiskFull(
            f"{what} needs about {size_words(num_bytes)}, and {size_words(used)} of the quota of {size_words(quota)} "
            "are used; delete something or raise the quota (Explore data, Storage; python -m lib storage)."
        )


def folder_bytes(folder: Path) -> int:
    """What a folder takes on the disk, in bytes: holes in files and further links to the same file take nothing."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for status in _statuses(folder):
        if status.st_nlink > 1:
            if (file := (status.st_dev, status.st_ino)) in seen:
                continue
            seen.add(file)
        total += min(status.st_size, status.st_blocks * 512)
    return total


def _statuses(folder: Path) -> Iterator[os.stat_result]:
    try:
        with os.scandir(folder) as opened:
            children = list(opened)
    except OSError:  # removed meanwhile
        return
    for child in children:
        try:
            if child.is_dir(follow_symlinks=False):
                yield from _statuses(Path(child.path))
            else:
                yield child.stat(follow_symlinks=False)
        except OSError:
            continue
