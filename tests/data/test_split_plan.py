"""A split drawn by a plan and kept: shares, groups, copies, classes; versions, runs of before, folds, undo."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.dataset import Dataset
from lib.data.dataset_changes import change_dataset
from lib.data.edits import add_edit, describe_edit, edits_table, undo_edit
from lib.data.importing import import_folder
from lib.data.label_schema import SchemaChange
from lib.data.library import open_dataset
from lib.data.split_plan import (
    ALONE,
    FOLDERS,
    SplitPlan,
    draw_split,
    is_divided_by_hand,
    keep_split,
    split_table,
    units_of,
)
from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.training.config import TrainConfig
from tests.data.folders import picture, write_classes


@pytest.fixture
def pets(tmp_path: Path) -> Dataset:
    return import_folder(write_classes(tmp_path / "pets", {"cat": 20, "dog": 30}))


@pytest.fixture
def eyes(tmp_path: Path) -> Dataset:
    """Two eyes of each of 30 patients, in two classes."""
    for number in range(30):
        folder = tmp_path / "eyes" / ("ill" if number % 3 == 0 else "well")
        folder.mkdir(parents=True, exist_ok=True)
        for side in ("left", "right"):
            picture(2 * number + (side == "left")).save(folder / f"{number}_{side}.png")
    return import_folder(tmp_path / "eyes")


def counts(split: np.ndarray) -> dict[str, int]:
    names, numbers = np.unique(split, return_counts=True)
    return dict(zip(names.tolist(), numbers.tolist(), strict=True))


def test_shares_are_of_all_images_and_of_every_class(pets: Dataset):
    split = draw_split(pets, SplitPlan(test_share=0.3, val_share=0.1))
    assert counts(split) == {"test": 15, "val": 5, "train": 30}
    table = split_table(pets, split).set_index(["class_name", "split"])
    assert table.loc[("cat", "test")].tolist() == [6, 0.3, 6]
    assert table.loc[("dog", "val")].tolist() == [3, 0.1, 3]
    assert table.loc[("", "train"), "images"] == 30
    assert np.array_equal(split, draw_split(pets, SplitPlan(test_share=0.3, val_share=0.1)))
    assert not np.array_equal(split, draw_split(pets, SplitPlan(test_share=0.3, val_share=0.1, seed=1)))


def test_groups_stay_together_and_are_counted(eyes: Dataset):
    for is_stratified in (True, False):
        split = draw_split(eyes, SplitPlan(is_stratified=is_stratified))
        for group in set(eyes.table["group_id"]):
            assert len(set(split[eyes.table["group_id"] == group])) == 1
        table = split_table(eyes, split)
        assert (table["images"] == 2 * table["groups"]).all()
        assert abs((split == "test").mean() - 0.2) < 0.07
    with pytest.raises(UserError, match=r"groups \(patients\) would be in more than one part"):
        draw_split(eyes, SplitPlan(group=ALONE))


def test_without_stratification_groups_are_dealt_as_they_come(pets: Dataset):
    split = draw_split(pets, SplitPlan(test_share=0.5, val_share=0.2, is_stratified=False))
    assert counts(split) == {"test": 25, "val": 10, "train": 15}
    cats = [
        int((draw_split(pets, SplitPlan(is_stratified=False, seed=seed))[:20] == "test").sum()) for seed in range(6)
    ]
    assert len(set(cats)) > 1  # four of ten would be alike


def test_folders_and_copies_can_be_what_stays_together(pets: Dataset):
    copies = np.full(50, -1)
    copies[[0, 1]], copies[[1, 30]] = 0, 0  # a cat, its copy, and a dog that is one of the cat
    units = units_of(pets, ALONE, copies)
    assert units[0] == units[1] == units[30]
    assert len(np.unique(units)) == 48
    for seed in range(5):
        split = draw_split(pets, SplitPlan(seed=seed), copies)
        assert len(set(split[[0, 1, 30]])) == 1
    crossing = pets.split(0)
    crossing[0], crossing[1] = "train", "test"
    with pytest.raises(
        UserError, match=r"1 set of near duplicates would be in more than one part, such as cat/0.png \("
    ):
        keep_split(pets, crossing, copies=copies)
    with pytest.raises(UserError, match="has 1 group"):
        draw_split(pets, SplitPlan(group=FOLDERS))  # a folder a class


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"test_share": 0.0}, "share to test on lies between 0 and 1, received 0"),
        ({"val_share": 1.5}, "share to validate on"),
        ({"test_share": 0.6, "val_share": 0.4}, "leave nothing to train"),
        ({"group": "site"}, "one of groups, folders, none, not 'site'"),
    ],
)
def test_plans_that_will_not_do(plan: dict, message: str):
    with pytest.raises(UserError, match=message):
        SplitPlan(**plan)


def test_a_kept_split_is_a_version_fixed_for_every_seed_and_undone(pets: Dataset):
    split = draw_split(pets, SplitPlan(test_share=0.4, val_share=0.2, seed=5))
    after = keep_split(pets, split, "for the study")
    assert after.version != pets.version
    assert after.content_version == pets.content_version
    assert not is_divided_by_hand(pets)
    assert is_divided_by_hand(after)
    for seed in (0, 7):
        assert np.array_equal(after.split(seed), split)
    (edit,) = after.edits
    assert (edit.kind, edit.reason) == ("split", "for the study")
    assert describe_edit(edit, after) == "50 images divided: 20 train, 10 val, 20 test"
    assert edits_table(after)["value"].tolist() == split.tolist()
    # A run of before still reads its own, and the undo brings it back.
    assert np.array_equal(open_dataset("pets", version=pets.version).split(0), pets.split(0))
    back = undo_edit("pets", edit.edit_id)
    assert back.version == pets.version
    assert not is_divided_by_hand(back)
    assert np.array_equal(back.at_version(after.version).split(0), split)
    assert keep_split(back, split).version == after.version


def test_only_what_changes_is_written_and_nothing_twice(pets: Dataset):
    split = draw_split(pets, SplitPlan())
    after = keep_split(pets, split)
    with pytest.raises(UserError, match="divided so already"):
        keep_split(after, split)
    split[np.flatnonzero(split == "train")[0]] = "test"
    again = keep_split(after, split)
    assert len(again.edits[-1].image_ids) == 1
    assert np.array_equal(again.split(0), split)
    with pytest.raises(UserError, match="was changed meanwhile"):
        keep_split(after, draw_split(after, SplitPlan(seed=3)))


def test_folds_and_folders_of_the_source(tmp_path: Path):
    root = tmp_path / "divided"
    for number, part in enumerate(("train", "test")):
        write_classes(root / part, {"a": 10, "b": 10}, first_seed=100 * number)
    dataset = import_folder(root)
    folds = [dataset.split(0, num_folds=3, fold=fold) for fold in range(3)]
    split = draw_split(dataset, SplitPlan(test_share=0.25, val_share=0.25))
    assert counts(split) == {"test": 10, "val": 10, "train": 20}  # not the folders' own
    after = keep_split(dataset, split)
    assert np.array_equal(after.split(0), split)
    for fold, before in enumerate(folds):
        assert np.array_equal(after.split(0, num_folds=3, fold=fold), before)
    protocol = apply_protocol(after, TrainConfig(dataset="divided", max_per_class=15))
    assert set(protocol.split(0)) == {"train", "val", "test"}
    own = after.split(0)[after.indices(protocol.table["image_id"].tolist())]
    assert np.array_equal(protocol.split(0), own)


def test_excluded_relabelled_and_renamed_images(pets: Dataset):
    ids = pets.table["image_id"].tolist()
    add_edit("pets", "relabel", ids[:4], "dog")
    add_edit("pets", "exclude", ids[10:15])
    edited = change_dataset("pets", SchemaChange(class_names={"cat": "felis"}))
    split = draw_split(edited, SplitPlan())
    assert counts(split)["excluded"] == 5
    table = split_table(edited, split).set_index(["class_name", "split"])["images"]
    assert (table["felis"].sum(), table["dog"].sum()) == (11, 34)
    after = keep_split(edited, split)
    assert np.array_equal(after.split(0), split)
    restored = add_edit("pets", "restore", ids[10:15])
    assert set(restored.split(0)[10:15]) == {"train"}  # it never makes a test easier


def test_a_class_without_training_images_is_refused(pets: Dataset):
    split = np.where(pets.table["target"] == 0, "test", "train").astype("<U8")
    with pytest.raises(UserError, match="class 'cat' would have no image to train"):
        keep_split(pets, split)
    split[:] = "train"
    with pytest.raises(UserError, match="no image to validate on"):
        keep_split(pets, split)


def test_an_import_again_keeps_the_parts_of_the_images_that_are_still_there(pets: Dataset):
    after = keep_split(pets, draw_split(pets, SplitPlan(seed=9)))
    part_of = dict(zip(after.table["image_id"], after.split(0), strict=True))
    Image.new("RGB", (40, 40), (1, 2, 3)).save(pets.source_folder / "cat" / "new.png")
    (pets.source_folder / "dog" / "0.png").unlink()
    again = import_folder(pets.source_folder)
    known = {one: part for one, part in zip(again.table["image_id"], again.split(0), strict=True) if one in part_of}
    assert len(known) == 49
    assert known == {one: part_of[one] for one in known}
