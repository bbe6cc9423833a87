import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from lib import disk_cache
from lib.checked_rows import CheckedRows
from lib.disk_cache import entry_path
from lib.errors import UserError
from lib.settings import PROJECT_ROOT, cache_dir

KIB = 1024


def write(key: str, kib: int = 100, *, used_s: float = 0.0, kind: str = "features") -> Path:
    path = entry_path(kind, key)
    rows = np.zeros((kib, KIB), dtype=np.uint8)
    assert list(disk_cache.write_entry(path, [rows[: kib // 2], rows[kib // 2 :]], kib)) == [kib // 2, kib]
    if used_s:
        os.utime(path, (used_s, used_s))
    return path


def test_written_rows_are_read_back_and_reading_counts_as_use() -> None:
    path = write("a", 10, used_s=1000.0)
    found = disk_cache.read_entry(path, 10, is_mapped=True)
    assert isinstance(found, CheckedRows)
    assert found.shape == (10, KIB)
    assert path.stat().st_mtime > 1000.0
    assert disk_cache.read_entry(path, 11, is_mapped=False) is None
    assert disk_cache.read_entry(entry_path("features", "b"), 10, is_mapped=False) is None


def test_least_recently_used_go_first_across_kinds() -> None:
    old, older, new = write("old", used_s=200.0), write("older", used_s=100.0, kind="enhanced"), write("new")
    removed = disk_cache.make_room(50 * KIB, limit_bytes=270 * KIB)
    assert [entry.path for entry in removed] == [older]
    assert old.exists()
    assert new.exists()
    assert disk_cache.make_room(limit_bytes=270 * KIB) == []


@pytest.mark.parametrize("is_mapped", [True, False])
def test_entry_in_use_stays_until_its_array_is_gone(is_mapped: bool) -> None:
    path = write("held", used_s=100.0)
    array = disk_cache.read_entry(path, 100, is_mapped=is_mapped)
    assert not disk_cache.is_free(disk_cache.list_entries()[0])
    assert disk_cache.make_room(limit_bytes=0) == []
    assert disk_cache.clear() == (0, 1)
    assert array is not None
    del array
    assert disk_cache.clear()[1] == 0
    assert not path.exists()


def test_entry_of_another_process_stays_until_that_process_is_killed() -> None:
    path = write("shared")
    code = (
        "import sys; from pathlib import Path; from lib import disk_cache\n"
        f"held = disk_cache.read_entry(Path({str(path)!r}), 100, is_mapped=True)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "held\n"
    assert disk_cache.make_room(limit_bytes=0) == []
    reader.kill()
    reader.communicate()
    assert [entry.path for entry in disk_cache.make_room(limit_bytes=0)] == [path]


def test_full_disk_is_refused_in_one_sentence_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Disk = namedtuple("Disk", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(0, 0, 256 * 2**20 + 150 * KIB))
    write("fits", 100)
    rows = np.zeros((100, KIB), dtype=np.uint8)
    with pytest.raises(UserError, match=r"needs 200 KiB and the disk has 256 MiB free.*caches clear"):
        list(disk_cache.write_entry(entry_path("features", "two"), [rows], 100, copies_left=2))
    assert [path.name for path in (cache_dir() / "features").iterdir()] == ["fits.npy"]


def test_writing_makes_room_below_the_limit_that_was_set() -> None:
    assert disk_cache.usage().limit_bytes == disk_cache.DEFAULT_LIMIT_GIB * 2**30
    disk_cache.set_cache_limit(0.1)
    first = write("first", 60 * KIB, used_s=100.0)
    write("second", 60 * KIB)
    assert not first.exists()
    found = disk_cache.usage()
    assert (len(disk_cache.list_entries()), found.limit_bytes) == (1, int(0.1 * 2**30))
    assert 60 * 2**20 < found.used_bytes < 61 * 2**20
    with pytest.raises(UserError, match=r"between 0\.1 and 100,000 GiB, received 0"):
        disk_cache.set_cache_limit(0)


def test_half_written_files_of_killed_processes_are_swept() -> None:
    write("whole")
    young, old = (cache_dir() / "features" / f".{name}.npy.x.part" for name in ("young", "old"))
    young.touch()
    old.touch()
    os.utime(old, (100.0, 100.0))
    disk_cache.make_room()
    assert young.exists()
    assert not old.exists()
