"""Whatever a folder looks like: each file is used or listed, or the folder is refused in one sentence."""

import csv
import io
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.data.sources.folder import scan_folder
from lib.data.sources.layout import shown
from lib.data.sources.options import SourceOptions
from lib.errors import UserError

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
