"""Copies and patients across parts: what is said of each kind, and what names tell."""

import itertools

import numpy as np
import pytest

from lib.audit.audited import AuditedImages, NotMeasured
from lib.audit.copies import exact_copies, group_leakage, names_of_patients, near_copies, unreadable_files
from lib.data.importing import import_folder
from tests.audit.planted import picture, save


def write(folder, names):
    """One picture a file; names of one number show the same picture."""
    for place, (name, seed) in enumerate(names.items()):
        save(picture("rings" if seed % 2 else "stripes", seed), folder / name, quality=90 - place)
    return folder


def audited_of(folder, **options):
    return AuditedImages(import_folder(folder, check_splits=False, **options))


PARTS = ("train", "val", "test")


def numbered(parts=PARTS, *, number=3):
    """Files of two classes in each part, each of a picture of its own."""
    names = [f"{part}/{kind}/{place}.jpg" for part in parts for kind in "ab" for place in range(number)]
    return {name: seed for seed, name in enumerate(names)}


def test_files_left_out_are_told_by_where_they_lay(tmp_path):
    folder = write(tmp_path / "kinds", numbered(("train", "test")))
    exact = {
        "test/a/again.jpg": "train/a/0.jpg",
        "train/b/twice.jpg": "train/b/1.jpg",
        "train/b/other.jpg": "train/a/1.jpg",
    }
    for copy, original in exact.items():
        (folder / copy).write_bytes((folder / original).read_bytes())
    (folder / "train/a/broken.jpg").write_bytes((folder / "train/a/0.jpg").read_bytes()[:90])
    (folder / "train/a/notes.txt").write_text("no image")
    (folder / "train/a/dead.jpg").symlink_to(folder / "absent.jpg")
    (folder / "train/aside.jpg").write_bytes((folder / "train/a/0.jpg").read_bytes() + b"x")
    audited = audited_of(folder)
    found, num_files, said = exact_copies(audited)
    assert {frozenset(one.files): one.severity for one in found} == {
        frozenset(("train/a/0.jpg", "test/a/again.jpg")): "notable",
        frozenset(("train/b/twice.jpg", "train/b/1.jpg")): "minor",
        frozenset(("train/b/other.jpg", "train/a/1.jpg")): "serious",
    }
    assert num_files == audited.dataset.num_images + 8
    assert "across splits: 1; across classes: 2" in said
    found, _, said = unreadable_files(audited)
    assert [one.files for one in found] == [("train/a/broken.jpg",), ("train/a/dead.jpg",)]
    assert all(one.sentence.endswith(".") for one in found)
    assert said == "1 more image was left out otherwise, such as: lies in no class folder."


def test_the_worst_that_a_set_of_copies_does_is_its_kind(tmp_path):
    names = numbered() | {"train/a/same.jpg": 0, "test/a/crossing.jpg": 1, "train/b/clash.jpg": 2}
    audited = audited_of(write(tmp_path / "kinds", names))
    found = {one.kind: one for one in near_copies(audited)[0]}
    ids = dict(zip(audited.paths, audited.image_ids, strict=True))
    assert set(found) == {"copies_within_split", "copies_across_splits", "copies_across_classes"}
    # The one in the test part comes first and stays.
    assert found["copies_across_splits"].image_ids == (ids["test/a/crossing.jpg"], ids["train/a/1.jpg"])
    assert found["copies_across_splits"].exclude == (ids["train/a/1.jpg"],)
    assert set(found["copies_across_classes"].exclude) == {ids["train/a/2.jpg"], ids["train/b/clash.jpg"]}
    assert len(found["copies_within_split"].exclude) == 1


def test_copies_of_two_patients_are_told(tmp_path):
    names = {f"{kind}/{number}_left.jpg": number for number, kind in enumerate("aaabbb")}
    audited = audited_of(write(tmp_path / "kinds", names | {"a/9_left.jpg": 0}))
    (finding,) = near_copies(audited)[0]
    splits = {audited.split[row] for row in audited.dataset.indices(finding.image_ids)}
    assert finding.kind == ("copies_across_splits" if len(splits) > 1 else "copies_across_groups")
    # Folds of the probe keep them together as if they were one patient.
    first, second = audited.dataset.indices(finding.image_ids)
    assert audited.units[first] == audited.units[second]
    assert len(np.unique(audited.units)) == 6


def test_names_of_one_patient_in_two_parts_are_found_without_groups(tmp_path):
    names = {}
    for place, (kind, number, eye) in enumerate(itertools.product("ab", range(6), ("left", "right"))):
        part = PARTS[number // 2] if (number, eye) != (3, "right") else "test"
        names[f"{part}/{kind}/{number}{'ab'.index(kind)}_{eye}.jpg"] = place
    audited = audited_of(write(tmp_path / "kinds", names), pairs=False)
    found, _, said = group_leakage(audited)
    assert sorted(one.sentence.split(")")[0].split("(")[1] for one in found) == ["30", "31"]
    assert all("in test and validation" in one.sentence for one in found)
    assert "12 patients were guessed from names of 24 images" in said
    first = found[0]
    assert [audited.split[row] for row in audited.dataset.indices(first.exclude)] == ["val"]


@pytest.mark.parametrize(
    "names",
    [
        [f"cat.{n}" for n in range(20)],
        [f"IMG_2021_{n:04d}" for n in range(20)],
        [f"{n:05d}" for n in range(20)],
        [f"golden_retriever_{n}" for n in range(20)],
    ],
    ids=["class and number", "camera", "number", "words and number"],
)
def test_names_that_are_no_patients(tmp_path, names):
    class Named:
        rows = np.arange(len(names))
        paths = np.array([f"a/{name}.jpg" for name in names])

    assert names_of_patients(Named()) == {}


def test_a_set_that_cannot_be_divided_says_why(tmp_path):
    audited = audited_of(write(tmp_path / "kinds", {"a/1.jpg": 1, "b/2.jpg": 2}))
    with pytest.raises(NotMeasured, match="The set is not divided: Class 'a' has 1 image"):
        group_leakage(audited)
