"""Checks the classes that a label file gives: none missing, none beside the scale."""

from collections import Counter

from lib.data.sources.layout import shown
from lib.data.sources.table_columns import Columns
from lib.data.sources.tables import Table
from lib.errors import UserError

_MISSING = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "null"))
_GRADES = ("0", "1", "2", "3", "4")
# Where nearly all rows are grades 0 to 4, the others are slips; where many are not, the column holds something else.
_LEAST_GRADED = 0.75


def check_labels(table: Table, columns: Columns) -> dict[int, str]:
    """The class of each row by its number; whole numbers as such ("2.0" is "2").

    Raises UserError naming row and value where a class is missing, is no text, or is no grade among grades 0 to 4.
    """
    labels = {}
    for number, values in table.rows:
        label = values[columns.label]
        if label.casefold() in _MISSING:
            raise UserError(
                f"Row {number} of {shown(table.path)} has no class in column {shown(columns.label)!r} "
                f"({repr(label) if label else 'it is empty'}); fill it in, or remove the row."
            )
        if label != shown(label) and any("\udc80" <= sign <= "\udcff" for sign in label):
            raise UserError(
                f"Row {number} of {shown(table.path)} has a class that is no UTF-8 text ({shown(label)!r}); save the "
                "table as UTF-8."
            )
        labels[number] = _whole(label)
    if not labels:
        raise UserError(f"{shown(table.path)} has no rows below its column names ({table.listed_columns}).")
    _refuse_beside_scale(table, columns, labels)
    return labels


def _refuse_beside_scale(table: Table, columns: Columns, labels: dict[int, str]) -> None:
    counts = Counter(labels.values())
    grades = [grade for grade in _GRADES if grade in counts]
    others = sorted(set(counts) - set(_GRADES))
    share = sum(counts[grade] for grade in grades) / len(labels)
    if not others or len(grades) < 3 or share < _LEAST_GRADED:
        return
    goes_on = [str(number) for number in range(len(counts))]  # 0, 1, ... 6: seven classes, no slip
    if sorted(counts) == sorted(goes_on) and not columns.holds_grades:
        return
    row = next(number for number, label in labels.items() if label in others)
    raise UserError(
        f"Row {row} of {shown(table.path)} has {shown(labels[row])!r} in column {shown(columns.label)!r}, where the "
        "other rows have grades 0 to 4; correct it, or remove the row."
    )


def _whole(label: str) -> str:
    """A whole number as such: a column with gaps is saved as 0.0, 1.0 by many programs."""
    try:
        value = float(label)
    except ValueError:
        return label
    is_written_so = all(sign in "0123456789.+-" for sign in label)
    return str(int(value)) if is_written_so and value.is_integer() and abs(value) < 2**53 else label
