from pathlib import Path

import numpy as np
import pytest

from lib import disk_cache, settings
from lib.data.importing import import_folder
from lib.data.library import list_datasets
from lib.errors import UserError
from lib.storage import delete_stored, empty_trash, list_storage, restore_stored
from lib.tracking import create_run, get_run
from tests.data.folders import write_classes
from tests.run_store import make_run_store


def _of(kind: str) -> dict:
    return {one.key: one for one in list_storage() if one.kind == kind}


@pytest.fixture
def stored(tmp_path: Path) -> str:
    import_folder(write_classes(tmp_path / "pets", {"cat": 5, "dog": 5}))
    list(disk_cache.write_entry(disk_cache.entry_path("features", "k"), [np.ones((64, 64))], 64))
    (settings.downloads_dir() / "eurosat").mkdir()
    (settings.downloads_dir() / "eurosat" / "a.zip").write_bytes(bytes(range(256)) * 40)
    make_run_store()
    run = create_run({"dataset": "pets"}, name="A run")
    run.finish("finished")
    return run.run_id


def test_everything_that_takes_room_is_listed_by_kind_and_size(stored: str):
    assert [one.kind for one in list_storage()] == ["dataset", "run", "cache", "download"]
    assert _of("dataset")["pets"].num_bytes >= 10 * 64 * 64 * 3
    assert _of("run")[stored].title == "A run"
    assert _of("cache")["features"].num_bytes >= 64 * 64 * 8
    assert _of("download")["eurosat"].num_bytes == 10_240


def test_what_is_deleted_can_be_brought_back_until_the_trash_is_emptied(stored: str):
    for kind, key in (("dataset", "pets"), ("run", stored), ("download", "eurosat")):
        bring_back = delete_stored(kind, key)
        assert _of(kind) == {}
        assert len(_of("trash")) == 1
        bring_back()
        assert list(_of(kind)) == [key]
        delete_stored(kind, key)
        (trashed,) = _of("trash")
        restore_stored(trashed)
        assert (list(_of(kind)), _of("trash")) == ([key], {})
    assert get_run(stored).state == "finished"
    (settings.runs_dir() / ("0" * 32) / "artifacts").mkdir(parents=True)  # of a run that nobody knows any more
    ((settings.runs_dir() / ("0" * 32)) / "artifacts" / "log.txt").write_text("log")
    ((settings.runs_dir() / stored) / "artifacts").mkdir(exist_ok=True)
    delete_stored("dataset", "pets")
    assert sorted(one.title for one in _of("trash").values())[1] == "left of run 000000000000"
    assert "pets" in next(iter(_of("trash").values())).title
    assert empty_trash() > 100_000
    assert (_of("trash"), list_datasets()) == ({}, [])
    assert delete_stored("cache", "features") is None
    assert _of("cache") == {}


def test_what_is_not_there_or_in_use_is_one_sentence(stored: str):
    for kind, key, why in (
        ("dataset", "petz", "no data set"), ("download", "../datasets", "no download"), ("run", "nobody", "no run"),
        ("cache", "everything", "no cache"), ("trash", "x", "nothing 'x' in the trash"),
        ("planet", "x", "What is stored"),
        ("interrupted", "x", "no interrupted import"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"(?i){why}"):
            delete_stored(kind, key)
    with pytest.raises(UserError, match="cannot be brought back"):
        restore_stored("download-eurosat-1")
    assert len(list_storage()) == 4
