"""Fellow eyes and images of one patient stay together, by default, whatever else is said of the images."""

import numpy as np
import pytest

from lib.data.importing import import_folder, resolve_dataset
from lib.data.sources.metadata import eye_in_name
from lib.errors import UserError
from tests.data.folders import picture
from tests.data.sources.trees import groups, reasons, scan, touch, write_csv


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("7_left.jpeg", ("7", "left")),
        ("7_right.jpeg", ("7", "right")),
        ("10_L.png", ("10", "left")),
        ("10-r.png", ("10", "right")),
        ("left_12.jpg", ("12", "left")),
        ("OD 3.tif", ("3", "right")),
        ("p3_left_eye.tif", ("p3", "left")),
        ("bright_1.jpg", None),
        ("left.jpg", None),
        ("leftover_2.jpg", None),
    ],
)
def test_the_eye_in_a_name(name, found):
    assert eye_in_name(name) == found


def test_fellow_eyes_share_a_patient_across_class_folders(tmp_path):
    touch(tmp_path, "0/7_left.jpeg", "2/7_right.jpeg", "0/8_L.png", "2/8_R.png", "0/9_left.jpeg", "2/plain.jpeg")
    found = scan(tmp_path)
    assert groups(found) == {
        "0/7_left.jpeg": "7", "2/7_right.jpeg": "7", "0/8_L.png": "8", "2/8_R.png": "8", "0/9_left.jpeg": "9",
        "2/plain.jpeg": "",
    }  # fmt: skip
    assert [entry.laterality for entry in found.entries] == ["left", "left", "left", "right", "right", ""]
    assert found.split_caveat == ""


@pytest.mark.parametrize(
    "files",
    [
        ("cat/cat_left.jpg", "dog/dog_left.jpg"),
        ("cat/1_left.jpg", "cat/2_left.jpg", "dog/3_right.jpg"),
        ("left/1_left.jpg", "left/2_left.jpg", "right/1_right.jpg", "right/2_right.jpg"),
    ],
)
def test_names_without_fellows_and_classes_of_directions_are_no_patients(tmp_path, files):
    found = scan(touch(tmp_path, *files), pairs=False)
    assert found.split_caveat == ""
    assert set(groups(scan(tmp_path)).values()) == {""}


def test_folders_of_patients(tmp_path):
    touch(tmp_path, *(f"{grade}/{name}" for grade in "01" for name in ("x.jpg",)))
    touch(tmp_path, *(f"0/p{number}/scan_{eye}.jpg" for number in range(2) for eye in ("left", "right")))
    assert sorted(set(groups(scan(tmp_path)).values())) == ["", "0/p0/scan", "0/p1/scan"]


def test_numbers_that_begin_anew_in_each_part(tmp_path):
    touch(tmp_path, *(f"{part}/{grade}/1_{eye}.jpg" for part in ("train", "test") for grade, eye in ("0l", "1r")))
    assert set(groups(scan(tmp_path)).values()) == {"train/1", "test/1"}


def test_a_patient_in_train_and_test_is_refused(tmp_path):
    root = _write(tmp_path / "set", ["train/0/7_left", "train/1/8_left", "test/1/7_right", "test/0/9_left"])
    for number in range(20, 26):
        picture(number).save(root / f"train/{number % 2}/{number}.png")
    with pytest.raises(UserError, match=r"1 groups \(patients\) have images in more than one .*--no-pairs"):
        import_folder(root)
    assert import_folder(root, pairs=False).spec.split_caveat


def test_a_column_of_patients_goes_before_names_and_gives_its_patient_to_the_fellow_eye(tmp_path):
    touch(tmp_path, "0/7_left.jpg", "1/7_right.jpg", "0/8_left.jpg", "1/8_right.jpg", "1/9.jpg")
    write_csv(tmp_path / "metadata.csv", ("path", "patient"), [("0/7_left.jpg", "anna"), ("9", "anna")])
    assert groups(scan(tmp_path)) == {
        "0/7_left.jpg": "anna", "1/7_right.jpg": "anna", "0/8_left.jpg": "8", "1/8_right.jpg": "8", "1/9.jpg": "anna",
    }  # fmt: skip


def test_a_named_group_column_is_taken_as_it_is(tmp_path):
    touch(tmp_path, "0/7_left.jpg", "1/7_right.jpg", "0/8.jpg")
    write_csv(tmp_path / "metadata.csv", ("path", "site"), [("7_left", "a"), ("7_right", "b")])
    found = scan(tmp_path, group_column="site")
    assert groups(found) == {"0/7_left.jpg": "a", "1/7_right.jpg": "b"}
    assert list(reasons(found)) == ["0/8.jpg"]
    with pytest.raises(UserError, match="take one of them"):
        scan(tmp_path, group_column="site", pairs=False)


def test_a_class_that_the_group_column_would_take_away_is_named(tmp_path):
    touch(tmp_path, "0/7.jpg", "1/8.jpg", "2/9.jpg")
    write_csv(tmp_path / "metadata.csv", ("path", "patient"), [("7", "a"), ("8", "b")])
    with pytest.raises(UserError, match="Class '2' has no image with a value in column 'patient'"):
        scan(tmp_path, group_column="patient")


def test_declined_pairs_are_said_and_taken_back_by_the_next_import(tmp_path):
    root = _write(tmp_path / "set", [f"{n % 2}/{n}_{eye}" for n in range(12) for eye in ("left", "right")])
    declined = import_folder(root, pairs=False)
    assert set(declined.table["group_id"]) == {""}
    assert declined.spec.split_caveat.startswith("The images of a patient were not kept together")
    assert "12 patients have several" in declined.spec.split_caveat
    assert resolve_dataset(root).version == declined.version  # with the options of the last import
    paired = import_folder(root)
    assert paired.spec.split_caveat == ""
    assert paired.version != declined.version
    _assert_patients_together(paired)


def test_copies_bring_their_patients_together(tmp_path):
    root = _write(tmp_path / "set", [f"{n % 2}/{n}_{eye}" for n in range(8) for eye in ("left", "right")])
    (root / "1/3_left.png").write_bytes((root / "1/1_left.png").read_bytes())
    dataset = import_folder(root)
    assert dataset.left_out["path"].tolist() == ["1/3_left.png"]
    patients = dict(zip(dataset.table["path"], dataset.table["group_id"], strict=True))
    assert patients["1/3_right.png"] == patients["1/1_left.png"]
    _assert_patients_together(dataset)


def _write(root, names):
    for seed, name in enumerate(names):
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(path)
    return root


def _assert_patients_together(dataset):
    patients = dataset.table["group_id"].to_numpy()
    for split in [dataset.split(0), *(dataset.split(0, num_folds=3, fold=fold) for fold in range(3))]:
        assert set(split) == {"train", "val", "test"}
        for patient in np.unique(patients):
            assert len(set(split[patients == patient])) == 1
