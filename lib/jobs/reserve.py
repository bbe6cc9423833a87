"""A little room kept on the disk, so that a run can still say that the disk is full."""

from contextlib import suppress
from pathlib import Path

RESERVE_FILE = ".reserve"
RESERVE_BYTES = 2**20  # a state of some hundred bytes, and pages of SQLite's write-ahead log


def keep_reserve(folder: Path) -> None:
    """Take the room; nothing happens where there is none left."""
    with suppress(OSError), (folder / RESERVE_FILE).open("wb") as opened:
        opened.write(b"\0" * RESERVE_BYTES)


def release_reserve(folder: Path) -> None:
    """Give the room back, for the last words of a run."""
    with suppress(OSError):
        (folder / RESERVE_FILE).unlink(missing_ok=True)
