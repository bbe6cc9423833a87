"""Imports that ended before they were whole: what they stored lies beside the data sets for a while.

The same import made again goes on from there. Each source has one folder, which only the import that holds the lock of
the source may touch; the lock of a process that died is free.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from lib.atomic import read_json_or_empty, write_json
from lib.data.dataset import DESCRIPTION_FILE, PIXELS_FILE, read_description
from lib.data.library import library_lock, remove_dead_stagings
from lib.data.originals import ORIGINALS
from lib.data.sources.files import shown
from lib.data.stored_rows import kept_in
from lib.errors import DiskFull, Stopped, UserError, disk_fault
from lib.settings import datasets_dir

INTERRUPTED_PREFIX = ".import-"
KEPT_DAYS = 7
WRITTEN, REPLACED, _ABOUT = "dataset", "replaced", "about.json"


@dataclass(frozen=True)
class InterruptedImport:
    """An import that was ended; `key` names it, `num_stored` of `num_files` need not be decoded again."""

    key: str
    source: str
    name: str
    num_stored: int
    num_files: int
    num_bytes: int
    last_s: float  # when it last stored something, seconds since 1970

    @property
    def sentence(self) -> str:
        """What is kept, for the person."""
        return f"{self.num_stored:,} of {self.num_files:,} images are stored ({self.num_bytes / 2**20:,.0f} MiB)"


def interrupted_imports() -> list[InterruptedImport]:
    """All of them, the most recent first; those that are running are none."""
    found = [_described(folder) for folder in datasets_dir().glob(f"{INTERRUPTED_PREFIX}*")]
    waiting = [one for one in found if not _is_running(one.source)]
    return sorted(waiting, key=lambda one: -one.last_s)


def find_interrupted(source: str | Path) -> InterruptedImport | None:
    """What is kept of a source's last import, where that was ended and stored something."""
    folder = _folder_of(os.fspath(source))
    if not folder.is_dir() or _is_running(os.fspath(source)):
        return None
    found = _described(folder)
    return found if found.num_stored else None


def drop_interrupted(key: str) -> InterruptedImport:
    """Remove what an interrupted import stored; raises UserError if there is none of that key, or it is running."""
    found = _find(key)
    try:
        with library_lock(found.source).acquire(timeout=0):
            _remove(_folder_of(found.source))
    except Timeout:
        raise UserError(f"The import of {shown(found.source)} runs again; stop it there.") from None
    return found


def drop_expired() -> None:
    """Remove what imports stored that ended over `KEPT_DAYS` ago; an import does so when it begins."""
    for one in interrupted_imports():
        if time.time() - one.last_s > KEPT_DAYS * 86400:
            with suppress(UserError):
                drop_interrupted(one.key)


@contextmanager
def workplace(source: str, *, is_kept: bool = True) -> Iterator[Path]:
    """The folder of an import whose source is locked: what an earlier try stored, and an empty one for the data set.

    It is removed at the end, and after a failure that left nothing to go on from (or any failure, without `is_kept`).
    Where something is kept, Stopped and a full disk say so.
    """
    remove_dead_stagings()
    drop_expired()
    folder = _folder_of(source)
    folder.mkdir(exist_ok=True)
    _restore_replaced(folder)
    written = folder / WRITTEN
    if (written / PIXELS_FILE).exists():  # ended between its last row and its place in the library
        for journal in folder.glob("part-*.journal"):  # of the one part that is left then
            (written / PIXELS_FILE).rename(journal.with_suffix(".bin"))
            break
    shutil.rmtree(written, ignore_errors=True)
    written.mkdir()
    try:
        yield folder
    except BaseException as error:
        shutil.rmtree(written / ORIGINALS, ignore_errors=True)  # which the next try unpacks again
        found = _described(folder)
        kept = f"{found.sentence} and kept for {KEPT_DAYS} days; import the same again, and it goes on from there."
        if not found.num_stored or not is_kept:
            _remove(folder)
        elif isinstance(error, Stopped):
            raise Stopped(f"Stopped. {kept}") from None
        elif isinstance(error, OSError) and (fault := disk_fault(error)):
            raise DiskFull(f"{str(fault).rstrip('.')}; {kept}") from error
        raise
    _remove(folder)


def note_import(
    folder: Path, *, source: str, name: str, num_files: int, options: dict[str, Any], check_splits: bool
) -> None:
    """Say what the import in a workplace is of, and how to make it again."""
    about = {"source": source, "name": name, "num_files": num_files, "options": options, "check_splits": check_splits}
    write_json(folder / _ABOUT, about)


def noted_import(key: str) -> dict[str, Any]:
    """What `note_import` wrote; raises UserError if there is no such interrupted import, or it is running."""
    found = _find(key)
    return read_json_or_empty(_folder_of(found.source) / _ABOUT)


def _find(key: str) -> InterruptedImport:
    found = next((one for one in interrupted_imports() if one.key == key), None)
    if found is None:
        raise UserError(
            f"There is no interrupted import {shown(key)!r}, or it runs again; list them with: "
            "python -m lib datasets interrupted"
        )
    return found


def _folder_of(source: str) -> Path:
    return datasets_dir() / f"{INTERRUPTED_PREFIX}{hashlib.sha256(os.fsencode(source)).hexdigest()[:16]}"


def _described(folder: Path) -> InterruptedImport:
    about = read_json_or_empty(folder / _ABOUT)
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return InterruptedImport(
        folder.name.removeprefix(INTERRUPTED_PREFIX), str(about.get("source", "")), str(about.get("name", "")),
        kept_in(folder), int(about.get("num_files", 0)), sum(status.st_size for status in files),
        max((status.st_mtime for status in files), default=folder.stat().st_mtime),
    )  # fmt: skip


def _is_running(source: str) -> bool:
    try:
        with library_lock(source).acquire(timeout=0):
            return False
    except Timeout:
        return True


def _restore_replaced(folder: Path) -> None:
    """An import that was ended while it took the place of an older data set: that one comes back."""
    replaced = folder / REPLACED
    if (replaced / DESCRIPTION_FILE).is_file():
        with suppress(UserError, OSError):
            target = datasets_dir() / str(read_description(replaced)["spec"]["name"])
            if not target.exists():
                replaced.rename(target)
    shutil.rmtree(replaced, ignore_errors=True)


def _remove(folder: Path) -> None:
    _restore_replaced(folder)
    shutil.rmtree(folder, ignore_errors=True)
