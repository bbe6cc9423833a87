"""Zip and tar as a source: unpacked into the data set, read as a folder is, gone with it and back with it."""

import json
import os
import shutil

import pytest

from lib.cli import run
from lib.data.dataset_changes import rebuild_dataset, require_originals
from lib.data.importing import import_folder, import_from, resolve_dataset
from lib.data.library import delete_dataset, list_datasets, open_dataset, restore_dataset
from lib.data.sources.catalogue import SOURCES
from lib.data.sources.table import SourceRequest
from lib.errors import Stopped, UserError
from lib.settings import cache_dir, datasets_dir, trash_dir
from tests.data.folders import encoded, picture, write_classes
from tests.data.sources.archives import tar_of, tar_with, zip_of
from tests.data.sources.test_excel import write_workbook
from tests.data.sources.trees import write_csv

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def pets(tmp_path):
    return write_classes(tmp_path / "pets", {"caf\u00e9 cat": 5, "dog": 5})


@pytest.mark.parametrize("make", [lambda pets: zip_of(pets, pets.parent / "pets.zip", top="pets/"),
                                  lambda pets: tar_of(pets, pets.parent / "pets.tar.gz")])  # fmt: skip
def test_an_archive_gives_what_its_folder_gives(pets, make):
    path = make(pets)
    dataset, folder = import_from("archive", {"path": path}), import_folder(pets, name="folder")
    assert (dataset.name, dataset.content_version) == ("pets", folder.content_version)
    assert dataset.source_folder.is_relative_to(datasets_dir() / "pets" / "originals")
    assert all(dataset.source_path(row) for row in range(10))
    assert (dataset.thumbnail(3), dataset.left_out.empty) == (folder.thumbnail(3), True)
    dataset.verify()


def test_it_is_imported_once_and_anew_where_it_changed(tmp_path, pets, monkeypatch):
    path = zip_of(pets, tmp_path / "pets.zip")
    first = resolve_dataset(path)
    again = resolve_dataset(str(path))
    assert again.description["created_s"] == first.description["created_s"]
    path.touch()
    assert resolve_dataset(path).description["created_s"] == first.description["created_s"]  # the same files inside
    (pets / "dog" / "0.png").unlink()
    zip_of(pets, path)
    assert (resolve_dataset(path).num_images, len(list_datasets())) == (9, 1)
    write_csv(pets / "labels.csv", ("path", "kind"), [(f"dog/{n}.png", "ab"[n % 2]) for n in range(1, 5)])
    with pytest.raises(UserError, match=r"There is no label file labels\.csv, here or in .*pets\.zip or beside it"):
        import_from("archive", {"path": path, "labels": "labels.csv"})  # it came after the zip
    assert open_dataset("pets").num_images == 9


def test_the_originals_go_and_come_back_with_it_without_the_archive(tmp_path, pets):
    path = tar_of(pets, tmp_path / "pets.tgz")
    dataset = import_from("archive", {"path": path}, name="kept")
    path.unlink()
    require_originals(dataset)
    rebuilt = rebuild_dataset("kept", "retina_box")
    assert rebuilt.spec.crop_policy == "retina_box"
    require_originals(rebuilt)
    key = delete_dataset("kept")
    assert list((trash_dir() / key / "originals").rglob("*.png"))
    assert not (datasets_dir() / "kept").exists()
    assert restore_dataset(key).source_path(0)
    assert rebuild_dataset("kept", "center_square").content_version == dataset.content_version
    with pytest.raises(UserError, match="There is no file"):
        import_from("archive", {"path": path}, name="kept")


def test_other_options_do_not_unpack_again(tmp_path, pets, monkeypatch):
    path = zip_of(pets, tmp_path / "pets.zip")
    first = import_from("archive", {"path": path})
    monkeypatch.setattr("lib.data.sources.readers.archive.unpack", None)
    second = import_from("archive", {"path": path}, store_side_px=64)
    assert second.spec.store_side_px < first.spec.store_side_px or second.spec.store_side_px == 64
    assert second.source_path(0)


def flat(root, names):
    root.mkdir()
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(encoded(picture(seed), "PNG"))
    return root


NUMBERS = [f"{number}.png" for number in range(10)]


