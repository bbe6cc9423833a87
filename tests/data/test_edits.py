import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from lib.atomic import read_json
from lib.data.dataset import DESCRIPTION_FILE, TABLE_FILE, Dataset
from lib.data.dataset_changes import change_dataset, rebuild_dataset, restore_version
from lib.data.edit_log import LOG_FILE
from lib.data.edits import add_edit, describe_edit, edits_table, find_images, undo_edit
from lib.data.importing import import_folder, resolve_dataset
from lib.data.label_schema import SchemaChange
from lib.data.library import delete_dataset, is_medical_now, list_datasets, open_dataset, restore_dataset, version_now
from lib.data.statistics import class_counts
from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.training.config import TrainConfig
from tests.data.folders import picture, write_classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "pets", {"cat": 10, "dog": 10})


@pytest.fixture
def pets(folder: Path) -> Dataset:
    return import_folder(folder)


def _ids(dataset: Dataset, *paths: str) -> list[str]:
    return find_images(dataset, paths)


def test_versions_of_a_set_share_the_table_of_the_import(pets: Dataset, monkeypatch: pytest.MonkeyPatch):
    import pandas as pd

    first, reads = pets.table["image_id"].tolist(), []
    read = pd.read_parquet
    monkeypatch.setattr(pd, "read_parquet", lambda path, **options: reads.append(path) or read(path, **options))
    after = add_edit("pets", "exclude", first[:1])
    again = add_edit("pets", "relabel", first[1:2], "dog")
    assert (after.has_exclusion.sum(), again.table["target"][1], pets.table["target"][1]) == (1, 1, 0)
    assert not reads
    path = pets.folder / TABLE_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"!")  # what changes on the disk is read and noticed all the same
    with pytest.raises(UserError, match="is damaged"):
        _ = Dataset(pets.folder).table


def test_a_relabel_changes_one_target_and_the_version_and_an_undo_brings_both_back(pets: Dataset):
    (one,) = _ids(pets, "cat/3.png")
    after = add_edit("pets", "relabel", [one], "dog", "a mistake")
    row = int(after.indices([one])[0])
    assert (after.class_names[after.table["target"][row]], pets.class_names[pets.table["target"][row]]) == (
        "dog",
        "cat",
    )
    assert (after.table.drop(columns="target") == pets.table.drop(columns="target")).all(axis=None)
    assert after.version != pets.version
    assert after.content_version == pets.content_version
    assert np.array_equal(after.split(4), pets.split(4))  # the split belongs to what was imported
    (edit,) = after.edits
    assert (edit.kind, edit.image_ids, edit.value, edit.reason, edit.who) == (
        "relabel", (one,), "dog", "a mistake", "person"
    )  # fmt: skip
    assert describe_edit(edit, after) == "1 image relabelled as dog"
    assert after.at_version(pets.version).table["target"].equals(pets.table["target"])
    back = undo_edit("pets", edit.edit_id)
    assert back.version == pets.version
    assert back.table.equals(pets.table)
    assert back.at_version(after.version).table.equals(after.table)  # a run that was trained meanwhile
    assert back.versions == [back.version, after.version]
    again = add_edit("pets", "relabel", [one], "dog")
    assert again.version == after.version


def test_an_excluded_image_is_in_no_part_and_moves_no_other(pets: Dataset):
    before, folds = pets.split(0), [pets.split(0, num_folds=3, fold=fold) for fold in range(3)]
    ids = _ids(pets, "cat/1.png", "dog/2.png")
    after = add_edit("pets", "exclude", ids)
    rows, split = after.indices(ids), after.split(0)
    assert split[rows].tolist() == ["excluded", "excluded"]
    rest = ~after.is_excluded
    assert rest.sum() == 18
    assert np.array_equal(split[rest], before[rest])
    for fold, drawn in enumerate(folds):
        found = after.split(0, num_folds=3, fold=fold)
        assert set(found[rows]) == {"excluded"}
        assert np.array_equal(found[rest], drawn[rest])
    assert class_counts(after, split)["count"].sum() == 18
    assert (after.num_images, list_datasets()[0].num_images) == (20, 18)
    back = add_edit("pets", "restore", ids)
    assert back.version == pets.version
    assert np.array_equal(back.split(0), before)


