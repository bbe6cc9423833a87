import os
from pathlib import Path

import numpy as np
import pytest

from lib import disk_cache, settings
from lib.data.importing import import_folder
from lib.errors import DiskFull, UserError
from lib.quota import folder_bytes, quota_bytes, require_room, room, set_quota
from tests.data.folders import write_classes


def test_a_quota_is_kept_and_taken_away():
    assert quota_bytes() is None
    require_room(10**15, "Anything")
    set_quota(2.5)
    assert quota_bytes() == int(2.5 * 2**30)
    assert room().quota_bytes == quota_bytes()
    with pytest.raises(DiskFull, match=r"The import needs about 3\.0 GiB, and .* of the quota of 2\.5 GiB are used"):
        require_room(3 * 2**30, "The import")
    set_quota(None)
    assert quota_bytes() is None
    with pytest.raises(UserError, match=r"between 0\.1"):
        set_quota(0.0)


def test_links_count_once_and_holes_not_at_all(tmp_path: Path):
    (tmp_path / "below").mkdir()
    (tmp_path / "one").write_bytes(bytes(np.random.default_rng(0).integers(1, 255, 100_000, dtype=np.uint8)))
    os.link(tmp_path / "one", tmp_path / "below" / "same")
    with (tmp_path / "hole").open("wb") as opened:
        opened.truncate(10**9)
    assert folder_bytes(tmp_path) == 100_000
    assert folder_bytes(tmp_path / "nothing") == 0


def test_an_import_and_a_cache_that_would_exceed_it_are_refused(tmp_path: Path):
    folder = write_classes(tmp_path / "pets", {"cat": 5, "dog": 5})
    settings.runs_dir()
    (settings.home() / "large").write_bytes(bytes(range(256)) * 4096 * 103)  # 103 MiB of the least quota
    set_quota(0.1)
    with pytest.raises(DiskFull, match="The import needs about"):
        import_folder(folder)
    assert not [path for path in settings.datasets_dir().iterdir() if not path.name.startswith(".")]
    with pytest.raises(DiskFull, match="The cache needs about"):
        list(disk_cache.write_entry(disk_cache.entry_path("features", "k"), [np.ones((4, 4))], 4))
    set_quota(None)
    assert import_folder(folder).num_images == 10
