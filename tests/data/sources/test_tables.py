"""Tables as people save them, and files that are none."""

import os

import pytest

from lib.data.sources import tables
from lib.data.sources.tables import read_table
from lib.errors import UserError

ROWS = [(2, {"image": "1.png", "level": "0"}), (3, {"image": "2.png", "level": "4"})]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_ways_in_which_programs_save_a_table(tmp_path, delimiter, encoding, end):
    lines = [f"image{delimiter} level ", f"1.png{delimiter}0", "", f'"2.png"{delimiter}4', ""]
    path = tmp_path / "labels.csv"
    path.write_bytes(end.join(lines).encode(encoding))
    table = read_table(path)
    assert table.columns == ("image", "level")
    assert [values for _, values in table.rows] == [values for _, values in ROWS]


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text('image,level\n1.png,0\n\n"two\nlines.png",4\n')
    assert [number for number, _ in read_table(path).rows] == [2, 4]


def test_a_short_row_is_filled_up(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image,level,patient\n1.png,0\n")
    assert read_table(path).rows == [(2, {"image": "1.png", "level": "0", "patient": ""})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image,level\na,b.png,3\n", "Row 2 .* has 3 values for 2 columns"),
        (b"image,image\n1,2\n", "two columns 'image'"),
        (b"PK\x03\x04rest", "a spreadsheet of another kind or a zip archive, not a CSV"),
        (b"image,level\n1,\x00\n", "is no text"),
        (b"image,level\n" + b"a" * 200_000 + b",1\n", "cannot be read as a CSV table"),
        (b"a," * 2000 + b"\n", "2,001 columns"),
    ],
)
def test_what_is_no_table_is_said_in_a_sentence(tmp_path, content, message):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_table(path)
    assert "\n" not in str(caught.value)


def test_only_ordinary_files_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_TABLE_BYTES", 2**20)
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "large.csv").write_bytes(b"image,level\n" * 100_000)
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    for name, message in (
        ("pipe", "no ordinary file"), ("link", "no ordinary file"), ("folder", "no ordinary file"),
        ("device", "no ordinary file"), ("large", "more than 1 MiB"), ("absent", "There is no file"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            read_table(tmp_path / f"{name}.csv")


def test_a_table_through_a_link_to_an_ordinary_file(tmp_path):
    (tmp_path / "table.csv").write_text("image,level\n1.png,0\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "table.csv")
    assert read_table(tmp_path / "link.csv").rows == ROWS[:1]


def test_columns_are_found_whatever_their_case(tmp_path):
    (tmp_path / "t.csv").write_text("Image,Level\n1,2\n")
    table = read_table(tmp_path / "t.csv")
    assert table.find_column("level") == "Level"
    with pytest.raises(UserError, match="no column 'grade'; it has: Image, Level"):
        table.find_column("grade")
