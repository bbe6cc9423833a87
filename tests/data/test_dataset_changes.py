import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

from lib.atomic import write_json
from lib.data import library
from lib.data.dataset import DESCRIPTION_FILE, PIXELS_FILE, TABLE_FILE, Dataset
from lib.data.dataset_changes import change_dataset, rebuild_dataset, restore_version
from lib.data.grades import GRADE_NAMES
from lib.data.importing import import_folder, resolve_dataset
from lib.data.label_schema import SchemaChange
from lib.data.library import delete_dataset, library_lock, list_datasets, open_dataset
from lib.data.subset import apply_protocol
from lib.errors import Stopped, UserError
from lib.training.config import TrainConfig
from tests.data.folders import write_classes

KAGGLE = ("Mild", "Moderate", "No_DR", "Proliferate_DR", "Severe")  # a folder's alphabet
GRADES = SchemaChange(
    is_ordinal=True, is_medical=True, order=("No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR"),
    class_names=GRADE_NAMES,
)  # fmt: skip


@pytest.fixture
def eyes(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "eyes", dict.fromkeys(KAGGLE, 8))


def _facts(dataset: Dataset) -> dict[str, str]:
    """The class of each image, by its path."""
    names = [dataset.class_names[target] for target in dataset.table["target"]]
    return dict(zip(dataset.table["path"], names, strict=True))


def test_names_order_and_kind_change_without_touching_table_and_pixels(eyes: Path):
    before = import_folder(eyes)
    files = {name: (before.folder / name).stat().st_mtime_ns for name in (TABLE_FILE, PIXELS_FILE)}
    after = change_dataset("eyes", GRADES)
    assert {name: (before.folder / name).stat().st_mtime_ns for name in files} == files
    assert after.class_names == GRADE_NAMES
    assert after.class_sources == ("No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR")
    assert (after.spec.is_ordinal, after.spec.is_medical) == (True, True)
    assert after.version != before.version
    assert after.content_version == before.content_version
    right = dict(zip(after.class_sources, GRADE_NAMES, strict=True))
    assert _facts(after) == {path: right[name] for path, name in _facts(before).items()}
    assert np.array_equal(after.split(3), before.split(3))  # runs of both versions were tested on the same images
    after.verify()


def test_an_earlier_version_keeps_its_own_targets_and_names(eyes: Path):
    before = import_folder(eyes)
    targets = before.table["target"].tolist()
    after = change_dataset("eyes", GRADES)
    assert after.versions == [after.version, before.version]
    earlier = open_dataset("eyes", version=before.version)
    assert earlier.class_names == KAGGLE
    assert earlier.table["target"].tolist() == targets
    assert not earlier.spec.is_ordinal
    assert after.at_version(before.version).class_names == KAGGLE
    with pytest.raises(UserError, match="its version 12345 is not kept"):
        open_dataset("eyes", version="12345")


def test_what_cannot_be_split_is_told_by_its_present_name(eyes: Path):
    for number in range(2, 8):
        (eyes / "Mild" / f"{number}.png").unlink()
    import_folder(eyes, check_splits=False)
    after = change_dataset("eyes", SchemaChange(order=tuple(reversed(KAGGLE)), class_names={"Mild": "a little"}))
    with pytest.raises(UserError, match="Class 'a little' has 2 images; at least 3 are needed"):
        after.split(0)


def test_changing_back_gives_the_old_version(eyes: Path):
    before = import_folder(eyes)
    change_dataset("eyes", GRADES)
    back = change_dataset("eyes", SchemaChange(is_ordinal=False, is_medical=False, order=KAGGLE, class_names=KAGGLE))
    assert back.version == before.version
    again = restore_version("eyes", change_dataset("eyes", GRADES).versions[1])
    assert (again.version, again.class_names) == (before.version, KAGGLE)
    assert len(again.versions) == 2


