import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib import settings
from lib.atomic import read_json, sha256_of_file, write_json
from lib.data.importing import import_folder, resolve_dataset
from lib.data.library import list_datasets, open_dataset
from lib.errors import Stopped, UserError
from tests.data.folders import picture, write_classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "my pets", {"cat": 5, "dog": 4})


def _left_behind() -> list[str]:
    return [path.name for path in settings.datasets_dir().iterdir() if path.name != ".locks"]


def test_resolve_imports_once_and_again_after_a_change(folder: Path, monkeypatch: pytest.MonkeyPatch):
    first = resolve_dataset(folder)
    created_s = first.description["created_s"]
    assert resolve_dataset(str(folder)).description["created_s"] == created_s
    assert resolve_dataset("my-pets").version == first.version
    monkeypatch.chdir(folder.parent)
    assert resolve_dataset("my pets").version == first.version  # a relative path
    pixels, unread = first.pixels, open_dataset("my-pets")
    (folder / "notes.txt").write_text("not an image")
    assert resolve_dataset(folder).description["created_s"] == created_s
    picture(50).save(folder / "dog" / "new.png")
    second = resolve_dataset(folder)
    assert (second.name, second.num_images) == ("my-pets", 10)
    assert second.version != first.version
    assert len(pixels) == 9  # a reader of the old version keeps it
    assert np.array_equal(pixels[0], second.pixels[0])
    with pytest.raises(UserError, match="were imported anew meanwhile"):  # never half of one and half of the other
        _ = unread.pixels
    assert [item.name for item in list_datasets()] == ["my-pets"]


def test_a_repeated_import_uses_the_options_of_the_last(folder: Path):
    (folder / "metadata.csv").write_text(
        "path,patient\n"
        + "".join(f"{name}/{n}.png,{name}{n}\n" for name, k in (("cat", 5), ("dog", 4)) for n in range(k))
    )
    import_folder(folder, name="pets", group_column="patient", spec_changes={"title": "Pets", "is_medical": True})
    picture(60).save(folder / "dog" / "without-a-patient.png")
    dataset = resolve_dataset(folder)
    assert dataset.name == "pets"
    assert dataset.spec.title == "Pets"
    assert dataset.spec.is_medical
    assert list(dataset.table["group_id"][:2]) == ["cat0", "cat1"]
    assert list(dataset.left_out["path"]) == ["dog/without-a-patient.png"]


def test_same_content_gives_the_same_version_elsewhere(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "other" / "pets")
    assert import_folder(folder).version == import_folder(tmp_path / "other" / "pets").version


def test_two_folders_of_one_name_are_two_data_sets(folder: Path, tmp_path: Path):
    other = write_classes(tmp_path / "b" / "my pets", {"x": 3, "y": 3}, first_seed=70)
    first, second = resolve_dataset(folder), resolve_dataset(other)
    assert first.name == "my-pets"
    assert second.name.startswith("my-pets-")
    with pytest.raises(UserError, match="is taken by the data set from"):
        import_folder(other, name="my-pets")


@pytest.mark.parametrize("name", ["../x", "a b", ".hidden", "", "x" * 100, "synthetic-fundus"])
def test_names_that_will_not_do(folder: Path, name: str):
    with pytest.raises(UserError, match="name"):
        import_folder(folder, name=name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("my-pet", "Did you mean 'my-pets'"),
        ("/no/such/folder", "There is no folder /no/such/folder"),
        ("../x", "There is no folder"),
        ("", "No data set was given"),
        (".", "5 images but no class folders"),
    ],
)
def test_resolve_says_what_is_wrong(folder: Path, given: str, message: str, monkeypatch: pytest.MonkeyPatch):
    import_folder(folder)
    monkeypatch.chdir(folder / "cat")
    with pytest.raises(UserError, match=message):
        resolve_dataset(given)


def test_an_interrupted_import_leaves_nothing(folder: Path):
    def stop(done: int, total: int, what: str) -> None:
        if what == "decoding images":
            raise Stopped

    with pytest.raises(Stopped):
        import_folder(folder, progress=stop)
    assert _left_behind() == []


def test_progress_counts_to_the_end(folder: Path):
    seen = []
    import_folder(folder, progress=lambda done, total, what: seen.append((what, done, total)))
    assert seen[8] == ("reading headers", 9, 9)
    assert seen[-1] == ("decoding images", 9, 9)


def test_a_class_with_too_few_images_is_an_error_unless_only_looked_at(tmp_path: Path):
    root = write_classes(tmp_path / "set", {"a": 5, "b": 1})
    with pytest.raises(UserError, match="Class 'b' has 1 image;"):
        import_folder(root)
    assert _left_behind() == []
    assert import_folder(root, check_splits=False).num_images == 6
    with pytest.raises(UserError, match="Class 'b' has 1 image;"):
        resolve_dataset(root)


def test_a_data_set_of_before_label_files_opens_and_is_not_imported_again(folder: Path):
    dataset = import_folder(folder)
    description = read_json(dataset.folder / "dataset.json")
    for key in ("labels", "class_column", "image_column", "pairs"):
        del description["options"][key]
    del description["spec"]["split_caveat"], description["notices"]
    path = dataset.folder / "table.parquet"
    pd.read_parquet(path).drop(columns="source_path").to_parquet(path, index=False)
    description["num_bytes"]["table.parquet"] = path.stat().st_size
    description["sha256"]["table.parquet"] = sha256_of_file(path)
    write_json(dataset.folder / "dataset.json", description)
    found = resolve_dataset(folder)
    assert found.description["created_s"] == dataset.description["created_s"]
    assert (found.notices, found.spec.split_caveat) == ([], "")
    assert found.source_path(0) == folder / "cat" / "0.png"
