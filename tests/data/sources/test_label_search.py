"""Which tables of a folder are looked at for labels, what is said of each, and what their first rows mean."""

import pytest

from lib.data.sources.files import FolderWalk
from lib.data.sources.label_search import (
    LabelSearch,
    inspect_folder,
    preview_labels,
    preview_pattern,
    tables_beside,
)
from lib.data.sources.tables import SourceOptions
from lib.errors import UserError
from tests.data.sources.test_excel import write_workbook
from tests.data.sources.trees import touch, write_csv

ROWS = [("1.png", "a"), ("2.png", "b"), ("3.png", "a"), ("4.png", "b")]
FLAT = tuple(name for name, _ in ROWS)


def search(root, **options):
    walk = FolderWalk(root).run()
    return LabelSearch(walk, walk.images, SourceOptions(**options))


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def test_the_first_rows_are_shown_with_the_images_that_they_mean(tmp_path):
    touch(tmp_path, *FLAT, "more/4.png")
    rows = [("1.png", "a"), ("9.png", "a"), ("4.png", "b"), ("3.png", "b")]
    write_csv(tmp_path / "labels.csv", ("path", "class"), rows)
    preview = preview_labels(tmp_path, SourceOptions(), num_rows=3)
    assert preview.rows == [(2, "1.png", "a", "1.png"), (3, "9.png", "a", ""), (4, "4.png", "b", "4.png")]
    assert (preview.num_rows, preview.num_met, preview.num_images) == (4, 3, 5)
    assert preview_labels(touch(tmp_path / "b" / "c", "cat/1.png"), SourceOptions()) is None


def test_a_row_that_may_mean_several_images_counts_as_none_and_shows_two_of_them(tmp_path):
    root = touch(tmp_path / "set", "x/1.png", "y/1.png", "z/1.png", "x/2.png", "x/3.png")
    path = write_csv(tmp_path / "far" / "labels.csv", ("path", "class"), ROWS[:3])
    preview = preview_labels(root, SourceOptions(labels=(str(path),)))
    assert preview.rows[0] == (2, "1.png", "a", "3 files: x/1.png, y/1.png")
    assert (preview.num_rows, preview.num_met, preview.num_images) == (3, 2, 5)


def test_a_preview_of_columns_that_are_not_clear_is_refused(tmp_path):
    root = touch(tmp_path / "set", *FLAT)
    path = write_csv(tmp_path / "far.csv", ("path", "age", "height"), [(name, 1, 2) for name in FLAT])
    assert preview_labels(root, SourceOptions()) is None  # a table beside the folder by chance
    with pytest.raises(UserError, match="several columns that may hold the classes"):
        preview_labels(root, SourceOptions(labels=(str(path),)))
    with pytest.raises(UserError, match="There is no file"):
        preview_labels(root, SourceOptions(labels=(str(tmp_path / "gone.csv"),)))
    with pytest.raises(UserError, match=r"must have \{class\} once"):
        preview_pattern(root, "{number}")
    assert preview_pattern(root, "{class}").counts == dict.fromkeys("1234", 1)


def test_usable_tables_come_first_and_the_others_say_what_is_missing(tmp_path):
    root = touch(tmp_path / "set", *FLAT)
    write_csv(root / "a.csv", ("path", "age", "height"), [(name, 1, 2) for name in FLAT])
    write_csv(root / "b.csv", ("path", "class"), [(f"no {name}", label) for name, label in ROWS])
    write_csv(root / "c.csv", ("path", "class", "patient"), [(*row, "p") for row in ROWS])
    (root / "d.csv").write_bytes(b"\x00\x00")  # no text
    found = inspect_folder(root)
    assert [table.path.name for table in found.tables] == ["c.csv", "a.csv", "b.csv"]
    assert [(table.image, table.label, table.group) for table in found.tables][:2] == [
        ("path", "class", "patient"), ("path", "", ""),
    ]  # fmt: skip
    assert "several columns that may hold the classes" in found.tables[1].problem
    assert found.tables[2].problem == "No row of b.csv names an image of the folder."
    assert (found.has_class_folders, found.only_names_fit) == (False, False)


def test_each_sheet_of_a_workbook_is_told(tmp_path):
    touch(tmp_path, *FLAT)
    write_workbook(
        tmp_path / "grades.xlsx", First=[("path", "class"), *ROWS], Notes=[("remark", "other"), ("x", "y"), ("z", "w")],
        Second=[("path", "grade"), *((name, index % 2) for index, name in enumerate(FLAT))],
    )  # fmt: skip
    found = inspect_folder(tmp_path)
    assert not found.has_class_folders
    assert [(table.sheet, table.label, table.problem[:9]) for table in found.tables] == [
        ("First", "class", ""), ("Second", "grade", ""), ("Notes", "", "No column"),
    ]  # fmt: skip


