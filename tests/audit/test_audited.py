"""What checks share: which images take part, what belongs together, and what is kept of it."""

import json
import shutil

import numpy as np
import pytest

from lib.audit import audited as module
from lib.audit.audited import AuditedImages, NotMeasured, audits_dir, copy_numbers
from lib.data.edits import add_edit
from lib.data.importing import import_folder
from lib.data.near_duplicates import find_copies
from lib.errors import WeightsUnavailable
from tests.audit.test_embedding import FakeCopies, FakeDataset
from tests.data.folders import picture, write_classes


@pytest.fixture
def pictures(tmp_path):
    """A folder of two classes whose second images are the same picture, encoded anew."""
    root = write_classes(tmp_path / "kinds", {"a": 4, "b": 4})
    for kind in "ab":
        same = picture(77, width=24, height=24).resize((96, 96))
        same.save(root / kind / "same.jpg", quality=95 if kind == "a" else 80)
    return root


@pytest.fixture
def searches(monkeypatch):
    """Counts the searches for copies."""
    made = []

    def counted(*given, **options):
        made.append(1)
        return find_copies(*given, **options)

    monkeypatch.setattr(module, "find_copies", counted)
    return made


def test_copies_are_searched_once_for_these_pixels_and_read_afterwards(pictures, searches):
    dataset = import_folder(pictures)
    first = AuditedImages(dataset).copies
    paths = dataset.table["path"].to_numpy()
    assert [sorted(paths[rows]) for rows in first.groups] == [["a/same.jpg", "b/same.jpg"]]
    again = AuditedImages(dataset, split_seed=3).copies
    assert len(searches) == 1
    for name in ("number", "nearest", "cosine", "is_mirrored"):
        found, expected = getattr(again, name), getattr(first, name)
        assert (found.dtype, found.tolist()) == (expected.dtype, expected.tolist()), name
    assert copy_numbers(dataset).tolist() == first.number.tolist()
    (row,) = np.flatnonzero(paths == "a/same.jpg")
    excluded = add_edit("kinds", "exclude", [dataset.table["image_id"][row]])
    assert copy_numbers(excluded).tolist() == first.number.tolist()  # of all images; those that went too
    assert row not in AuditedImages(excluded).rows
    assert AuditedImages(excluded).split[row] == ""
    assert len(searches) == 1


@pytest.mark.parametrize("damage", ["torn", "of another number of images", "without a column"])
def test_kept_copies_that_are_damaged_are_searched_anew(pictures, searches, damage):
    dataset = import_folder(pictures)
    first = copy_numbers(dataset)
    (path,) = audits_dir().glob("copies-*.json")
    kept = json.loads(path.read_text())
    if damage == "torn":
        path.write_text(path.read_text()[:-9])
    else:
        del kept["nearest" if damage == "without a column" else "num"]
        path.write_text(json.dumps(kept if damage == "without a column" else {**kept, "num": 3}))
    assert copy_numbers(dataset).tolist() == first.tolist()
    assert len(searches) == 2
    assert json.loads(path.read_text())["num"] == dataset.num_images


def fake(targets, groups=None, copies=(), **options):
    audited = AuditedImages(FakeDataset(targets, groups, **options))
    stand_in = FakeCopies()
    stand_in.groups = [np.array(rows) for rows in copies]
    audited.__dict__["copies"] = stand_in
    return audited


def test_units_join_patients_by_way_of_copies_and_leave_others_alone():
    groups = ["p", "p", "q", "q", "", "", ""]
    audited = fake([0] * 7, groups, copies=[(1, 2), (4, 5)])
    units = audited.units
    assert units.dtype == np.int64
    assert len(set(units[:4])) == 1  # two patients who share a picture are one
    assert units[4] == units[5]
    assert len({units[0], units[4], units[6]}) == 3  # images without a patient are none together
    assert len(set(fake([0] * 7).units)) == 7
    assert len(fake([]).units) == 0


def test_excluded_and_unlabelled_images_take_no_part_in_what_asks_for_classes():
    dataset = FakeDataset([0, 1, -1, 0, 1])
    dataset.has_exclusion[[1]] = True
    audited = AuditedImages(dataset)
    assert audited.rows.tolist() == [0, 2, 3, 4]
    assert audited.labelled.tolist() == [0, 3, 4]
    assert audited.ids([0, 3]) == audited.ids(np.array([0, 3])) == ("i000", "i003")
    assert (audited.named(2), audited.is_split) == ("i002.png", True)


def test_a_set_that_cannot_be_divided_has_no_parts_and_says_why(tmp_path):
    audited = AuditedImages(import_folder(write_classes(tmp_path / "few", {"a": 2, "b": 2}), check_splits=False))
    assert not audited.is_split
    assert set(audited.split) == {""}
    assert "Class 'a' has 2 images" in audited.why_not_split


def test_originals_are_none_where_they_went(pictures):
    dataset = import_folder(pictures)
    paths = dataset.table["path"].tolist()
    assert AuditedImages(dataset).originals == [pictures / path for path in paths]
    (pictures / "a" / "0.png").unlink()
    gone = AuditedImages(dataset).originals
    assert [path for path, original in zip(paths, gone, strict=True) if original is None] == ["a/0.png"]
    shutil.rmtree(pictures)
    assert AuditedImages(dataset).originals == [None] * len(paths)


def test_files_that_were_left_out_come_with_their_reason(pictures):
    (pictures / "a" / "broken.png").write_bytes((pictures / "a" / "0.png").read_bytes()[:90])
    (left,) = AuditedImages(import_folder(pictures)).left_out()
    assert left[0] == "a/broken.png"
    assert left[1]


def test_features_without_weights_are_not_measured_in_a_sentence(monkeypatch):
    def refuse(*_, **__):
        raise WeightsUnavailable("There is no network.")

    monkeypatch.setattr("lib.features.engine.choose_engine", refuse)
    with pytest.raises(NotMeasured, match=r"The weights of .+ are not at hand: There is no network\."):
        _ = AuditedImages(FakeDataset([0, 1]), backbone="bundled_vgg").features