def labelled_2015(root):
    names = [f"{number}_{eye}.png" for number in range(6) for eye in ("left", "right")]
    flat(root, names)
    write_csv(root / "trainLabels.csv", ("image", "level"), [(n[:-4], i // 2 % 2) for i, n in enumerate(names)])


def labelled_aptos(root):
    flat(root, [f"train_images/{name}" for name in NUMBERS])
    write_csv(root / "train.csv", ("id_code", "diagnosis"), [(n[:-4], i % 2) for i, n in enumerate(NUMBERS)])


def labelled_idrid(root):
    root.mkdir()
    flat(
        root / "1. Original Images",
        [f"a. Training Set/{n}" for n in NUMBERS] + [f"b. Testing Set/{n}" for n in NUMBERS[:4]],
    )
    for part, names in (("Training", NUMBERS), ("Testing", NUMBERS[:4])):
        rows = [(name[:-4], index % 2, 0) for index, name in enumerate(names)]
        header = ("Image name", "Retinopathy grade", "Risk of macular edema ")
        write_csv(root / "2. Groundtruths" / f"IDRiD_Disease Grading_{part} Labels.csv", header, rows)


def labelled_messidor(root):
    flat(root, NUMBERS)
    header = ("image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable")
    rows = [(name.replace("png", "tif"), index % 2, 0, 1) for index, name in enumerate(NUMBERS)]
    write_csv(root / "messidor_data.csv", header, [*rows[:-1], (rows[-1][0], "", "", 0)])


def labelled_excel(root):
    flat(root, NUMBERS)
    write_workbook(
        root / "grades.xlsx", S=[("file", "class"), *[(name, float(i % 2)) for i, name in enumerate(NUMBERS)]]
    )


def named(root):
    flat(root, [f"{('cat', 'dog')[number % 2]}.{number}.png" for number in range(10)])


FORMS = {
    "2015": (labelled_2015, {}, (12, ["0", "1"], 6)),
    "aptos": (labelled_aptos, {}, (10, ["0", "1"], 0)),
    "idrid": (labelled_idrid, {}, (14, ["0", "1"], 0)),
    "messidor": (labelled_messidor, {}, (9, ["0", "1"], 0)),
    "excel": (labelled_excel, {}, (10, ["0", "1"], 0)),
    "names": (named, {"name_pattern": "{class}.{number}"}, (10, ["cat", "dog"], 0)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_labels_is_read_as_folder_and_within_archives(tmp_path, form):
    make, options, expected = FORMS[form]
    make(tmp_path / "set")
    folder = tmp_path / "set"
    paths = {
        "folder": folder,
        "zip": zip_of(folder, tmp_path / "a.zip", top="my set/"),
        "tar": tar_of(folder, tmp_path / "b.tgz"),
    }
    said = []
    for kind, path in paths.items():
        spec = SOURCES.get("folder" if kind == "folder" else "archive")
        request = SourceRequest(values=spec.complete({"path": path, **options}), folder=tmp_path / kind / "originals")
        scan = spec.read(request).scan
        said.append([(one.path.read_bytes(), one.class_name, one.split, one.group_id) for one in scan.entries])
        num_groups = len({one.group_id for one in scan.entries} - {""})
        assert (len(scan.entries), list(scan.class_names), num_groups) == expected
    assert said[0] == said[1] == said[2]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_labels_imports_by_command_as_folder_and_from_archives(tmp_path, form, capsys):
    """By the command line; twice the same, and the same from an archive."""
    make, options, expected = FORMS[form]
    make(tmp_path / "set")
    shutil.copytree(tmp_path / "set", tmp_path / "again")
    folder = tmp_path / "set"
    paths = (
        folder,
        tmp_path / "again",
        zip_of(folder, tmp_path / "a.zip", top="my set/"),
        tar_of(folder, tmp_path / "b.tgz"),
    )
    versions = set()
    for path in paths:
        words = [f"--set={name}={value}" for name, value in options.items()]
        assert run(["datasets", "import", str(path), *words, "--json"]) == 0, capsys.readouterr().err
        facts = json.loads(capsys.readouterr().out.splitlines()[-1])
        dataset = open_dataset(facts["name"])
        assert (dataset.num_images, list(dataset.class_names)) == expected[:2]
        versions.add(dataset.content_version)
    assert len(versions) == 1


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
def test_nothing_is_imported_by_half(tmp_path, pets, name, capsys):
    if name == "a.zip":
        import zipfile

        zip_of(pets, tmp_path / name)
        with zipfile.ZipFile(tmp_path / name, "a") as archive:
            archive.writestr("../../out.png", b"x")
    else:
        tar_with(tmp_path / name, ("cat/1.png", b"x", {}), ("../out.png", b"x", {}))
    assert run(["datasets", "import", str(tmp_path / name)]) == 2
    said = capsys.readouterr().err
    assert "leads out of the archive" in said
    assert said.count("\n") == 1
    with pytest.raises(UserError, match="leads out of the archive"):  # where nobody looked before
        import_from("archive", {"path": tmp_path / name})
    assert [path.name for path in datasets_dir().iterdir()] == [".locks"]


def stop_at(step):
    def stop(done, _total, what):
        if what == step and done > 3:
            raise Stopped

    return stop


def test_cancelling_leaves_nothing_behind_but_rows_that_the_next_try_takes(tmp_path, pets):
    path = zip_of(pets, tmp_path / "pets.zip")
    with pytest.raises(Stopped):
        import_from("archive", {"path": path}, progress=lambda *_: (_ for _ in ()).throw(Stopped))  # while it unpacks
    assert [child.name for child in datasets_dir().iterdir()] == [".locks"]
    with pytest.raises(Stopped):
        import_from("archive", {"path": path}, progress=stop_at("decoding images"))
    assert not list(datasets_dir().rglob("*.png"))
    again = import_from("archive", {"path": path})
    assert again.content_version == import_folder(pets, name="folder").content_version
    assert again.source_path(9)
    assert sorted(child.name for child in datasets_dir().iterdir()) == [".locks", "folder", "pets"]


def test_a_preview_is_kept_a_day_and_made_again_where_the_archive_changed(tmp_path, pets):
    path = zip_of(pets, tmp_path / "pets.zip", top="pets/")
    spec = SOURCES.get("archive")
    request = SourceRequest(values=spec.complete({"path": path}), folder=tmp_path / "unused")
    folder = spec.look(request)
    assert sorted(child.name for child in folder.iterdir()) == ["caf\u00e9 cat", "dog"]
    assert spec.look(request) == folder
    old = cache_dir() / "archives" / "old"
    old.mkdir()
    os.utime(old, (1, 1))
    path.touch()
    assert spec.look(request) != folder
    assert not old.exists()
    assert not list((cache_dir() / "archives").glob("*.*"))
