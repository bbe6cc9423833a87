"""Finds label files: tables in a folder of images or beside it, with a column of images and one of classes."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lib.data.sources.class_folders import read_class_folders
from lib.data.sources.folder_walk import FolderWalk, FoundFile
from lib.data.sources.image_index import ImageIndex
from lib.data.sources.label_files import LabelFile
from lib.data.sources.layout import existing_folder, shown, split_of
from lib.data.sources.metadata import METADATA_FILE
from lib.data.sources.split_folders import split_base, split_in
from lib.data.sources.table_columns import ColumnChoice, Columns, named_image_column, num_named, recognise_columns
from lib.data.sources.tables import Table, read_table
from lib.errors import UserError

_SUFFIXES = (".csv", ".tsv")
_MAX_CANDIDATES = 50


@dataclass(frozen=True)
class FoundTable:
    """A table in a folder of images or beside it, with the columns that are recognised ("" where none is clear).

    `problem` says why it is no label file as it stands; choosing columns may mend that.
    """

    path: Path
    columns: tuple[str, ...]
    image: str
    label: str
    group: str
    problem: str


class LabelSearch:
    """Looks for label files in a folder and beside it.

    `found` are those whose columns are clear; `near` says of the others why not.
    """

    def __init__(self, walk: FolderWalk, images: list[FoundFile], choice: ColumnChoice) -> None:
        self.walk, self.images, self.choice = walk, images, choice
        self.base = split_base(images)
        self.found: list[LabelFile] = []
        self.near: dict[Path, str] = {}

    def take(self, path: Path) -> None:
        """Use a file that a person named; raises UserError if it will not do."""
        same = (file.path for file, _ in self.walk.others if file.path.name == path.name and _is_same(file.path, path))
        self.found.append(self._open(read_table(next(same, path))))

    def look(self, beside: Sequence[Path] = ()) -> None:
        """Look through the tables in the folder and its parts, or else through those `beside` it.

        One that names no image is passed over where another does, and always beside the folder.
        """
        for path in self.tables_inside():
            self._try(path)
        self.found = [file for file in self.found if _names_images(file)] or self.found
        if not self.found:
            near = dict(self.near)
            for path in _likely(beside):
                self._try(path)
            self.found = [file for file in self.found if _names_images(file)]
            self.near = near  # of what lies beside by chance nothing is said

    def tables_inside(self) -> list[Path]:
        """The tables on the way to the images and in the parts."""
        return _likely(file.path for file, _ in self.walk.others if self._may_lie(file.parts[:-1]))

    def inspect(self, path: Path) -> FoundTable | None:
        """A table as it stands, whether it is a label file or not; None if it cannot be read."""
        try:
            table = read_table(path)
        except UserError:
            return None
        try:
            file = self._open(table)
        except UserError as error:
            image = named_image_column(table)
            return FoundTable(path, table.columns, image, "", "", str(error))
        columns = file.columns
        problem = "" if _names_images(file) else f"No row of {table.name} names an image of the folder."
        return FoundTable(path, table.columns, columns.image, columns.label, columns.group, problem)

    @property
    def label_files(self) -> list[LabelFile]:
        """What was found; a lone trainLabels.csv may name images of test/, too, where train/ has none of that name."""
        if len({file.split for file in self.found}) != 1 or not self.found[0].split:
            return self.found
        everything = ImageIndex(self.images)
        return [replace(file, index=ImageIndex(self._images_for(file.split), behind=everything)) for file in self.found]

    def why_not(self) -> list[str]:
        """For a refusal: why the likeliest table of the folder is no label file."""
        said = sorted(self.near.items(), key=lambda item: (item[0].name == METADATA_FILE, item[0].name))
        return [f"{shown(path.name)} was not used as a label file: {reason}" for path, reason in said[:1]]

    def _may_lie(self, folder: tuple[str, ...]) -> bool:
        """In a folder on the way to the images, or directly in a part."""
        depth = len(self.base)
        return folder == self.base[: len(folder)] or (len(folder) == depth + 1 and folder[:depth] == self.base)

    def _try(self, path: Path) -> None:
        try:
            self.found.append(self._open(read_table(path)))
        except UserError as error:
            self.near[path] = str(error)

    def _open(self, table: Table) -> LabelFile:
        beside = _folder_below(table.path, self.walk.root)
        split = self._split(table.path, beside)
        index = ImageIndex(self._images_for(split))
        columns = recognise_columns(table, index, beside=beside, choice=self.choice, needs_label=True)
        if not self.choice.label and not columns.is_label_known:
            _refuse_no_classes(table, columns)
        return LabelFile(table, columns, split, beside, index)

    def _images_for(self, split: str) -> list[FoundFile]:
        return [file for file in self.images if split_in(file, self.base) == split] if split else self.images

    def _split(self, path: Path, beside: tuple[str, ...]) -> str:
        """The split whose images a table names: by its folder or its name, where the images have splits."""
        splits = {split_in(file, self.base) for file in self.images} - {""}
        inside = split_of(beside[len(self.base)]) if len(beside) > len(self.base) else ""
        said = inside or _split_in_name(path.name)
        return said if said in splits and len(splits) > 1 else ""


def _names_images(file: LabelFile) -> bool:
    return num_named(file.table, file.columns.image, file.index, file.beside) > 0


def _refuse_no_classes(table: Table, columns: Columns) -> None:
    """A column of another name, taken because it is the only one left, must look like classes."""
    values = Counter(values[columns.label] for _, values in table.rows)
    if not 2 <= len(values) <= max(2, len(table.rows) // 2):
        raise UserError(
            f"{shown(table.path)} has no column that looks like classes; its columns are: {table.listed_columns}. "
            "Choose one with --class-column NAME (on the page: Class column)."
        )


def _likely(paths: Iterable[Path]) -> list[Path]:
    """Those that may be label files; a sample submission has the columns of one and no labels."""
    found = [path for path in paths if path.suffix.lower() in _SUFFIXES and "submission" not in path.name.casefold()]
    return found[:_MAX_CANDIDATES]


def _split_in_name(name: str) -> str:
    """The split that the name of a file mentions: "trainLabels.csv", "testing-labels.csv"."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", Path(name).stem)
    found = {
        split for word in words for split in (split_of(word) or split_of(word.lower().removesuffix("labels")),) if split
    }
    return found.pop() if len(found) == 1 else ""


