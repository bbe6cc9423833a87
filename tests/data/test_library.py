import os
from pathlib import Path

import pytest

from lib import settings
from lib.data.importing import import_folder
from lib.data.library import STAGING_PREFIX, delete_dataset, list_datasets, open_dataset, restore_dataset
from lib.errors import UserError
from tests.data.folders import write_classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "my pets", {"cat": 5, "dog": 4})


def test_what_a_killed_import_left_is_removed_by_the_next(folder: Path):
    stale = settings.datasets_dir() / f"{STAGING_PREFIX}999999999-ab"
    stale.mkdir()
    alive = settings.datasets_dir() / f"{STAGING_PREFIX}{os.getpid()}-cd"
    alive.mkdir()
    import_folder(folder)
    assert not stale.exists()
    assert alive.exists()


def test_delete_and_restore(folder: Path):
    version = import_folder(folder).version
    key = delete_dataset("my-pets")
    assert list_datasets() == []
    with pytest.raises(UserError, match="no data set"):
        open_dataset("my-pets")
    assert restore_dataset(key).version == version
    with pytest.raises(UserError, match="no deleted data set"):
        restore_dataset(key)
    with pytest.raises(UserError, match="no deleted data set"):
        restore_dataset("../datasets/my-pets")
