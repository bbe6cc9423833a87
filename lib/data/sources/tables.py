"""Tables that lie beside images: how they are read, which column says what, and which files their rows name.

A table is an ordinary file of bounded size: text in UTF-8 or UTF-16, its columns apart by comma, semicolon, tab or bar,
or a sheet of an Excel workbook.
"""

import codecs
import csv
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.data.sources.excel import is_workbook, read_sheets
from lib.data.sources.files import shown, split_of
from lib.data.sources.image_index import ImageIndex
from lib.errors import UserError

FOLDERS = "folders"  # instead of a label file: the sub-folders are the classes
MAX_TABLE_BYTES = 50 * 2**20
_MAX_ROWS, _MAX_COLUMNS = 1_000_000, 1_000
_DELIMITERS = ",;\t|"
_NO_TABLE_STARTS = {
    b"PK\x03\x04": "a spreadsheet of another kind or a zip archive",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"%PDF": "a PDF",
}
# As the retinopathy competitions of 2015 and 2019, MESSIDOR and IDRiD, and common image folders name them.
_IMAGE_COLUMNS = (
    *("path", "file_name", "filename", "file", "image", "image_path", "image_name", "image_id", "image_file", "img"),
    *("img_path", "img_name", "id_code", "filepath", "file_path", "name", "id"),
)
_GRADE_COLUMNS = (
    *("level", "diagnosis", "grade", "dr_grade", "dr_level", "retinopathy_grade", "adjudicated_dr_grade", "severity"),
)
_CLASS_COLUMNS = ("class", "class_name", "classname", "label", "labels", "category", "target", *_GRADE_COLUMNS)
_PATIENT_COLUMNS = ("patient", "patient_id", "patientid", "subject", "subject_id")
_EYE_COLUMNS = ("laterality", "eye", "side")
_MASK_COLUMN, _FLAGS_COLUMN = "mask_path", "flags"
_GRADABLE_COLUMNS = ("gradable", "adjudicated_gradable", "is_gradable", "gradability")
_SPLIT_COLUMNS = ("split", "partition", "subset", "set", "part", "data_split", "dataset_split")
_SEPARATOR = re.compile(r"sep=(?P<sign>[,;\t|])\r?\n", re.IGNORECASE)  # a first line for Excel, which shows none
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class SourceOptions:
    """How a person wants a folder to be read; what is left out is recognised.

    `labels` are label files, or "folders" for none, and `sheet` the one of a workbook; `class_column` and
    `image_column` are columns of them, and `group_column` one of them or of `metadata.csv` that says which images
    belong to one patient. `name_pattern` reads the classes from names (lib/data/sources/name_patterns.py). With
    `pairs` patients are recognised by a column of that name, or by left and right eye in the names.
    """

    labels: tuple[str, ...] = ()
    class_column: str | None = None
    image_column: str | None = None
    group_column: str | None = None
    pairs: bool = True
    sheet: str | None = None
    name_pattern: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))  # a list, where it was read from JSON
        if self.name_pattern and (self.labels or self.class_column):
            raise UserError("Classes come from label files or from a pattern of names; take one of them.")
        if not self.pairs and self.group_column is not None:
            raise UserError(
                f"The group column {self.group_column!r} keeps images together and --no-pairs does not; take one of "
                "them."
            )


def label_paths(
    folder: Path, given: str | Path | Sequence[str | Path], *, beside: Path | None = None
) -> tuple[str, ...]:
    """One label file or several as whole paths: as given from here, or else in the folder or beside it.

    Beside it is in the folder `beside`, by default the one that it lies in.

    Raises UserError if there is no such file.
    """
    given = [given] if isinstance(given, str | Path) else given
    if tuple(map(str, given)) == (FOLDERS,):
        return (FOLDERS,)
    return tuple(str(_label_path(folder, Path(one).expanduser(), beside or folder.parent)) for one in given)