def test_a_fixed_part_holds_for_the_whole_group_at_every_seed_but_not_in_folds(tmp_path: Path):
    root = write_classes(tmp_path / "eyes", {"a": 12, "b": 12})
    patients = "".join(f"{name}/{n}.png,{name}{n // 2}\n" for name in "ab" for n in range(12))
    (root / "metadata.csv").write_text(f"path,patient\n{patients}")
    eyes = import_folder(root, group_column="patient")
    one, mate = _ids(eyes, "a/0.png", "a/1.png")
    after = add_edit("eyes", "split", [one], "test")
    assert after.edits[0].image_ids == (one, mate)
    for seed in range(6):
        assert after.split(seed)[after.indices([one, mate])].tolist() == ["test", "test"]
        others = np.setdiff1d(np.arange(24), after.indices([one, mate]))
        assert np.array_equal(after.split(seed)[others], eyes.split(seed)[others])
    assert np.array_equal(after.split(0, num_folds=3, fold=1), eyes.split(0, num_folds=3, fold=1))
    moved = add_edit("eyes", "split", [mate], "train")
    assert moved.split(0)[moved.indices([one, mate])].tolist() == ["train", "train"]
    assert add_edit("eyes", "split", [one], "").version == eyes.version


def test_what_does_not_fit_is_refused_in_one_sentence_and_nothing_is_written(pets: Dataset):
    (one,) = _ids(pets, "cat/3.png")
    for kind, ids, value, why in (
        ("relabel", [one], "horse", "There is no class 'horse'"), ("relabel", ["nobody"], "dog", "no image 'nobody'"),
        ("relabel", [one], "cat", "Nothing to change"), ("restore", [one], "", "none of these images is excluded"),
        ("split", [one], "exam", "A part is train, val or test"), ("exclude", [one], "x", "takes no value"),
        ("undo", [one], "1", "undo_edit"), ("exclude", _ids(pets, *(f"cat/{n}.png" for n in range(10))), "",
         "leave the class 'cat' no image to train"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=why):
            add_edit("pets", kind, ids, value)
    with pytest.raises(UserError, match="was changed meanwhile"):
        add_edit("pets", "exclude", [one], expected_version="of yesterday")
    with pytest.raises(UserError, match="There is no edit '3'; there are none"):
        undo_edit("pets", "3")
    assert not (pets.folder / LOG_FILE).exists()
    assert read_json(pets.folder / DESCRIPTION_FILE)["format_version"] == 1
    add_edit("pets", "exclude", [one])
    undo_edit("pets", "1")
    with pytest.raises(UserError, match="has been undone already"):
        undo_edit("pets", "1")


def test_only_images_that_change_are_in_the_edit(pets: Dataset):
    one, two = _ids(pets, "cat/1.png", "cat/2.png")
    add_edit("pets", "exclude", [one])
    after = add_edit("pets", "exclude", [one, two, two])
    assert [edit.image_ids for edit in after.edits] == [(one,), (two,)]


def test_an_earlier_program_refuses_a_set_with_edits(pets: Dataset):
    add_edit("pets", "exclude", _ids(pets, "cat/1.png"))
    assert read_json(pets.folder / DESCRIPTION_FILE)["format_version"] == 3
    change_dataset("pets", SchemaChange(class_names={"cat": "Katze"}))
    assert read_json(pets.folder / DESCRIPTION_FILE)["format_version"] == 3


def test_names_and_order_of_classes_change_after_a_relabel_and_back(pets: Dataset):
    (one,) = _ids(pets, "cat/3.png")
    edited = add_edit("pets", "relabel", [one], "dog")
    named = change_dataset("pets", SchemaChange(class_names={"dog": "Hund", "cat": "dog"}, order=("dog", "cat")))
    row = int(named.indices([one])[0])
    assert (named.class_names, named.class_names[named.table["target"][row]]) == (("Hund", "dog"), "Hund")
    assert describe_edit(named.edits[0], named) == "1 image relabelled as Hund"
    assert len({pets.version, edited.version, named.version}) == 3
    for version, name in ((pets.version, "cat"), (edited.version, "dog")):
        then = named.at_version(version)
        assert (then.version, then.class_names[then.table["target"][row]]) == (version, name)
    unedited = undo_edit("pets", "1")
    assert unedited.class_names[unedited.table["target"][row]] == "dog"  # as the cats are called now
    assert restore_version("pets", pets.version).version == pets.version
    assert undo_edit("pets", "2").version == edited.version
    assert restore_version("pets", named.version).version == named.version
    with pytest.raises(UserError, match="differs by edits of single images"):
        restore_version("pets", undo_edit("pets", "1").at_version(named.version).version)
    assert undo_edit("pets", "4").version == named.version
    medical = change_dataset("pets", SchemaChange(is_medical=True))
    assert all(is_medical_now("pets", version) for version in (pets.version, edited.version, medical.version))
    assert version_now("pets") == medical.version


def test_edits_outlive_an_import_anew_another_crop_and_the_trash(folder: Path, pets: Dataset):
    gone, moved, stays = _ids(pets, "cat/0.png", "cat/1.png", "dog/1.png")
    edited = add_edit("pets", "exclude", [gone, stays])
    add_edit("pets", "relabel", [moved], "dog")
    (folder / "cat" / "0.png").unlink()
    (folder / "cat" / "1.png").rename(folder / "cat" / "renamed.png")
    picture(99).save(folder / "dog" / "new.png")
    after = resolve_dataset(folder)
    assert after.num_images == 20
    assert after.table["path"][after.is_excluded].tolist() == ["dog/1.png"]
    assert after.class_names[after.table["target"][int(after.indices([moved])[0])]] == "dog"
    assert "Edits of 1 image fell away" in after.notices[-1]
    with pytest.raises(UserError, match="imported anew"):
        after.at_version(edited.version)
    cut = rebuild_dataset("pets", "retina_box")
    assert (cut.content_version, cut.is_excluded.sum()) != (after.content_version, 0)
    assert cut.edits == after.edits
    back = restore_dataset(delete_dataset("pets"))
    assert back.version == cut.version
    assert len(back.edits) == 2
    assert undo_edit("pets", "2").version != back.version


def test_a_subset_draws_as_before_and_leaves_out_what_is_excluded(tmp_path: Path):
    root = write_classes(tmp_path / "three", {"a": 10, "b": 10, "c": 10})
    whole = import_folder(root)
    config = TrainConfig(dataset="three", max_classes=2, max_per_class=8)
    before = apply_protocol(whole, config)
    one = str(before.table["image_id"][int(np.flatnonzero(before.split(0) == "train")[0])])
    after = apply_protocol(add_edit("three", "exclude", [one]), config)
    assert after.content_version == before.content_version  # so that kept features serve again
    row = int(after.indices([one])[0])
    assert after.split(0)[row] == "excluded"
    assert after.is_excluded.tolist() == (np.arange(16) == row).tolist()
    assert np.array_equal(np.delete(after.split(0), row), np.delete(before.split(0), row))
    capped = TrainConfig(dataset="three", max_train_per_class=3, target_map="a=x,b=x,c=y")
    taken = apply_protocol(open_dataset("three"), capped)
    train = taken.table["image_id"][taken.split(0) == "train"]
    assert (len(train), one in set(train)) == (9, False)


def test_an_image_put_into_the_first_classes_counts_there(tmp_path: Path):
    root = write_classes(tmp_path / "three", {"a": 10, "b": 10, "c": 10})
    (one,) = find_images(import_folder(root), ["c/1.png"])
    taken = apply_protocol(
        add_edit("three", "relabel", [one], "a"), TrainConfig(dataset="three", max_classes=2, split_seed=1)
    )
    assert len(taken.table) == 21
    assert taken.table["target"][int(taken.indices([one])[0])] == 0
    assert set(taken.split(1)) == {"train", "val", "test"}


def test_images_are_found_by_id_beginning_path_and_name(pets: Dataset):
    image_id = str(pets.table["image_id"][0])
    assert find_images(pets, [image_id, image_id[:8], "cat/0.png"]) == [image_id] * 3
    with pytest.raises(UserError, match=r"'0\.png' is more than one image"):
        find_images(pets, ["0.png"])
    with pytest.raises(UserError, match=r"no image 'cat/77\.png'"):
        find_images(pets, ["cat/77.png"])


def test_the_table_of_edits_has_one_row_an_image(pets: Dataset):
    add_edit("pets", "exclude", _ids(pets, "cat/1.png", "cat/2.png"), reason="blurred", who="audit")
    table = edits_table(undo_edit("pets", "1"))
    assert table[["edit", "kind", "path", "value", "reason", "who", "in_effect"]].to_numpy().tolist() == [
        ["1", "exclude", "cat/1.png", "", "blurred", "audit", False],
        ["1", "exclude", "cat/2.png", "", "blurred", "audit", False],
        ["2", "undo", "cat/1.png", "1", "", "person", True],
        ["2", "undo", "cat/2.png", "1", "", "person", True],
    ]


def _exclude(image_ids: list[str]) -> None:
    for image_id in image_ids:
        add_edit("pets", "exclude", [image_id])


@pytest.mark.slow
def test_two_processes_lose_none_of_each_others_edits(pets: Dataset):
    ids = _ids(pets, *(f"{name}/{n}.png" for n in range(3) for name in ("cat", "dog")))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_exclude, args=(ids[start::2],)) for start in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    after = open_dataset("pets")
    assert after.is_excluded.sum() == 6
    assert [edit.edit_id for edit in after.edits] == list("123456")
