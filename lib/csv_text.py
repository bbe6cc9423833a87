"""Tables as CSV text: the one place that writes it, so that no cell and no heading runs as a formula in a spreadsheet.

File names, class names and notes come from strangers. A spreadsheet takes a cell that begins with a sign for a
formula, which can read other cells, fetch an address or start a program (OWASP, "CSV Injection"); an apostrophe in
front makes it text. A number, or an interval of two, is none, with or without a sign, and stays as it is.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# With the full-width signs, which some spreadsheets read as the others.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# What a spreadsheet passes over, or cannot show, in front of a sign.
_PASSED_OVER = " \u00a0\u200b\u2060\ufeff"
_ONE_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_NUMBER = re.compile(rf"{_ONE_NUMBER}( to {_ONE_NUMBER})?")  # or an interval, which no spreadsheet can compute


def harmless(text: str) -> str:
    """The text with an apostrophe in front where a spreadsheet would take it for a formula."""
    if text[:1].isalnum():  # most are, of thousands of cells
        return text
    is_formula = text.lstrip(_PASSED_OVER).startswith(_FORMULA_STARTS)
    return f"'{text}" if is_formula and not _NUMBER.fullmatch(text) else text


def harmless_table(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table whose texts and headings are harmless, for a widget that lets a person copy or download its cells."""
    texts = [name for name in table.columns if getattr(table[name].dtype, "kind", "O") not in "biufcmM"]
    shown = {name: [harmless(one) if isinstance(one, str) else one for one in table[name]] for name in texts}
    made = table.assign(**shown)
    return made.rename(columns={name: harmless(str(name)) for name in table.columns})


def csv_of_rows(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, digits: int | None = None) -> str:
    """CSV text of rows of plain values; `digits` are kept of a number with decimals, all by default.

    A missing value (None or NaN) is an empty cell.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
    writer.writerow([harmless(str(name)) for name in headings])
    for row in rows:
        writer.writerow([_cell(value, digits) for value in row])
    return buffer.getvalue()


def csv_of_table(table: "pd.DataFrame", *, digits: int | None = None) -> str:
    """CSV text of a table without its index."""
    return csv_of_rows(list(table.columns), table.itertuples(index=False, name=None), digits=digits)


def _cell(value: Any, digits: int | None) -> str:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    if not isinstance(value, float):
        return harmless(str(value))
    if not math.isfinite(value):
        return "" if math.isnan(value) else "inf" if value > 0 else "'-inf"
    return f"{value:.{digits}g}" if digits else repr(float(value))