def _label_path(folder: Path, given: Path, beside: Path) -> Path:
    if given.is_absolute():
        return Path(os.path.abspath(given))  # noqa: PTH100  (looked for when it is read)
    for place in (Path.cwd(), folder, beside):
        if (path := place / given).exists():
            return Path(os.path.abspath(path))  # noqa: PTH100  (a link keeps its name)
    raise UserError(f"There is no label file {shown(given)}, here or in {shown(folder)} or beside it; check the path.")


@dataclass(frozen=True)
class Table:
    """A table as it stands in its file; the first row, number 1, has the names of the columns."""

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]  # number of the row, and its values without blanks around them
    sheet: str = ""  # of a workbook

    @property
    def name(self) -> str:
        """The file's name, for the eye."""
        return f"{shown(self.path.name)}{f', sheet {shown(self.sheet)}' if self.sheet else ''}"

    def find_column(self, wanted: str) -> str:
        """The name of a column as the table has it; raises UserError naming the columns if there is none."""
        name = wanted.strip()
        alike = next((column for column in self.columns if column.casefold() == name.casefold()), None)
        if alike is None:
            raise UserError(f"{shown(self.path)} has no column {wanted!r}; it has: {self.listed_columns}.")
        return name if name in self.columns else alike

    def values(self, column: str) -> list[str]:
        """What stands in a column, row by row."""
        return [values[column] for _, values in self.rows]

    def known_column(self, names: Iterable[str]) -> str:
        """The first of well-known names (in lower case, "_" between words) that the table has, as it spells it."""
        found = {_plain(name): name for name in reversed(self.columns)}
        return next((found[name] for name in names if name in found), "")

    @property
    def image_column(self) -> str:
        """The column that is called as one of images, "" if none is."""
        return self.known_column(_IMAGE_COLUMNS)

    @property
    def listed_columns(self) -> str:
        """The names of the columns for a sentence."""
        names = [shown(name) for name in self.columns[:30]]
        return (", ".join(names) or "none") + (", ..." if len(self.columns) > 30 else "")


def read_table(path: Path, *, sheet: str | None = None) -> Table:
    """Read a table whole, of a workbook the sheet of that name, or else its first one with rows.

    Raises UserError if it is no ordinary file, too large, no table, or has no such sheet.
    """
    tables = read_tables(path)
    if not sheet or not tables[0].sheet:
        return tables[0]
    wanted = next((table for table in tables if table.sheet.strip().casefold() == sheet.strip().casefold()), None)
    if wanted is None:
        listed = ", ".join(shown(table.sheet) for table in tables)
        raise UserError(f"{shown(path)} has no sheet {sheet!r}; it has: {listed}.")
    return wanted


def read_tables(path: Path) -> list[Table]:
    """A table, or the sheets of a workbook that have rows; raises UserError as `read_table`."""
    data = _bytes(path)
    if not is_workbook(data):
        text = _text(path, data)
        said = _SEPARATOR.match(text)
        text = text[said.end() :] if said else text
        delimiter = said["sign"] if said else _delimiter(text)
        return [_table(path, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False), delimiter)]
    sheets = read_sheets(data, shown(path), most_columns=_MAX_COLUMNS)
    found = [_table(path, rows, sheet=name) for name, rows in sheets.items()]
    if with_rows := [table for table in found if table.rows]:
        return with_rows
    raise UserError(f"{shown(path)} has no sheet with a row of column names and rows below it.")


