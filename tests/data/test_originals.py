"""Where the originals of a data set are, and how they come along."""

from pathlib import Path

import pytest

from lib.data.originals import carry_originals, origin, originals_folder, stored_values, values_of
from lib.data.sources.catalogue import SOURCES
from lib.settings import downloads_dir

pytestmark = pytest.mark.usefixtures("home")


def test_the_folder_is_the_sources_or_the_data_sets_own(tmp_path):
    assert originals_folder(tmp_path, {"source": "/far/pets"}) == Path("/far/pets")
    assert not originals_folder(tmp_path, {"source": "generated"}).is_absolute()
    own = tmp_path / "originals" / "pets"
    assert originals_folder(tmp_path, {"source": "/far/pets.zip", **origin(own, tmp_path)}) == own
    assert origin(Path("/far/pets"), tmp_path) == {}
    assert origin(downloads_dir() / "food101", tmp_path)["originals"].endswith("downloads/food101")


def test_originals_are_carried_by_links(tmp_path, monkeypatch):
    for name in ("old", "new", "third"):
        (tmp_path / name).mkdir()
    carry_originals(tmp_path / "old", tmp_path / "new")  # nothing to carry
    assert not list((tmp_path / "new").iterdir())
    (tmp_path / "old/originals/cat").mkdir(parents=True)
    first = tmp_path / "old/originals/cat/1.jpg"
    first.write_bytes(b"x")
    carry_originals(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new/originals/cat/1.jpg").samefile(first)

    def refuse(*_):
        raise OSError

    monkeypatch.setattr("os.link", refuse)
    carry_originals(tmp_path / "old", tmp_path / "third")
    copy = tmp_path / "third/originals/cat/1.jpg"
    assert (copy.read_bytes(), copy.samefile(first), copy.stat().st_mtime_ns) == (b"x", False, first.stat().st_mtime_ns)


def test_values_come_back_as_they_were_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.zip", "far.csv"):
        Path(name).write_bytes(b"")
    spec = SOURCES.get("archive")
    checked = spec.complete({"path": "a.zip", "labels": ("far.csv", "inside.csv"), "pairs": "no"})
    stored = stored_values(spec, checked)
    assert stored["source_values"] == {"path": str(tmp_path / "a.zip")}
    assert stored["labels"] == (str(tmp_path / "far.csv"), "inside.csv")
    description = {"source": str(tmp_path / "a.zip"), "options": stored}
    assert values_of(description) == {**checked, "labels": stored["labels"]}
    (tmp_path / "pets").mkdir()
    folder = SOURCES.get("folder")
    stored = stored_values(folder, folder.complete({"path": "pets", "labels": "far.csv"}))
    assert (stored["source_values"], stored["labels"]) == ({}, (str(tmp_path / "far.csv"),))
    assert values_of({"source": str(tmp_path / "pets"), "options": stored})["path"] == tmp_path / "pets"