def _folder_below(path: Path, root: Path) -> tuple[str, ...]:
    """The folder of a table below the root; () for one that lies elsewhere."""
    return path.parent.relative_to(root).parts if path.is_relative_to(root) else ()


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


def inspect_tables(
    folder: str | Path, *, is_allowed: Callable[[Path], bool] | None = None
) -> tuple[list[FoundTable], bool]:
    """The tables that may hold the labels of a folder, likeliest first, and whether its sub-folders are classes."""
    root = existing_folder(folder)
    walk = FolderWalk(root, is_allowed).run()
    search = LabelSearch(walk, walk.images, ColumnChoice())
    found = [table for path in search.tables_inside() if (table := search.inspect(path))]
    if not any(not table.problem for table in found):
        beside = [search.inspect(path) for path in _likely(tables_beside(root, is_allowed))]
        found += [table for table in beside if table and table.image and not table.problem]
    try:
        read_class_folders(walk, walk.images)
    except UserError:
        return sorted(found, key=lambda table: bool(table.problem)), False
    return sorted(found, key=lambda table: bool(table.problem)), True


def tables_beside(folder: Path, is_allowed: Callable[[Path], bool] | None) -> list[Path]:
    """Files beside a folder, where a label file may lie."""
    if is_allowed is not None and not is_allowed(folder.parent):
        return []
    try:
        found = sorted(path for path in folder.parent.iterdir() if path.suffix)
        return found if is_allowed is None else [path for path in found if is_allowed(path)]
    except OSError:
        return []