def _table(path: Path, lines: Iterator[list[str]], delimiter: str = ",", *, sheet: str = "") -> Table:
    try:
        # Blank rows, above the names of the columns too, say nothing.
        numbered = ((number, values) for number, values in enumerate(lines, start=1) if any(map(str.strip, values)))
        _, header = next(numbered, (1, []))
        columns = tuple(name.strip() for name in header)
        if sheet:  # as wide as its names, not as the widest row that somebody wrote a remark into
            columns = columns[: max((place for place, name in enumerate(columns, 1) if name), default=0)]
        if len(columns) > _MAX_COLUMNS:
            raise UserError(f"{shown(path)} has {len(columns):,} columns; at most {_MAX_COLUMNS:,} are read.")
        twin = next((name for place, name in enumerate(columns) if name and name in columns[:place]), None)
        if twin is not None:
            raise UserError(f"{shown(path)} has two columns {shown(twin)!r}; give each a name of its own.")
        rows = []
        for number, values in numbered:
            if not any(value.strip() for value in values[: len(columns) or None]):
                continue
            if number > _MAX_ROWS:
                raise UserError(f"{shown(path)} has more than {_MAX_ROWS:,} rows; cut it into smaller tables.")
            if not sheet and any(value.strip() for value in values[len(columns) :]):
                raise UserError(
                    f"Row {number} of {shown(path)} has {len(values)} values for {len(columns)} columns; a value with "
                    f"{delimiter!r} inside belongs into quotation marks."
                )
            padded = [*values, *[""] * (len(columns) - len(values))]
            rows.append((number, {name: value.strip() for name, value in zip(columns, padded, strict=False)}))
    except csv.Error as error:
        raise UserError(f"{shown(path)} cannot be read as a CSV table ({error}); save it again.") from None
    return Table(path, columns, rows, sheet)


def _bytes(path: Path) -> bytes:
    data = None
    # A pipe would block for ever, a device never end: looked at before it is opened, and again as it was opened.
    try:
        if stat.S_ISREG(path.stat().st_mode):
            with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NO_WAITING)) as opened:
                if stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                    data = opened.read(MAX_TABLE_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"There is no file {shown(path)}; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{shown(path)} cannot be read ({reason}).") from None
    if data is None:
        raise UserError(f"{shown(path)} is no ordinary file; give a CSV or Excel table.")
    if len(data) > MAX_TABLE_BYTES:
        raise UserError(f"{shown(path)} has more than {MAX_TABLE_BYTES // 2**20} MiB; larger tables are not read.")
    return data


def _text(path: Path, data: bytes) -> str:
    for start, what in _NO_TABLE_STARTS.items():
        if data.startswith(start):
            raise UserError(f"{shown(path)} is {what}, not a CSV or Excel table; save it as CSV.")
    encoding = _encoding(data)
    # Bytes that are no UTF-8 stay what they are, as they do in the names of files, so that they find their file.
    text = data.decode(encoding, errors="surrogateescape" if encoding == "utf-8-sig" else "replace")
    if "\0" in text:
        raise UserError(f"{shown(path)} is no text; give a CSV or Excel table.")
    return text


def _encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = data[:200]
    if len(start) >= 4 and not any(start[1::2]):  # "path" as p\0a\0t\0h\0: UTF-16 without its mark
        return "utf-16-le"
    return "utf-16-be" if len(start) >= 4 and not any(start[::2]) else "utf-8-sig"


def _delimiter(text: str) -> str:
    """The sign that cuts the first row into the most columns."""
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    try:
        return max(_DELIMITERS, key=lambda sign: len(next(csv.reader([first], delimiter=sign), [])))
    except csv.Error:
        return ","


@dataclass(frozen=True)
class Columns:
    """Names of columns; "" for what a table does not say."""

    image: str
    label: str = ""
    group: str = ""
    laterality: str = ""
    mask_path: str = ""
    flags: str = ""
    gradable: str = ""
    split: str = ""

    @property
    def is_image_known(self) -> bool:
        """Whether the column of images is called as one."""
        return _plain(self.image) in _IMAGE_COLUMNS

    @property
    def is_label_known(self) -> bool:
        """Whether the column of classes is called as one."""
        return _plain(self.label) in _CLASS_COLUMNS

    @property
    def holds_grades(self) -> bool:
        """Whether the column of classes is named as one of grades."""
        return _plain(self.label) in _GRADE_COLUMNS


