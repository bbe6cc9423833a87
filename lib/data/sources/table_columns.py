"""Which column of a table says what: the image, its class, the patient, the eye, the mask."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lib.data.sources.image_index import ImageIndex
from lib.data.sources.layout import shown
from lib.data.sources.tables import Table
from lib.errors import UserError

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
_NUM_SAMPLED = 400


@dataclass(frozen=True)
class Columns:
    """Names of columns; "" for what a table does not say."""

    image: str
    label: str = ""
    group: str = ""
    laterality: str = ""
    mask_path: str = ""
    flags: str = ""

    @property
    def is_label_known(self) -> bool:
        """Whether the column of classes is called as one."""
        return _plain(self.label) in _CLASS_COLUMNS

    @property
    def holds_grades(self) -> bool:
        """Whether the column of classes is named as one of grades."""
        return _plain(self.label) in _GRADE_COLUMNS


@dataclass(frozen=True)
class ColumnChoice:
    """What a person says of the columns; None leaves it to what is recognised."""

    image: str | None = None
    label: str | None = None
    group: str | None = None


def recognise_columns(
    table: Table, index: ImageIndex, *, beside: tuple[str, ...], choice: ColumnChoice, needs_label: bool
) -> Columns:
    """The columns of a table for the images of `index`.

    Raises UserError, naming the columns that there are, if the image column or a needed label column is not clear.
    """
    image = table.find_column(choice.image) if choice.image else _image_column(table, index, beside)
    if not image:
        if needs_label:
            raise UserError(_no_image_column(table))
        raise UserError(f"{shown(table.path)} has no column path or file_name; it has: {table.listed_columns}.")
    columns = Columns(
        image,
        group=_group_column(table, choice),
        laterality=_known(table, _EYE_COLUMNS),
        mask_path=_known(table, (_MASK_COLUMN,)),
        flags=_known(table, (_FLAGS_COLUMN,)),
    )
    if not needs_label:
        return columns
    label = table.find_column(choice.label) if choice.label else _label_column(table, columns)
    if label == image:
        raise UserError(f"The column {shown(label)!r} of {shown(table.path)} cannot hold both images and classes.")
    return replace(columns, label=label)


def _image_column(table: Table, index: ImageIndex, beside: tuple[str, ...]) -> str:
    """The column called so that names the most images; where none does, any that says nothing else."""
    others = (*_CLASS_COLUMNS, *_PATIENT_COLUMNS, *_EYE_COLUMNS, _MASK_COLUMN, _FLAGS_COLUMN)

    def rank(name: str) -> tuple[bool, int, int]:
        is_known = _plain(name) in _IMAGE_COLUMNS
        values = {values[name] for _, values in table.rows}
        if _plain(name) in others or not (is_known or 2 * len(values) > len(table.rows)):
            return False, 0, 0  # a column of 0 and 1 would name 0.png and 1.png
        hits = num_named(table, name, index, beside)
        return hits > 0 and is_known, hits, -_place(name, _IMAGE_COLUMNS)

    best = max(table.columns, key=rank, default="")
    return best if best and rank(best)[1] else named_image_column(table)


def num_named(table: Table, column: str, index: ImageIndex, beside: tuple[str, ...]) -> int:
    """How many of some hundred rows name images by a column."""
    sample = table.rows[:: max(1, len(table.rows) // _NUM_SAMPLED)]
    return sum(1 for _, values in sample if values[column] and index.find(values[column], beside=beside))


def named_image_column(table: Table) -> str:
    """The column that is called as one of images, "" if none is."""
    return _known(table, _IMAGE_COLUMNS)


def _label_column(table: Table, columns: Columns) -> str:
    """The column called so; else the only one that is left."""
    taken = {columns.image, columns.group, columns.laterality, columns.mask_path, columns.flags}
    free = [name for name in table.columns if name and name not in taken]
    named = [name for name in free if _plain(name) in _CLASS_COLUMNS]
    candidates = named or free
    if len(candidates) > 1 and named:
        first = named[0]
        candidates = [first] if all(_says_the_same(table, first, name) for name in named[1:]) else named
    if len(candidates) == 1:
        return candidates[0]
    what = "several columns that may hold the classes" if candidates else "no column that may hold the classes"
    raise UserError(
        f"{shown(table.path)} has {what}; its columns are: {table.listed_columns}. Choose one with --class-column NAME "
        "(on the page: Class column)."
    )


def _says_the_same(table: Table, first: str, second: str) -> bool:
    pairs = {(values[first], values[second]) for _, values in table.rows}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _group_column(table: Table, choice: ColumnChoice) -> str:
    if choice.group:
        return next((name for name in table.columns if name.casefold() == choice.group.strip().casefold()), "")
    return _known(table, _PATIENT_COLUMNS)


def _no_image_column(table: Table) -> str:
    return (
        f"No column of {shown(table.path)} names images of the folder; its columns are: {table.listed_columns}. "
        "Choose one with --image-column NAME (on the page: Image column)."
    )


def _known(table: Table, names: Iterable[str]) -> str:
    """The first of the known names that the table has, as it spells it."""
    found = {_plain(name): name for name in reversed(table.columns)}
    return next((found[name] for name in names if name in found), "")


def _place(name: str, names: tuple[str, ...]) -> int:
    return names.index(_plain(name)) if _plain(name) in names else len(names)


def _plain(name: str) -> str:
    return re.sub(r"[\s_.-]+", "_", name.strip().casefold())
