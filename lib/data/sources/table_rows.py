"""What a table says of each image: its rows matched with the files that they name."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lib.data.sources.folder_walk import FoundFile
from lib.data.sources.image_index import ImageIndex
from lib.data.sources.layout import shown
from lib.data.sources.table_columns import Columns
from lib.data.sources.tables import Table
from lib.errors import UserError


@dataclass(frozen=True)
class ImageFacts:
    """What the row `row` says of one image."""

    row: int
    table: Table
    label: str = ""
    group_id: str = ""
    laterality: str = ""
    mask_path: str = ""
    flags: str = ""


@dataclass(frozen=True)
class MatchedRows:
    """Rows by the path of their image, and those that name none or several: (number, name, files)."""

    by_path: dict[Path, ImageFacts]
    missing: list[ImageFacts]
    ambiguous: list[tuple[int, str, list[FoundFile]]]
    names: dict[int, str]  # what a row calls its image, for the eye


def match_rows(table: Table, columns: Columns, index: ImageIndex, *, beside: tuple[str, ...]) -> MatchedRows:
    """Find the image of each row; `beside` is the table's folder below the root.

    Raises UserError if two rows say different things of one image.
    """
    matched = MatchedRows({}, [], [], {})
    for number, values in table.rows:
        name = values[columns.image]
        facts = ImageFacts(
            number,
            table,
            *(values[column] if column else "" for column in (columns.label, columns.group, columns.laterality)),
            *(values[column] if column else "" for column in (columns.mask_path, columns.flags)),
        )
        matched.names[number] = shown(name) or "no image"
        found = index.find(name, beside=beside)
        if len(found) > 1:
            matched.ambiguous.append((number, shown(name), found))
        elif not found:
            matched.missing.append(facts)
        else:
            _refuse_contradiction(table, found[0], matched.by_path.get(found[0].path), facts)
            matched.by_path[found[0].path] = facts
    return matched


def refuse_ambiguous(table: Table, ambiguous: Iterable[tuple[int, str, list[FoundFile]]]) -> None:
    """Raise UserError for the first name that fits several files."""
    for number, name, files in ambiguous:
        raise UserError(
            f"Row {number} of {shown(table.path)} names {name!r}, which lies in two places: {files[0].relative} and "
            f"{files[1].relative}. Write the path in the table, such as {files[0].relative}."
        )


def _refuse_contradiction(table: Table, file: FoundFile, before: ImageFacts | None, facts: ImageFacts) -> None:
    if before is None:
        return
    for what in ("label", "group_id"):
        first, second = getattr(before, what), getattr(facts, what)
        if first != second:
            word = "class" if what == "label" else "patient"
            raise UserError(
                f"Rows {before.row} and {facts.row} of {shown(table.path)} give {file.relative} different values for "
                f"its {word}: {shown(first)!r} and {shown(second)!r}. Correct one, or remove it."
            )
