"""Names that look like others or like nothing: files are known by their true names, tables find them by these."""

import csv
import io
import os
import tempfile
import unicodedata
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lib.data.importing import import_folder, resolve_dataset
from lib.data.sources.files import distinct_names, shown, storable
from lib.data.sources.folder import scan_folder
from lib.data.sources.tables import SourceOptions
from lib.errors import UserError
from tests.data.folders import picture, write_classes
from tests.data.sources.trees import classes, groups, scan, touch, write_csv

SCREENSHOT = "Screenshot 2024-05-01 at 9.41.00\u202fAM.png"
DECOMPOSED = unicodedata.normalize("NFD", "caf\u00e9.png")
CONTROL = "a\tb.png"
NO_TEXT = os.fsdecode(b"x\xff.png")


def test_rows_of_metadata_find_odd_names(tmp_path):
    names = [SCREENSHOT, DECOMPOSED, CONTROL, NO_TEXT]
    touch(tmp_path, *(f"cat/{name}" for name in names), "dog/1.png")
    with (tmp_path / "metadata.csv").open("wb") as opened:
        opened.write(b"path,patient\n")
        for number, name in enumerate([SCREENSHOT, unicodedata.normalize("NFC", DECOMPOSED), CONTROL, NO_TEXT]):
            opened.write(b"cat/" + os.fsencode(name) + f",p{number}\n".encode())
        opened.write(b"dog/1,p9\n")  # without extension
    found = scan(tmp_path, group_column="patient")
    assert {entry.path.name: entry.group_id for entry in found.entries} == {
        SCREENSHOT: "p0", DECOMPOSED: "p1", CONTROL: "p2", NO_TEXT: "p3", "1.png": "p9",
    }  # fmt: skip
    assert found.left_out == []


def test_the_exact_name_goes_before_the_one_spelling(tmp_path):
    nfc = unicodedata.normalize("NFC", DECOMPOSED)
    touch(tmp_path, f"cat/{DECOMPOSED}", f"cat/{nfc}", "dog/1.png")
    write_csv(tmp_path / "metadata.csv", ("path", "patient"), [(f"cat/{nfc}", "a"), (f"cat/{DECOMPOSED}", "b")])
    found = scan(tmp_path)
    assert {entry.key: entry.group_id for entry in found.entries} == {
        f"cat/{nfc}": "a", f"cat/{DECOMPOSED}": "b", "dog/1.png": "",
    }  # fmt: skip


def test_a_cleaned_name_in_a_table_finds_nothing(tmp_path):
    touch(tmp_path, f"cat/{CONTROL}", "dog/1.png")
    write_csv(tmp_path / "metadata.csv", ("path", "patient"), [(f"cat/{shown(CONTROL)}", "a")])
    assert set(groups(scan(tmp_path)).values()) == {""}


def test_two_files_and_two_classes_that_look_the_same_stay_two(tmp_path):
    first, second = os.fsdecode(b"\xfe"), os.fsdecode(b"\xff")
    for number, folder in enumerate((f"{first}", f"{second}", "dog")):
        for image in range(4):
            path = tmp_path / "set" / folder / f"{first if image % 2 else second}{image // 2}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(10 * number + image).save(path)
    dataset = import_folder(tmp_path / "set", check_splits=False)
    assert dataset.class_names == ("dog", "\ufffd", "\ufffd (2)")
    assert dataset.table["target"].value_counts().to_dict() == {0: 4, 1: 4, 2: 4}
    paths = [dataset.source_path(row) for row in range(12)]
    assert len(set(paths)) == 12
    assert None not in paths


