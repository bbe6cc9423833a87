"""Sheets of Excel workbooks as label files."""

import zipfile
from datetime import date, datetime, time

import pytest
from openpyxl import Workbook

from lib.data.sources.tables import read_table
from lib.errors import UserError
from tests.data.sources.trees import classes, groups, reasons, scan, touch


def write_workbook(path, **sheets):
    workbook = Workbook()
    workbook.remove(workbook.active)
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    workbook.save(path)
    return path


GRADES = [("Image name", "Retinopathy grade"), ("a", 1.0), ("b", 0), ("c", "0.0"), ("d", 1)]
FILES = ("a.jpg", "b.jpg", "c.JPG", "d.jpg")


def test_a_sheet_beside_the_images_is_found_below_its_title(tmp_path):
    touch(tmp_path, *FILES)
    title = [("Grades of the second reading",), (None, None)]
    write_workbook(tmp_path / "grades.xlsx", Empty=[], Notes=[("read me",)], Final=[*title, *GRADES])
    found = scan(tmp_path)
    assert classes(found) == {"b.jpg": "0", "c.JPG": "0", "a.jpg": "1", "d.jpg": "1"}
    assert "Labels from grades.xlsx, sheet Final: image in column Image name" in found.notices[0]
    assert read_table(tmp_path / "grades.xlsx").rows[0] == (4, {"Image name": "a", "Retinopathy grade": "1"})
    assert not reasons(found)


def test_cells_are_read_as_they_are_shown(tmp_path):
    workbook = Workbook()
    sheet = workbook.active
    sheet.append(("id", "class", "day", "at", "flag", "share", "remark"))
    moment = datetime(2020, 2, 3, 4, 5, 6)
    sheet.append((7, "=1+1", date(2020, 2, 3), moment, True, 0.25, " a "))
    sheet.append((8.0, 2, datetime(2020, 2, 3), time(4, 5), False, 1e300, None))
    sheet["A2"].number_format = "0000"
    workbook.save(tmp_path / "t.xlsx")
    first, second = (values for _, values in read_table(tmp_path / "t.xlsx").rows)
    assert list(first.values()) == ["0007", "", "2020-02-03", "2020-02-03 04:05:06", "TRUE", "0.25", "a"]
    assert list(second.values()) == ["8", "2", "2020-02-03", "04:05:00", "FALSE", "1e+300", ""]


def test_the_result_that_was_saved_with_a_formula_counts(tmp_path):
    """Excel writes <f> with its result in <v>; openpyxl writes none, so it is put in here."""
    path = write_workbook(tmp_path / "t.xlsx", S=[("image", "level"), ("a", "=2-1"), ("b", 0)])
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    parts[name] = (
        parts[name]
        .replace(b"<f>2-1</f><v></v>", b"<f>2-1</f><v>1</v>")
        .replace(b"<f>2-1</f><v />", b"<f>2-1</f><v>1</v>")
    )
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    assert [values["level"] for _, values in read_table(path).rows] == ["1", "0"]


def test_one_of_several_sheets_is_chosen_by_its_name(tmp_path):
    touch(tmp_path, *FILES)
    other = [("Image name", "grade"), *[(name, index % 2) for index, name in enumerate("abcd")]]
    write_workbook(tmp_path / "grades.xlsx", First=GRADES, Second=other)
    with pytest.raises(UserError, match=r"several sheets that may hold the labels: First, Second\. Choose one with"):
        scan(tmp_path)
    assert classes(scan(tmp_path, sheet="second"))["b.jpg"] == "1"
    with pytest.raises(UserError, match="has no sheet 'third'; it has: First, Second"):
        scan(tmp_path, labels=(str(tmp_path / "grades.xlsx"),), sheet="third")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("remark", "other"), ("x", "y"), ("z", "w")], "No column of .*t.xlsx names images of the folder; its"),
        (
            [("image", "other"), ("a", "p"), ("b", "q"), ("c", "r")],
            "no column that looks like classes; its columns are: image",
        ),
        ([("image", "image"), ("a", "p")], "has two columns 'image'"),
        ([("image", "level"), ("a", 1), ("b", None)], "Row 3 of .*t.xlsx has no class in column 'level'"),
        ([("only",)], "has no sheet with a row of column names and rows below it"),
    ],
)
def test_a_sheet_without_usable_columns_is_refused_in_a_sentence(tmp_path, rows, said):
    touch(tmp_path, *FILES)
    path = write_workbook(tmp_path / "t.xlsx", S=rows)
    with pytest.raises(UserError, match=said) as refused:
        scan(tmp_path, labels=(str(path),))
    assert "\n" not in str(refused.value)


def test_what_is_no_workbook_or_a_bomb_is_not_read(tmp_path):
    path = tmp_path / "t.xlsx"
    path.write_bytes(b"PK\x03\x04 xl/workbook.xml")
    with pytest.raises(UserError, match="cannot be read as an Excel workbook"):
        read_table(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b"0" * 30 * 2**20)
    with pytest.raises(UserError, match="a zip bomb"):
        read_table(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<a/>")
    with pytest.raises(UserError, match="cannot be read as an Excel workbook"):
        read_table(path)


def test_patients_of_a_sheet_stay_together(tmp_path):
    touch(tmp_path, *FILES)
    rows = [("Image name", "Patient ID", "grade"), ("a", 12, 0), ("b", 12.0, 1), ("c", 13, 0), ("d", 14, 1)]
    write_workbook(tmp_path / "grades.xlsx", S=rows)
    assert groups(scan(tmp_path)) == {"a.jpg": "12", "b.jpg": "12", "c.JPG": "13", "d.jpg": "14"}
