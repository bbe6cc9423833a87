"""The table `metadata.csv` that may lie beside the class folders: which patient, which eye, which mask."""

import csv
import unicodedata
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lib.errors import UserError

METADATA_FILE = "metadata.csv"
_PATH_COLUMNS = ("path", "file_name", "filename", "file", "image", "image_path")


@dataclass(frozen=True)
class MetadataRow:
    """What the table says of one image."""

    group_id: str
    laterality: str
    mask_path: str = ""  # relative to the table's folder
    flags: str = ""  # what is to be said of the image, such as "ungradable: blurred"


class Metadata:
    """Rows by path, and by bare file name where that is enough."""

    def __init__(self, by_path: dict[str, MetadataRow], by_name: dict[str, MetadataRow | None]) -> None:
        self._by_path, self._by_name = by_path, by_name

    def find(self, relative: str, *, is_name_unique: bool) -> MetadataRow | None:
        """The row of an image; a bare file name counts only if it is unique among images and rows."""
        row = self._by_path.get(relative)
        if row is None and is_name_unique:
            return self._by_name.get(PurePosixPath(relative).name)
        return row


def mask_folders(folder: Path) -> set[str]:
    """Names of the folders beside the class folders that hold masks only, as the table's column mask_path says."""
    try:
        columns, rows = _read_rows(folder / METADATA_FILE)
    except (OSError, UnicodeDecodeError, csv.Error):
        return set()
    if "mask_path" not in columns:
        return set()
    path_column = next((name for name in _PATH_COLUMNS if name in columns), "")
    images = {PurePosixPath(_normal(row.get(path_column)).replace("\\", "/")).parts[:1] for row in rows}
    masks = {PurePosixPath(_normal(row.get("mask_path")).replace("\\", "/")).parts[:1] for row in rows}
    return {parts[0] for parts in masks - images if parts}


def read_metadata(folder: Path, group_column: str | None) -> Metadata | None:
    """Read `metadata.csv` (comma, semicolon or tab; UTF-8); None if it is absent or useless and no group is asked for.

    Raises UserError if `group_column` is asked for and the file, its column of paths or that column is missing.
    """
    path = folder / METADATA_FILE
    if not path.is_file():
        if group_column is None:
            return None
        raise UserError(
            f"The group column {group_column!r} needs a file {path} with the columns path and {group_column}; "
            "add it or import without the group column."
        )
    try:
        columns, rows = _read_rows(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        if group_column is None:
            return None
        raise UserError(f"{path} cannot be read as a UTF-8 CSV table ({error}); save it again.") from None
    path_column = next((name for name in _PATH_COLUMNS if name in columns), None)
    missing = group_column if group_column is not None and group_column not in columns else None
    if group_column is None and path_column is None:
        return None
    if missing is not None or path_column is None:
        wanted = repr(missing) if missing is not None else "path or file_name"
        raise UserError(f"{path} has no column {wanted}; it has: {', '.join(columns) or 'none'}.")
    return _index(rows, path_column, group_column)


def _read_rows(path: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    with path.open(newline="", encoding="utf-8-sig") as opened:
        first_line = opened.readline()
        opened.seek(0)
        delimiter = max(",;\t", key=first_line.count)
        reader = csv.DictReader(opened, delimiter=delimiter)
        columns = [str(name).strip() for name in reader.fieldnames or []]
        return columns, [{str(key).strip(): value for key, value in row.items()} for row in reader]


def _index(rows: list[dict[str, str | None]], path_column: str, group_column: str | None) -> Metadata:
    by_path: dict[str, MetadataRow] = {}
    by_name: dict[str, MetadataRow | None] = {}
    for row in rows:
        relative = str(PurePosixPath(_normal(row.get(path_column)).replace("\\", "/")))
        group_id = _normal(row.get(group_column)) if group_column else ""
        mask_path = _normal(row.get("mask_path")).replace("\\", "/")
        found = MetadataRow(group_id, _normal(row.get("laterality")), mask_path, _normal(row.get("flags")))
        by_path[relative] = found
        name = PurePosixPath(relative).name
        by_name[name] = found if by_name.get(name, found) == found else None
    return Metadata(by_path, by_name)


def _normal(value: str | None) -> str:
    return unicodedata.normalize("NFC", (value or "").strip())  # as `shown` does with the names on disk