def test_a_lost_image_is_named_though_another_looks_the_same(tmp_path):
    root = tmp_path / "set"
    for name, seed in (("cat/a\u202fb.png", 1), ("dog/1.png", 2), ("dog/2.png", 3)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(root / name)
    (root / "cat" / "a b.png").write_text("no image")
    dataset = import_folder(root, check_splits=False)
    assert dataset.left_out["path"].tolist() == ["cat/a b.png"]
    assert dataset.table["path"].tolist() == ["cat/a b.png", "dog/1.png", "dog/2.png"]
    assert dataset.source_path(0) == root / "cat/a\u202fb.png"


def test_masks_are_found_by_their_true_names(tmp_path):
    root = tmp_path / "set"
    for seed, name in enumerate(("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(root / name)
    (root / "masks").mkdir()
    picture(9).convert("L").save(root / "masks" / DECOMPOSED)
    picture(8).convert("L").save(root / "masks" / "stray.png")
    write_csv(
        root / "metadata.csv", ("path", "mask_path"), [("cat/1", f"masks/{unicodedata.normalize('NFC', DECOMPOSED)}")]
    )
    dataset = import_folder(root, check_splits=False)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.mask(0) is not None
    assert dataset.left_out.values.tolist() == [
        ["masks/stray.png", "lies in a folder of masks, and no row of metadata.csv names it"]
    ]


def test_names_for_the_eye_and_for_storage():
    assert shown("9.41\u202fAM") == "9.41 AM"
    assert shown("a\nb") == "a\ufffdb"
    assert shown("lone \ud800 half") == "lone \ufffd half"
    assert storable(NO_TEXT) == "x\\udcff.png"
    assert distinct_names(["b", "a\u202f", "a\u2007", "a "]) == {
        "a ": "a ",
        "a\u2007": "a  (2)",
        "a\u202f": "a  (3)",
        "b": "b",
    }


def test_class_folders_in_both_spellings_are_one_class(tmp_path):
    touch(tmp_path, f"train/{unicodedata.normalize('NFD', 'é')}/1.png", "train/b/1.png", "test/é/2.png", "test/b/2.png")
    assert set(classes(scan(tmp_path)).values()) == {"é", "b"}


def test_a_folder_whose_name_is_no_text_is_imported_once(tmp_path):
    root = write_classes(tmp_path / os.fsdecode(b"s\xff\n"), {"a": 3, "b": 3})
    first = import_folder(root)
    assert first.name == "s"
    assert first.source_path(0) == root / "a" / "0.png"
    assert resolve_dataset(root).description["created_s"] == first.description["created_s"]


FOLDERS = ("train", "test", "training_set", "val", "cat", "dog", "masks", "deep", "2_left", ".hidden", "caf\u00e9")
NAMES = ("1", "2", "3", "1_left", "1_right", "2_L", "2_R", "cafe\u0301", "a\u202fb", "a b")
SUFFIXES = (".jpg", ".PNG", ".txt")
TABLES = ("trainLabels.csv", "labels.csv", "metadata.csv", "train/labels.csv")
COLUMNS = ("image", "level", "path", "class", "patient", "mask_path", "x")
VALUES = (*NAMES, "1.jpg", "cat/1", "train/2.jpg", "0", "3", "4", "7", "", "NaN")
paths = st.tuples(st.lists(st.sampled_from(FOLDERS), max_size=3), st.sampled_from(NAMES), st.sampled_from(SUFFIXES))
rows_of_values = st.lists(st.lists(st.sampled_from(VALUES), min_size=1, max_size=5), max_size=6)
tables = st.tuples(st.sampled_from(TABLES), st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=4), rows_of_values)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(
    [([], "1", ".jpg"), (["train"], "1", ".jpg"), (["cat"], "1", ".jpg")],
    [("metadata.csv", ["mask_path"], [["1"]])],
    False,
)
@given(st.lists(paths, max_size=12), st.lists(tables, max_size=2), st.booleans())
def test_each_file_is_used_or_listed_or_the_folder_is_refused(files, found_tables, pairs):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve() / "set"
        root.mkdir()
        for folders, stem, suffix in files:
            folder = root.joinpath(*folders)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stem}{suffix}").write_bytes(b"x")
        for place, columns, rows in found_tables:
            (root / place).parent.mkdir(exist_ok=True)
            text = io.StringIO()
            csv.writer(text).writerows([columns, *rows])
            (root / place).write_text(text.getvalue())
        try:
            scan = scan_folder(root, SourceOptions(pairs=pairs), is_allowed=lambda _: False)
        except UserError as error:
            assert "\n" not in str(error)
            return
        again = scan_folder(root, SourceOptions(pairs=pairs), is_allowed=lambda _: False)
        assert [entry.key for entry in again.entries] == [entry.key for entry in scan.entries]
        assert len(scan.class_names) > 1
        assert set(scan.class_names) == {entry.class_name for entry in scan.entries}
        used = [entry.key for entry in scan.entries]
        assert len(set(used)) == len(used)
        listed = {item.path for item in scan.left_out} | set(map(shown, used))
        read = {entry.mask_path for entry in scan.entries} | {file.table.path for file in scan.label_files}
        for path in root.rglob("*.*"):
            if path.is_file() and path not in read and path.name != "metadata.csv":
                key = shown(path.relative_to(root))
                assert key in listed or _hidden_folder(key) in listed
        # An eye's fellow is with its patient.
        if pairs:
            patients = {entry.key: entry.group_id for entry in scan.entries}
            for key, patient in patients.items():
                fellow = key.replace("1_left", "1_right")
                if fellow != key and fellow in patients:
                    assert patients[fellow] == patient != ""


def _hidden_folder(key: str) -> str:
    """The hidden folder that a file lies in, which is listed whole."""
    parts = key.split("/")
    return "/".join(parts[: parts.index(".hidden") + 1]) if ".hidden" in parts else key
