import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib import settings
from lib.atomic import read_json, sha256_of_file, write_json
from lib.data import library
from lib.data.dataset import PIXELS_FILE
from lib.data.library import (
    delete_dataset,
    estimate_import,
    import_folder,
    list_datasets,
    open_dataset,
    resolve_dataset,
    restore_dataset,
)
from lib.data.staging import STAGING_PREFIX
from lib.errors import Stopped, UserError
from tests.data.folders import picture, write_classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "my pets", {"cat": 5, "dog": 4})


def _left_behind() -> list[str]:
    return [path.name for path in settings.datasets_dir().iterdir() if path.name != ".locks"]


def test_import_keeps_pixels_and_table_in_step(folder: Path):
    dataset = import_folder(folder)
    assert (dataset.name, dataset.num_images, dataset.class_names) == ("my-pets", 9, ("cat", "dog"))
    assert dataset.spec.store_side_px == 64  # the least, though the images have 32
    assert dataset.pixels.shape == (9, 64, 64, 3)
    for row, path in enumerate(dataset.table["path"]):
        expected = Image.open(folder / path).resize((64, 64), Image.Resampling.BICUBIC)
        assert np.array_equal(dataset.pixels[row], np.asarray(expected))
        assert dataset.class_names[dataset.table["target"][row]] == path.split("/")[0]
    dataset.verify()
    assert list_datasets()[0].num_classes == 2


def test_unreadable_files_and_duplicates_are_left_out_with_reasons(folder: Path):
    (folder / "cat" / "empty.jpg").touch()
    (folder / "cat" / "text.jpg").write_text("no image")
    (folder / "dog" / "cut.png").write_bytes((folder / "dog" / "0.png").read_bytes()[:300])
    shutil.copy(folder / "cat" / "0.png", folder / "cat" / "copy.png")
    shutil.copy(folder / "cat" / "1.png", folder / "dog" / "twin.png")
    dataset = import_folder(folder)
    reasons = dict(zip(dataset.left_out["path"], dataset.left_out["reason"], strict=True))
    assert set(reasons) == {
        "cat/empty.jpg",
        "cat/text.jpg",
        "dog/cut.png",
        "cat/copy.png",
        "dog/twin.png",
        "cat/1.png",
    }
    assert reasons["cat/copy.png"] == "same content as cat/0.png"
    assert reasons["dog/twin.png"] == "same content as cat/1.png, which is in another class"
    assert "cut off" in reasons["dog/cut.png"]
    # The row behind the damaged file still shows its own picture.
    row = list(dataset.table["path"]).index("dog/3.png")
    expected = Image.open(folder / "dog" / "3.png").resize((64, 64), Image.Resampling.BICUBIC)
    assert np.array_equal(dataset.pixels[row], np.asarray(expected))
    assert dataset.num_images == 8


def test_a_test_copy_stays_rather_than_a_training_copy(tmp_path: Path):
    root = write_classes(tmp_path / "set", {f"{part}/{name}": 4 for part in ("train", "val") for name in ("a", "b")})
    shutil.copy(root / "val/a/0.png", root / "train/a/same.png")
    dataset = import_folder(root)
    assert list(dataset.left_out["path"]) == ["train/a/same.png"]
    splits = dataset.split(0)
    assert set(splits[dataset.table["split"] == "val"]) == {"test"}


def test_store_side_is_the_largest_short_side_at_most(tmp_path: Path):
    root = write_classes(tmp_path / "set", {"a": 3, "b": 3})
    picture(99, width=200, height=100).save(root / "a" / "large.png")
    assert import_folder(root).spec.store_side_px == 100
    assert import_folder(root, name="small", store_side_px=80).spec.store_side_px == 80
    with pytest.raises(UserError, match="64 to 2048"):
        import_folder(root, name="tiny", store_side_px=10)


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


def test_what_a_killed_import_left_is_removed_by_the_next(folder: Path):
    stale = settings.datasets_dir() / f"{STAGING_PREFIX}999999999-ab"
    stale.mkdir()
    alive = settings.datasets_dir() / f"{STAGING_PREFIX}{os.getpid()}-cd"
    alive.mkdir()
    import_folder(folder)
    assert not stale.exists()
    assert alive.exists()


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


def test_a_class_without_a_usable_image_is_named(tmp_path: Path):
    root = write_classes(tmp_path / "set", {"a": 5, "b": 0})
    (root / "b" / "1.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"Class 'b' has no usable image \(such as b/1.jpg: The file is not JPEG"):
        import_folder(root)


def test_a_full_disk_is_noticed_before_decoding(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lib.data.store_writer.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match="free some space"):
        import_folder(folder)


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


def test_damage_is_noticed(folder: Path):
    dataset = import_folder(folder)
    path = dataset.folder / PIXELS_FILE
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(UserError, match="checksum"):
        open_dataset("my-pets").verify()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match="is damaged"):
        open_dataset("my-pets")
    (dataset.folder / "dataset.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        open_dataset("my-pets")
    assert list_datasets() == []
    delete_dataset("my-pets")


def test_estimate_is_an_upper_bound_for_the_disk(folder: Path):
    estimate = estimate_import(folder)
    assert estimate.num_files == 9
    assert estimate.store_mib == pytest.approx(9 * 384 * 384 * 3 / 2**20)
    assert 0 < estimate.seconds < 60


def test_default_data_set_is_generated_once():
    dataset = library.make_synthetic_fundus(per_class=5, size_px=64)
    assert dataset.spec.mask_names[0] == "Microaneurysm"
    assert dataset.has_masks
    assert (dataset.name, dataset.num_images, dataset.spec.num_classes) == ("synthetic-fundus", 25, 5)
    assert dataset.spec.is_ordinal
    assert dataset.spec.is_medical
    assert dataset.spec.crop_policy == "retina_box"
    splits = dataset.split(0)
    for group in set(dataset.table["group_id"]):
        assert len(set(splits[dataset.table["group_id"] == group])) == 1
    assert library.ensure_default_dataset().description["created_s"] == dataset.description["created_s"]
    again = library.make_synthetic_fundus(per_class=5, size_px=64)
    assert again.description["created_s"] == dataset.description["created_s"]


def test_other_arguments_replace_the_default_data_set():
    first = library.make_synthetic_fundus(per_class=5, size_px=64)
    assert library.make_synthetic_fundus(per_class=5, size_px=64, seed=1).version != first.version
    assert [item.name for item in list_datasets()] == ["synthetic-fundus"]
    with pytest.raises(UserError, match="5 to 100000"):
        library.make_synthetic_fundus(per_class=2)


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