def test_what_is_set_at_the_import_and_later_is_the_same_version(eyes: Path):
    later = change_dataset(import_folder(eyes, name="later").name, GRADES)
    shutil.copytree(eyes, eyes.parent / "copy")
    at_once = import_folder(eyes.parent / "copy", name="once", kind=GRADES)
    assert at_once.version == later.version
    assert _facts(at_once) == _facts(later)


def test_an_import_again_only_with_another_kind_decodes_nothing(eyes: Path):
    first = import_folder(eyes)
    pixels = (first.folder / PIXELS_FILE).stat().st_mtime_ns
    second = import_folder(eyes, kind=SchemaChange(is_ordinal=True, order=KAGGLE))
    assert second.spec.is_ordinal
    assert (second.folder / PIXELS_FILE).stat().st_mtime_ns == pixels
    assert import_folder(eyes).version == second.version  # nothing said, nothing changed
    assert resolve_dataset(eyes).spec.is_ordinal


def test_a_new_import_of_changed_images_keeps_the_kind_and_names_the_versions_before(eyes: Path):
    before = change_dataset(import_folder(eyes).name, GRADES)
    write_classes(eyes, {"No_DR": 9}, first_seed=500)
    after = resolve_dataset(eyes)
    assert (after.class_names, after.spec.is_ordinal, after.num_images) == (GRADE_NAMES, True, 41)
    assert after.version != before.version
    assert [entry["version"] for entry in after.description["history"]][-1] == before.version
    with pytest.raises(UserError, match="imported anew"):
        after.at_version(before.version)


def test_caps_and_first_classes_go_by_the_new_order_and_splits_stay(eyes: Path):
    before = import_folder(eyes)
    after = change_dataset("eyes", GRADES)
    capped = TrainConfig(dataset="eyes", max_per_class=5, split_seed=2)
    one, other = apply_protocol(before, capped), apply_protocol(after, capped)
    assert np.array_equal(one.rows, other.rows)
    assert np.array_equal(one.split(2), other.split(2))
    assert one.content_version == other.content_version
    first = apply_protocol(after, TrainConfig(dataset="eyes", max_classes=3))
    assert set(first.table["path"].str.split("/").str[0]) == {"No_DR", "Mild", "Moderate"}
    assert set(first.split(0)) == {"train", "val", "test"}


def test_a_change_that_will_not_do_leaves_the_set_as_it_is(eyes: Path):
    before = import_folder(eyes)
    with pytest.raises(UserError, match="There is no class 'Milt'"):
        change_dataset("eyes", SchemaChange(class_names={"Milt": "x"}))
    assert open_dataset("eyes").description == before.description


def test_a_change_of_what_somebody_else_changed_meanwhile_is_refused(eyes: Path):
    shown = import_folder(eyes).version
    change_dataset("eyes", SchemaChange(is_medical=True), expected_version=shown)
    with pytest.raises(UserError, match="was changed meanwhile"):
        change_dataset("eyes", SchemaChange(is_ordinal=True, order=KAGGLE), expected_version=shown)


def _change(name: str) -> None:
    for _ in range(5):
        change_dataset("eyes", SchemaChange(class_names={f"{name}": f"{name}!"}))
        change_dataset("eyes", SchemaChange(class_names={f"{name}!": f"{name}"}))
    change_dataset("eyes", SchemaChange(class_names={f"{name}": f"{name}!"}))


