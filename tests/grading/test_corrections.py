"""Corrections: only appended, undone by an entry, read back as what holds, and carried into a data set of its own."""

import hashlib
import json
import threading

import numpy as np
import pytest
from PIL import Image

from lib.data.importing import import_folder
from lib.errors import UserError
from lib.grading.corrections import (
    correct,
    export_corrections,
    log_path,
    pictures_below,
    present,
    present_of,
    undo,
)

SHA = "a" * 64


@pytest.fixture(autouse=True)
def own_home(home):
    return home


def test_nothing_is_there_unless_a_person_corrects():
    assert present() == []
    assert not log_path().exists()


def test_the_last_correction_of_an_image_and_run_holds_until_it_is_undone():
    correct(SHA, "cat", file="1.png", run="r1", given="dog")
    other = correct(SHA, "dog", file="1.png", run="r2", given="cat")
    last = correct(SHA, "bird", file="1.png", run="r1", given="dog", note=" a wing ")
    assert present() == [other, last]
    assert (last.note, last.given) == ("a wing", "dog")
    assert undo(last.correction_id[:6]) == last
    assert present() == [other]
    assert present_of(SHA, "r1") is None
    assert present_of(SHA, "r2") == other
    lines = [json.loads(line) for line in log_path().read_text().splitlines()]
    assert [line["entry"] for line in lines] == ["correction"] * 3 + ["undo"]
    assert {line["format_version"] for line in lines} == {1}
    with pytest.raises(UserError, match="no correction that holds"):
        undo(last.correction_id)


def test_a_line_that_was_cut_off_loses_itself_alone():
    first = correct(SHA, "cat", file="1.png", run="r")
    with log_path().open("a") as log:
        log.write('{"entry": "corr')
    second = correct("b" * 64, "dog", file="2.png", run="r")
    assert present() == [first, second]


def test_many_at_once_are_all_kept():
    threads = [
        threading.Thread(target=correct, args=(f"{number:064x}", "cat"), kwargs={"file": "\n\u202e.png", "run": "r"})
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(present()) == 16


def test_a_newer_log_and_bad_input_are_explained():
    with pytest.raises(UserError, match="Choose one of cat, dog"):
        correct(SHA, "bird", file="1.png", run="r", class_names=("cat", "dog"))
    with pytest.raises(UserError, match="grade the file again"):
        correct("", "cat", file="1.png", run="r")
    with pytest.raises(UserError, match="at most 2,000"):
        correct(SHA, "cat", file="1.png", run="r", note="x" * 2001)
    assert not log_path().exists()
    log_path().parent.mkdir(parents=True, exist_ok=True)
    log_path().write_text('{"format_version": 2, "entry": "correction"}\n')
    with pytest.raises(UserError, match="newer version"):
        present()


def _write(folder, count=12):
    folder.mkdir()
    random = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(count)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    return paths


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_corrected_pictures_become_a_data_set_that_can_be_imported(tmp_path):
    paths = _write(tmp_path / "photos")
    for number, path in enumerate(paths):
        correct(_sha256(path), ("No DR", "Mild/../x")[number % 2], file=f"up.zip/{path.name}", run="r", given="No DR")
    before = {path: path.read_bytes() for path in paths}
    found = pictures_below([tmp_path / "photos"], (one.sha256 for one in present()))
    made = export_corrections(present(), tmp_path / "out", pictures=found)
    assert (made.num_images, made.num_copied, made.missing) == (12, 12, ())
    assert {path: path.read_bytes() for path in (tmp_path / "photos").iterdir()} == before
    assert {path.parent.parent for path in (tmp_path / "out").rglob("*.png")} == {tmp_path / "out"}
    # A class whose name is no safe name of a folder has its own name in the label file.
    assert len(import_folder(tmp_path / "out", name="by-folders").spec.class_names) == 2
    dataset = import_folder(tmp_path / "out", name="corrected", labels=str(made.labels))
    assert set(dataset.spec.class_names) == {"No DR", "Mild/../x"}
    assert dataset.table["target"].value_counts().tolist() == [6, 6]


def test_labels_alone_name_the_files(tmp_path):
    correct(SHA, "cat", file="a/b/1.png", run="r1")
    correct(SHA, "dog", file="a/b/1.png", run="r2")  # the last of the image counts
    made = export_corrections(present(), tmp_path / "out")
    assert made.labels.read_bytes() == b"image,class\r\n1.png,dog\r\n"
    with pytest.raises(UserError, match="holds something already"):
        export_corrections(present(), tmp_path / "out")
    with pytest.raises(UserError, match="None of the corrected pictures"):
        export_corrections(present(), tmp_path / "other", pictures={})
    with pytest.raises(UserError, match="no corrections"):
        export_corrections([], tmp_path / "other")


def test_the_programs_data_sets_and_the_originals_are_left_alone(tmp_path, own_home):
    (path,) = _write(tmp_path / "photos", 1)
    correct(_sha256(path), "cat", file=path.name, run="r")
    with pytest.raises(UserError, match="outside the program's data sets"):
        export_corrections(present(), own_home / "datasets" / "x")
    with pytest.raises(UserError, match="holds something already"):
        export_corrections(present(), tmp_path / "photos", pictures={_sha256(path): path})