def test_names_alone_fit_where_neither_tables_nor_folders_do(tmp_path):
    root = touch(tmp_path / "set", "cat.1.jpg", "cat.2.jpg", "dog.1.jpg", "dog.2.jpg")
    found = inspect_folder(root)
    assert [pattern.pattern for pattern in found.patterns][:1] == ["{class}.{number}"]
    assert found.only_names_fit
    write_csv(
        root / "labels.csv", ("path", "class"), [(f"{kind}.{n}.jpg", kind) for kind in ("cat", "dog") for n in "12"]
    )
    assert not inspect_folder(root).only_names_fit
    assert inspect_folder(touch(tmp_path / "sorted", "cat/1.jpg", "dog/1.jpg")).has_class_folders


def test_beside_the_folder_only_what_names_its_images_counts_and_only_where_one_may_look(tmp_path):
    root = touch(tmp_path / "set", *FLAT)
    write_csv(tmp_path / "labels.csv", ("path", "class"), ROWS)
    write_csv(tmp_path / "other.csv", ("path", "class"), [("8.png", "a"), ("9.png", "b")])
    write_csv(tmp_path / "prices.csv", ("day", "price"), [("Mon", "12"), ("Tue", "14")])
    assert [table.path.name for table in inspect_folder(root).tables] == ["labels.csv"]
    looked = search(root)
    looked.look(tables_beside(root, None))
    assert [file.table.path.name for file in looked.found] == ["labels.csv"]
    assert looked.why_not() == []
    within = root.resolve()
    assert inspect_folder(root, is_allowed=lambda path: path.is_relative_to(within)).tables == []
    hides = tables_beside(root, lambda path: path.name != "labels.csv")
    assert names(hides, tmp_path) == ["other.csv", "prices.csv"]
    # A table of the folder's own goes before, and the others are not read at all.
    write_csv(root / "mine.csv", ("path", "class"), ROWS)
    looked = search(root)
    looked.look(tables_beside(root, None))
    assert [file.table.path.name for file in looked.found] == ["mine.csv"]


def test_tables_lie_on_the_way_to_the_images_in_the_parts_or_in_folders_without_images(tmp_path):
    touch(tmp_path, "all/train/1.png", "all/train/2.png", "all/test/3.png", "all/test/deep/4.png")
    for place in ("", "all/", "all/train/", "all/sheets/", "sheets/", "all/test/deep/", "all/test/tables/"):
        write_csv(tmp_path / f"{place}labels.csv", ("path", "class"), ROWS)
    write_csv(tmp_path / "all" / "sampleSubmission.csv", ("path", "class"), ROWS)
    (tmp_path / "all" / "notes.txt").write_text("path,class\n1.png,a\n")
    found = names(search(tmp_path).tables_inside(), tmp_path)
    assert set(found) == {
        f"{place}labels.csv" for place in ("", "all/", "all/train/", "all/sheets/", "sheets/")
    }  # fmt: skip


def test_no_more_than_fifty_tables_are_opened(tmp_path):
    touch(tmp_path, "1.png", *(f"{number:02}.csv" for number in range(60)))
    assert len(search(tmp_path).tables_inside()) == 50


def test_a_refusal_names_the_likeliest_table(tmp_path):
    touch(tmp_path, *FLAT)
    for name in ("z.csv", "metadata.csv", "x.csv"):
        write_csv(tmp_path / name, ("day", "price"), [("Mon", "12"), ("Tue", "14")])
    looked = search(tmp_path)
    looked.look()
    (said,) = looked.why_not()
    assert said.startswith("x.csv was not used as a label file: No column of")
    (tmp_path / "x.csv").unlink()
    (tmp_path / "z.csv").unlink()
    looked = search(tmp_path)
    looked.look()
    assert looked.why_not()[0].startswith("metadata.csv was not used")


def test_a_named_file_that_is_one_of_the_folder_is_read_from_its_place_there(tmp_path):
    root = touch(tmp_path / "set", "train/1.png", "train/2.png", "test/1.png", "test/2.png")
    path = write_csv(root / "train" / "labels.csv", ("path", "class"), ROWS[:2])
    (tmp_path / "labels.csv").symlink_to(path)
    looked = search(root)
    looked.take(tmp_path / "labels.csv")
    (file,) = looked.label_files
    assert (file.table.path, file.split, file.beside) == (path, "train", ("train",))
    assert [one.relative for one in file.index.find("1.png", beside=file.beside)] == ["train/1.png"]
