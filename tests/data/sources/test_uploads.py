"""Uploads wait as files, named by their content, until a data set has taken them over."""

import os
import tarfile

import pytest

from lib.data.importing import import_folder, import_from
from lib.data.sources.uploads import drop_upload, is_upload, keep_upload, keep_uploaded_folder
from lib.errors import UserError
from lib.settings import cache_dir
from tests.data.folders import write_classes

pytestmark = pytest.mark.usefixtures("home")


def test_the_same_content_is_the_same_file_for_a_day():
    path = keep_upload("../../pets.zip", b"x")
    assert path == keep_upload("C:\\me\\pets.zip", memoryview(b"x"))
    assert (path.name, path.read_bytes(), is_upload(path)) == ("pets.zip", b"x", True)
    assert keep_upload("pets.zip", b"y") != path
    assert len(keep_upload("\u00e9" * 300 + ".tar.gz", b"z").name.encode()) < 255
    os.utime(path.parent, (1, 1))
    keep_upload("later.zip", b"z")
    assert not path.exists()


def test_an_upload_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "own.zip").write_bytes(b"x")
    drop_upload(tmp_path / "own.zip")
    assert (tmp_path / "own.zip").exists()
    drop_upload(keep_upload("pets.zip", b"x"))
    assert not list((cache_dir() / "uploads").iterdir())


def test_an_uploaded_folder_gives_what_the_folder_gives(tmp_path):
    pets = write_classes(tmp_path / "pets", {"caf\u00e9 cat": 5, "dog": 5})
    files = [(f"pets/{path.relative_to(pets)}", path.read_bytes()) for path in pets.rglob("*.png")]
    path = keep_uploaded_folder(files)
    assert path.name == "pets.tar"
    assert keep_uploaded_folder(files[::-1]) == path
    with tarfile.open(path) as archive:
        assert sorted(archive.getnames()) == sorted(name for name, _ in files)
    first = import_from("archive", {"path": path})
    assert (first.name, first.content_version) == ("pets", import_folder(pets, name="folder").content_version)
    drop_upload(path)
    assert first.source_path(0)
    again = import_from("archive", {"path": keep_uploaded_folder(files)})
    assert again.description["created_s"] == first.description["created_s"]
    with pytest.raises(UserError, match="has no files"):
        keep_uploaded_folder([])


def test_an_upload_that_leads_out_is_refused():
    with pytest.raises(UserError, match="leads out of the archive"):
        import_from("archive", {"path": keep_uploaded_folder([("../a.png", b"x"), ("cat/1.png", b"y")])})
