"""No cell and no heading of any CSV runs as a formula, and nothing writes CSV past the one function for it."""

import ast
import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.csv_text import csv_of_rows, csv_of_table, harmless, harmless_table

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [ROOT / "app.py", *(ROOT / "lib").rglob("*.py"), *(ROOT / "pages").rglob("*.py")]


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1", "\ufeff=1", "＝1", "=cmd|'/c'!A1",
     "-2+3+cmd|' /C calc'!A0", '=HYPERLINK("http://x","y")', "+", "--1", "-1 to A1"],
)  # fmt: skip
def test_what_a_spreadsheet_would_compute_becomes_text(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize(
    "text",
    [
        "-0.5",
        "+3",
        "-1e-5",
        "-.5",
        "-0.120 to 0.184",
        "-0.3 to -0.1",
        "a=b",
        "1-2",
        "",
        "'=1",
        "x@y",
        "Großer Hund",
        "None",
    ],
)
def test_numbers_and_words_stay(text: str) -> None:
    assert harmless(text) == text


def test_headings_cells_and_numbers_of_a_table() -> None:
    table = pd.DataFrame(
        {
            "=head": ["=1+1", "plain"],
            "value": [-0.25, np.nan],
            "count": [3, -4],
            "text": ["-0.5", None],
            "is": [True, False],
        }
    )
    assert read(csv_of_table(table)) == [
        ["'=head", "value", "count", "text", "is"],
        ["'=1+1", "-0.25", "3", "-0.5", "True"],
        ["plain", "", "-4", "", "False"],
    ]


def test_digits_missing_values_and_infinity() -> None:
    rows = [(1 / 3, float("inf"), float("-inf"), pd.NA, pd.NaT, float("nan"), "a,b\nc")]
    assert read(csv_of_rows(list("abcdefg"), rows, digits=3))[1] == ["0.333", "inf", "'-inf", "", "", "", "a,b\nc"]
    assert read(csv_of_rows(["a"], [(0.1 + 0.2,)]))[1] == ["0.30000000000000004"]


def test_a_shown_table_can_be_copied_without_harm() -> None:
    table = pd.DataFrame({"@file": ["=1", "b"], "share": [-0.5, 0.5]})
    shown = harmless_table(table)
    assert shown.columns.tolist() == ["'@file", "share"]
    assert shown["'@file"].tolist() == ["'=1", "b"]
    assert shown["share"].tolist() == [-0.5, 0.5]
    assert table.columns.tolist() == ["@file", "share"]  # the one given stays as it was


def found_in(tree: ast.AST) -> list[str]:
    """Ways past the one function: pandas' own CSV, csv writers, and widgets that offer their cells as they are."""
    ways = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        if node.attr == "to_csv" and owner != "report":  # lib.grading.report.to_csv goes through the function
            ways.append(f"line {node.lineno}: .to_csv")
        if node.attr in ("writer", "DictWriter") and owner == "csv":
            ways.append(f"line {node.lineno}: csv.{node.attr}")
        if node.attr in ("dataframe", "data_editor"):
            ways.append(f"line {node.lineno}: .{node.attr}")
    return ways


@pytest.mark.slow
def test_nothing_writes_csv_past_the_one_function() -> None:
    allowed = {"lib/csv_text.py": ["csv.writer"], "pages/common/controls.py": [".dataframe"]}
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        ways = [way.split(": ")[1] for way in found_in(ast.parse(path.read_text(encoding="utf-8")))]
        assert ways == allowed.get(name, []), f"{name}: use lib.csv_text, or controls.show_table on a page"


@pytest.mark.parametrize(
    "line",
    ["table.to_csv(path)", "st.download_button('x', lambda: table.to_csv(index=False))", "csv.writer(opened)",
     "csv.DictWriter(opened, names)", "st.dataframe(table)", "column.dataframe(table)", "st.data_editor(table)"],
)  # fmt: skip
def test_the_walk_sees_every_way(line: str) -> None:
    assert len(found_in(ast.parse(line))) == 1