def recognise_columns(
    table: Table, index: ImageIndex, *, beside: tuple[str, ...], options: SourceOptions, needs_label: bool
) -> Columns:
    """The columns of a table for the images of `index`.

    Raises UserError, naming the columns that there are, if the image column or a needed label column is not clear.
    """
    asked = options.image_column if needs_label else None  # which is one of label files
    image = table.find_column(asked) if asked else _image_column(table, index, beside)
    if not image and not needs_label:
        raise UserError(f"{shown(table.path)} has no column path or file_name; it has: {table.listed_columns}.")
    if not image:
        raise UserError(
            f"No column of {shown(table.path)} names images of the folder; its columns are: {table.listed_columns}. "
            "Choose one with --image-column NAME (on the page: Image column)."
        )
    group, wanted = table.known_column(_PATIENT_COLUMNS), options.group_column
    if wanted:
        group = next((name for name in table.columns if name.casefold() == wanted.strip().casefold()), "")
    kinds = (_EYE_COLUMNS, (_MASK_COLUMN,), (_FLAGS_COLUMN,), _GRADABLE_COLUMNS)
    others = (table.known_column(names) for names in kinds)
    columns = Columns(image, "", group, *others)
    if not needs_label:
        return columns
    columns = replace(columns, split=_split_column(table, options.class_column))
    label = table.find_column(options.class_column) if options.class_column else _label_column(table, columns)
    if label == image:
        raise UserError(f"The column {shown(label)!r} of {shown(table.path)} cannot hold both images and classes.")
    return replace(columns, label=label)


def _image_column(table: Table, index: ImageIndex, beside: tuple[str, ...]) -> str:
    """The column called so that names the most images; where none does, any that says nothing else."""
    others = (*_CLASS_COLUMNS, *_PATIENT_COLUMNS, *_EYE_COLUMNS, _MASK_COLUMN, _FLAGS_COLUMN, *_GRADABLE_COLUMNS)

    def rank(name: str) -> tuple[bool, int, int]:
        is_known = _plain(name) in _IMAGE_COLUMNS
        values = {values[name] for _, values in table.rows}
        if _plain(name) in others or not (is_known or 2 * len(values) > len(table.rows)):
            return False, 0, 0  # a column of 0 and 1 would name 0.png and 1.png
        hits = index.num_named(table.values(name), beside=beside)
        return hits > 0 and is_known, hits, -(_IMAGE_COLUMNS.index(_plain(name)) if is_known else len(_IMAGE_COLUMNS))

    best = max(table.columns, key=rank, default="")
    return best if best and rank(best)[1] else table.image_column


def _label_column(table: Table, columns: Columns) -> str:
    """The column called so; else the only one that is left."""
    free = [name for name in table.columns if name and name not in vars(columns).values()]
    named = [name for name in free if _plain(name) in _CLASS_COLUMNS]
    candidates = named or free
    if named and all(_says_the_same(table, named[0], name) for name in named[1:]):
        candidates = named[:1]
    if len(candidates) == 1:
        return candidates[0]
    what = "several columns that may hold the classes" if candidates else "no column that may hold the classes"
    raise UserError(
        f"{shown(table.path)} has {what}; its columns are: {table.listed_columns}. Choose one with --class-column NAME "
        "(on the page: Class column)."
    )


def _split_column(table: Table, class_column: str | None) -> str:
    """The column called so, if it says nothing but train, val and test in their usual spellings, and train at all."""
    name = table.known_column(_SPLIT_COLUMNS)
    if not name or name.casefold() == (class_column or "").strip().casefold():
        return ""
    parts = {split_of(value) for value in set(table.values(name)) if value}
    return name if "train" in parts and "" not in parts and len(parts) > 1 else ""


def _says_the_same(table: Table, first: str, second: str) -> bool:
    pairs = {(values[first], values[second]) for _, values in table.rows}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]+", "_", name.strip().casefold())