def test_two_processes_that_change_at_once_lose_nothing(eyes: Path):
    import_folder(eyes)
    workers = [multiprocessing.get_context("fork").Process(target=_change, args=(name,)) for name in ("Mild", "Severe")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    after = open_dataset("eyes")
    assert after.class_names == ("Mild!", "Moderate", "No_DR", "Proliferate_DR", "Severe!")
    assert after.at_version(after.versions[-1]).num_images == 40


def test_a_change_waits_for_no_import(eyes: Path, monkeypatch: pytest.MonkeyPatch):
    dataset = import_folder(eyes)
    monkeypatch.setattr(library, "_LOCK_S", 0.05)
    with library_lock(dataset.description["source"]), pytest.raises(UserError, match="being imported or rebuilt"):
        change_dataset("eyes", SchemaChange(is_ordinal=True, order=KAGGLE))


def test_a_deleted_set_is_not_changed_into_half_of_one(eyes: Path):
    import_folder(eyes)
    delete_dataset("eyes")
    with pytest.raises(UserError, match="There is no data set"):
        change_dataset("eyes", SchemaChange(is_ordinal=True, order=KAGGLE))
    assert list_datasets() == []


def test_another_crop_cuts_the_originals_anew_and_back(eyes: Path):
    first = change_dataset(import_folder(eyes).name, GRADES)
    said: list[str] = []
    second = rebuild_dataset("eyes", "retina_box", progress=lambda done, total, what: said.append(what))
    assert "decoding images" in said
    assert second.spec.crop_policy == "retina_box"
    assert (second.class_names, second.spec.is_ordinal) == (GRADE_NAMES, True)
    assert second.version != first.version
    assert second.description["history"][-1]["version"] == first.version  # so that its runs can name it
    back = rebuild_dataset("eyes", "center_square")
    assert back.version == first.version
    assert back.at_version(back.versions[-1]).class_names == KAGGLE


def test_another_crop_and_another_kind_are_one_new_version(eyes: Path):
    import_folder(eyes)
    with pytest.raises(UserError, match="There is no class 'x'"):
        rebuild_dataset("eyes", "retina_box", SchemaChange(class_names={"x": "y"}))
    after = rebuild_dataset("eyes", "retina_box", GRADES)
    assert (after.class_names, len(after.description["history"])) == (GRADE_NAMES, 1)
    assert rebuild_dataset("eyes", "retina_box", SchemaChange(is_medical=False)).spec.is_medical is False


def test_a_stopped_rebuild_leaves_the_store_as_it_was(eyes: Path):
    before = import_folder(eyes)

    def stop(done: int, total: int, what: str) -> None:
        if what == "decoding images":
            raise Stopped

    with pytest.raises(Stopped):
        rebuild_dataset("eyes", "retina_box", progress=stop)
    assert open_dataset("eyes").description == before.description


def test_another_crop_is_refused_where_the_originals_are_gone_or_changed(eyes: Path):
    import_folder(eyes)
    (eyes / "Mild" / "0.png").unlink()
    with pytest.raises(UserError, match="are not those of the import any more"):
        rebuild_dataset("eyes", "retina_box")
    shutil.rmtree(eyes)
    with pytest.raises(UserError, match="The originals of 'eyes' are gone"):
        rebuild_dataset("eyes", "retina_box")
    assert change_dataset("eyes", GRADES).class_names == GRADE_NAMES  # which needs no originals
    with pytest.raises(UserError, match="Unknown crop policy"):
        rebuild_dataset("eyes", "round")


def test_a_set_imported_before_there_were_versions_opens_and_changes(eyes: Path):
    dataset = import_folder(eyes)
    old = {
        k: v for k, v in dataset.description.items() if k not in ("content_version", "class_sources", "target_order")
    }
    old["options"] = {k: v for k, v in old["options"].items() if k != "class_order"}
    write_json(dataset.folder / DESCRIPTION_FILE, old)
    opened = open_dataset("eyes")
    assert (opened.versions, opened.class_sources) == ([dataset.version], KAGGLE)
    assert resolve_dataset(eyes).description == old  # opened, not imported again
    assert change_dataset("eyes", GRADES).at_version(dataset.version).class_names == KAGGLE


def test_a_program_that_knows_no_versions_refuses_a_changed_set(eyes: Path):
    change_dataset(import_folder(eyes).name, GRADES)
    description = json.loads((open_dataset("eyes").folder / DESCRIPTION_FILE).read_text())
    assert description["format_version"] == 2
