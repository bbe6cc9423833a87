"""Sheets of Excel workbooks as rows of text; formulas count as the result that Excel saved with them.

A workbook is a zip of unknown origin: nothing in it is read before its sizes are within limits.
"""

import io
import re
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from lib.archives import DAMAGE, ArchiveRefused, open_archive, why_unreadable
from lib.errors import UserError

START = b"PK\x03\x04"
_MAX_ENTRIES = 10_000
_MAX_UNPACKED_BYTES = 500 * 2**20
_RATIO_FREE_BYTES = 20 * 2**20  # a sheet of one repeated row packs well
_WORKBOOK = "xl/workbook.xml"
_ZEROS = re.compile("0+")


def is_workbook(data: bytes) -> bool:
    """Whether these bytes look like a workbook: a zip with a workbook inside."""
    return data.startswith(START) and _WORKBOOK.encode() in data


def read_sheets(data: bytes, shown_path: str, *, most_columns: int) -> dict[str, Iterator[list[str]]]:
    """The rows of each sheet that has any, by its name, from its first row with two values on (its title is skipped).

    Raises UserError where the workbook cannot be read, also while rows are taken.
    """
    _check(data, shown_path)
    try:
        from openpyxl import load_workbook

        workbook = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        sheets = {sheet.title: sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"}
        for sheet in sheets.values():
            sheet.reset_dimensions()  # which other programs write wrong
    except Exception as error:  # noqa: BLE001  (openpyxl raises of every kind on what is no workbook)
        raise _broken(shown_path, error) from None
    return {name: _rows(sheet, shown_path, most_columns) for name, sheet in sheets.items()}


def _check(data: bytes, shown_path: str) -> None:
    try:
        with open_archive(io.BytesIO(data), max_entries=_MAX_ENTRIES) as archive:
            members = archive.infolist()
    except ArchiveRefused as error:
        raise UserError(f"{shown_path} is not read: {error}") from None
    except DAMAGE as error:
        raise _broken(shown_path, error) from None
    for member in members:
        if reason := why_unreadable(member, ratio_free_bytes=_RATIO_FREE_BYTES):
            raise UserError(f"{shown_path} is not read: {reason}")
    if sum(member.file_size for member in members) > _MAX_UNPACKED_BYTES:
        raise UserError(f"{shown_path} unpacks to more than {_MAX_UNPACKED_BYTES // 2**20} MiB; save its sheet as CSV.")


def _broken(shown_path: str, error: Exception) -> UserError:
    return UserError(f"{shown_path} cannot be read as an Excel workbook ({type(error).__name__}); save it again.")


def _rows(sheet: Any, shown_path: str, most_columns: int) -> Iterator[list[str]]:
    is_begun = False
    try:
        for cells in sheet.iter_rows(max_col=most_columns + 1):
            values = [_text(cell) for cell in cells]
            is_begun = is_begun or sum(map(bool, values)) > 1
            yield values if is_begun else []
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001
        raise _broken(shown_path, error) from None


def _text(cell: Any) -> str:
    """What a cell shows: whole numbers without a point, with the zeros in front that its format adds; dates as such."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, int):
        number_format = cell.number_format
        return str(value).zfill(len(number_format) if _ZEROS.fullmatch(number_format) else 0)
    if isinstance(value, datetime):
        return str(value.date()) if value.time() == time() else value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value).strip()
