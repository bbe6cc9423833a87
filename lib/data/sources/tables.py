"""Reads the tables that lie beside images: the one place for every CSV that a person brings.

A table is an ordinary file of bounded size, in UTF-8 or UTF-16, its columns apart by comma, semicolon, tab or bar.
"""

import codecs
import csv
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from lib.data.sources.layout import shown
from lib.errors import UserError

MAX_TABLE_BYTES = 50 * 2**20
_MAX_ROWS = 1_000_000
_MAX_COLUMNS = 1_000
_DELIMITERS = ",;\t|"
_NO_TABLE_STARTS = {
    b"PK\x03\x04": "a spreadsheet or zip archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"%PDF": "a PDF",
}


@dataclass(frozen=True)
class Table:
    """A table as it stands in its file; the first row, number 1, has the names of the columns."""

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]  # number of the row, and its values without blanks around them

    @property
    def name(self) -> str:
        """The file's name, for the eye."""
        return shown(self.path.name)

    def find_column(self, wanted: str) -> str:
        """The name of a column as the table has it; raises UserError naming the columns if there is none."""
        exact = [name for name in self.columns if name == wanted.strip()]
        alike = exact or [name for name in self.columns if name.casefold() == wanted.strip().casefold()]
        if not alike:
            raise UserError(f"{shown(self.path)} has no column {wanted!r}; it has: {self.listed_columns}.")
        return alike[0]

    @property
    def listed_columns(self) -> str:
        """The names of the columns for a sentence."""
        names = [shown(name) for name in self.columns[:30]]
        return (", ".join(names) or "none") + (", ..." if len(self.columns) > 30 else "")


def read_table(path: Path) -> Table:
    """Read a table whole; raises UserError if it is no ordinary file, too large, or no table."""
    text = _text(path, _bytes(path))
    delimiter = _delimiter(text)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False)
        columns = tuple(name.strip() for name in next(lines, []))
        if len(columns) > _MAX_COLUMNS:
            raise UserError(f"{shown(path)} has {len(columns):,} columns; at most {_MAX_COLUMNS:,} are read.")
        _refuse_twins(path, columns)
        rows = []
        for number, values in enumerate(lines, start=2):
            if not any(value.strip() for value in values):
                continue
            if number > _MAX_ROWS:
                raise UserError(f"{shown(path)} has more than {_MAX_ROWS:,} rows; cut it into smaller tables.")
            if any(value.strip() for value in values[len(columns) :]):
                raise UserError(
                    f"Row {number} of {shown(path)} has {len(values)} values for {len(columns)} columns; a value with "
                    f"{delimiter!r} inside belongs into quotation marks."
                )
            padded = [*values, *[""] * (len(columns) - len(values))]
            rows.append((number, {name: value.strip() for name, value in zip(columns, padded, strict=False)}))
    except csv.Error as error:
        raise UserError(f"{shown(path)} cannot be read as a CSV table ({error}); save it again.") from None
    return Table(path, columns, rows)


def _bytes(path: Path) -> bytes:
    # A pipe would block for ever, a device never end: looked at before it is opened, and again as it was opened.
    try:
        if stat.S_ISREG(path.stat().st_mode):
            with open(path, "rb", opener=_open_without_waiting) as opened:
                if stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                    data = opened.read(MAX_TABLE_BYTES + 1)
                    if len(data) > MAX_TABLE_BYTES:
                        raise UserError(
                            f"{shown(path)} has more than {MAX_TABLE_BYTES // 2**20} MiB; larger tables are not read."
                        )
                    return data
    except FileNotFoundError:
        raise UserError(f"There is no file {shown(path)}; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{shown(path)} cannot be read ({reason}).") from None
    raise UserError(f"{shown(path)} is no ordinary file; give a CSV table.")


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _text(path: Path, data: bytes) -> str:
    for start, what in _NO_TABLE_STARTS.items():
        if data.startswith(start):
            raise UserError(f"{shown(path)} is {what}, not a CSV table; save it as CSV.")
    encoding = _encoding(data)
    # Bytes that are no UTF-8 stay what they are, as they do in the names of files, so that they find their file.
    errors = "surrogateescape" if encoding == "utf-8-sig" else "replace"
    text = data.decode(encoding, errors=errors)
    if "\0" in text:
        raise UserError(f"{shown(path)} is no text; give a CSV table.")
    return text


def _encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = data[:200]
    if len(start) >= 4 and not any(start[1::2]):  # "path" as p\0a\0t\0h\0: UTF-16 without its mark
        return "utf-16-le"
    if len(start) >= 4 and not any(start[::2]):
        return "utf-16-be"
    return "utf-8-sig"


def _delimiter(text: str) -> str:
    """The sign that cuts the first row into the most columns."""
    first = io.StringIO(text, newline="").readline()
    try:
        return max(_DELIMITERS, key=lambda sign: len(next(csv.reader([first], delimiter=sign), [])))
    except csv.Error:
        return ","


def _refuse_twins(path: Path, columns: tuple[str, ...]) -> None:
    named = [name for name in columns if name]
    twin = next((name for position, name in enumerate(named) if name in named[:position]), None)
    if twin is not None:
        raise UserError(f"{shown(path)} has two columns {shown(twin)!r}; give each a name of its own.")
