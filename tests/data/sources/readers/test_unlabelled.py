from pathlib import Path

import numpy as np
import pytest

from lib.data.dataset import NO_LABEL, Dataset
from lib.data.dataset_changes import change_dataset, rebuild_dataset
from lib.data.edits import add_edit, describe_edit, undo_edit
from lib.data.importing import import_folder, import_from, resolve_dataset
from lib.data.label_schema import SchemaChange
from lib.data.library import list_datasets, open_dataset
from lib.data.statistics import class_counts
from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.training.config import TrainConfig
from tests.data.folders import picture, write_classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "walk", {"monday": 8, "tuesday": 8})


def _import(folder: Path, classes: str = "cat, dog", **options) -> Dataset:
    return import_from("unlabelled", {"path": folder, "classes": classes}, **options)


def _label(dataset: Dataset, rows: list[int], name: str) -> Dataset:
    return add_edit(dataset.name, "relabel", dataset.table["image_id"].iloc[rows].tolist(), name)


def test_images_without_a_label_take_no_part_and_are_of_no_class(folder: Path):
    found = _import(folder)
    assert (found.class_names, found.num_images, found.is_unlabelled) == (("cat", "dog"), 16, True)
    assert found.table["target"].tolist() == [-1] * 16
    assert found.class_of(3) == NO_LABEL
    assert found.is_excluded.all()
    assert list_datasets()[0].num_images == 0
    with pytest.raises(UserError, match=r"0 of 16 images of 'walk' have a label, too few to train yet: .* Label more"):
        found.split(0)


def test_labelled_images_train_alone_and_each_label_can_be_undone(folder: Path):
    found = _import(folder)
    one = _label(found, [0], "cat")
    assert describe_edit(one.edits[0], one) == "1 image relabelled as cat"
    assert one.class_of(0) == "cat"
    assert undo_edit("walk", "1").version == found.version
    _label(found, [0, 1, 2, 3], "cat")
    after = _label(found, [5, 6, 7, 8, 9], "dog")
    assert list_datasets()[0].num_images == 9
    assert after.content_version == found.content_version
    for split in (after.split(0), after.split(0, num_folds=3, fold=1)):
        labelled = np.flatnonzero(split != "excluded")
        assert labelled.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
        assert set(split[labelled]) == {"train", "val", "test"}
        for part in ("train", "val", "test"):
            assert set(after.table["target"][split == part]) == {0, 1}
    assert class_counts(after, after.split(0))["count"].sum() == 9
    out = add_edit("walk", "exclude", [after.table["image_id"][0]])
    assert out.split(0)[0] == "excluded"
    assert list_datasets()[0].num_images == 8


def test_no_missing_label_leaks_into_merged_ordered_or_capped_classes(folder: Path):
    found = _import(folder, "a,b,c")
    for name, rows in (("a", [0, 1, 2, 3]), ("b", [4, 5, 6, 7]), ("c", [8, 9, 10, 11])):
        after = _label(found, rows, name)
    merged = apply_protocol(after, TrainConfig(dataset="walk", target_map="a=x,b=x,c=y"))
    assert merged.table["target"].tolist() == [0] * 8 + [1] * 4 + [-1] * 4
    first = apply_protocol(after, TrainConfig(dataset="walk", max_classes=2, max_per_class=3))
    assert sorted(first.table["target"]) == [0, 0, 0, 1, 1, 1]
    before = after.split(2)
    ordered = change_dataset("walk", SchemaChange(order=("c", "a", "b"), class_names={"c": "see"}))
    assert ordered.table["target"].tolist() == [1] * 4 + [2] * 4 + [0] * 4 + [-1] * 4
    assert np.array_equal(ordered.split(2), before)


def test_labels_outlive_new_images_and_another_crop(folder: Path):
    found = _import(folder)
    _label(found, [0, 1], "dog")
    picture(300).save(folder / "monday" / "new.png")
    again = resolve_dataset(folder)
    assert (again.num_images, (again.class_labels == "dog").sum()) == (17, 2)
    cut = rebuild_dataset("walk", "retina_box")
    assert (cut.is_unlabelled, (cut.class_labels == "dog").sum()) == (True, 2)


def test_a_folder_with_classes_and_one_to_be_labelled_are_two_sets(folder: Path):
    import_folder(folder, name="days")
    found = _import(folder)
    assert {found.name, "days"} == {one.name for one in list_datasets()}
    with pytest.raises(UserError, match="which has classes; choose another"):
        _import(folder, name="days")
    assert open_dataset("days").class_names == ("monday", "tuesday")


def test_names_of_eyes_are_patients(tmp_path: Path):
    root = tmp_path / "eyes"
    root.mkdir()
    for number in range(3):
        for side in ("left", "right"):
            picture(10 * number + len(side)).save(root / f"{number}_{side}.png")
    assert sorted(_import(root, "healthy,ill").table["group_id"]) == ["0", "0", "1", "1", "2", "2"]


@pytest.mark.parametrize(
    ("classes", "why"), [("cat", "at least two"), ("cat,cat", "given twice"), ("cat,,dog", "not empty")]
)
def test_classes_that_will_not_do(folder: Path, classes: str, why: str):
    with pytest.raises(UserError, match=why):
        _import(folder, classes)
    assert list_datasets() == []


def test_a_folder_without_an_image(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="There is no image"):
        _import(tmp_path / "empty")
