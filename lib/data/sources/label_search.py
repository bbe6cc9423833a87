"""Finds label files: tables in a folder of images or beside it, with a column of images and one of classes."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lib.data.sources.class_folders import read_class_folders, split_base, split_in
from lib.data.sources.files import FolderWalk, FoundFile, existing_folder, shown, split_of
from lib.data.sources.image_index import ImageIndex
from lib.data.sources.label_files import LabelFile
from lib.data.sources.metadata import METADATA_FILE
from lib.data.sources.name_patterns import NamePattern, suggest_patterns, try_pattern
from lib.data.sources.tables import SourceOptions, Table, read_table, read_tables, recognise_columns
from lib.errors import UserError

_SUFFIXES = (".csv", ".tsv", ".xlsx", ".xlsm")
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
    sheet: str = ""  # of a workbook


class LabelSearch:
    """Looks for label files in a folder and beside it.

    `found` are those whose columns are clear; `near` says of the others why not.
    """

    def __init__(self, walk: FolderWalk, images: list[FoundFile], options: SourceOptions) -> None:
        self.walk, self.images, self.options = walk, images, options
        self.base = split_base(images)
        self.found: list[LabelFile] = []
        self.near: dict[Path, str] = {}

    def take(self, path: Path) -> None:
        """Use a file that a person named; raises UserError if it will not do."""
        same = (file.path for file, _ in self.walk.others if file.path.name == path.name and _is_same(file.path, path))
        self.found.append(self._read(next(same, path)))

    def look(self, beside: Sequence[Path] = ()) -> None:
        """Look through the tables in the folder and its parts, or else through those `beside` it.

        One that names no image is passed over where another does, and always beside the folder.
        """
        for path in self.tables_inside():
            self._try(path)
        self.found = [file for file in self.found if file.names_images] or self.found
        if not self.found:
            near = dict(self.near)
            for path in _likely(beside):
                self._try(path)
            self.found = [file for file in self.found if file.names_images]
            self.near = near  # of what lies beside by chance nothing is said

    def tables_inside(self) -> list[Path]:
        """The tables on the way to the images, directly in the parts, and in folders without images beside the way."""
        base, depth = self.base, len(self.base)
        with_images = {image.parts[:length] for image in self.images for length in range(len(image.parts))}
        folders = ((file.path, file.parts[:-1]) for file, _ in self.walk.others)
        return _likely(
            path for path, folder in folders
            if folder == base[: len(folder)] or (len(folder) == depth + 1 and folder[:depth] == base)
            or (folder[:-1] == base[: len(folder) - 1] and folder not in with_images)
        )  # fmt: skip

    def inspect(self, path: Path) -> list[FoundTable]:
        """A table, or the sheets of a workbook, as they stand, label files or not; none if it cannot be read."""
        try:
            tables = read_tables(path)
        except UserError:
            return []
        return [self._inspected(table) for table in tables]

    def _inspected(self, table: Table) -> FoundTable:
        try:
            file = self._open(table)
        except UserError as error:
            return FoundTable(table.path, table.columns, table.image_column, "", "", str(error), table.sheet)
        columns = file.columns
        problem = "" if file.names_images else f"No row of {table.name} names an image of the folder."
        return FoundTable(
            table.path, table.columns, columns.image, columns.label, columns.group, problem, table.sheet
        )  # fmt: skip

    @property
    def label_files(self) -> list[LabelFile]:
        """What was found; a lone trainLabels.csv may name images of test/, too, where train/ has none of that name."""
        if len({file.split for file in self.found}) != 1 or not self.found[0].split:
            return self.found
        everything = ImageIndex(self.images, is_loose=True)
        own = {file.split: ImageIndex(self._images_for(file.split), everything, is_loose=True) for file in self.found}
        return [replace(file, index=own[file.split]) for file in self.found]

    def why_not(self) -> list[str]:
        """For a refusal: why the likeliest table of the folder is no label file."""
        said = sorted(self.near.items(), key=lambda item: (item[0].name == METADATA_FILE, item[0].name))
        return [f"{shown(path.name)} was not used as a label file: {reason}" for path, reason in said[:1]]

    def _try(self, path: Path) -> None:
        try:
            self.found.append(self._read(path))
        except UserError as error:
            self.near[path] = str(error)

    def _read(self, path: Path) -> LabelFile:
        """A label file; of a workbook the sheet that was named, or else the only one whose columns are clear."""
        tables = read_tables(path)
        if len(tables) == 1 or self.options.sheet:
            return self._open(read_table(path, sheet=self.options.sheet))
        opened, refusals = [], []
        for table in tables:
            try:
                opened.append(self._open(table))
            except UserError as error:
                refusals.append(error)
        likely = [file for file in opened if file.names_images] or opened
        if len(likely) == 1:
            return likely[0]
        if not likely:
            raise refusals[0]
        listed = ", ".join(shown(file.table.sheet) for file in likely)
        raise UserError(
            f"{shown(path)} has several sheets that may hold the labels: {listed}. Choose one with --set sheet=NAME "
            "(on the page: Labels from)."
        )

    def _open(self, table: Table) -> LabelFile:
        root = self.walk.root
        # The folder of the table below the root; none for one that lies elsewhere.
        beside = table.path.parent.relative_to(root).parts if table.path.is_relative_to(root) else ()
        split = self._split(table.path, beside)
        index = ImageIndex(self._images_for(split), is_loose=True)
        columns = recognise_columns(table, index, beside=beside, options=self.options, needs_label=True)
        if columns.image and not columns.is_image_known and index.find(columns.image, beside=beside):
            first = ", ".join(map(shown, table.columns[:4]))
            raise UserError(
                f"{shown(table.path)} has no names of columns: its first row ({first}) names an image already. Write a "
                "row such as image,label above it."
            )
        if not self.options.class_column and not columns.is_label_known:
            # A column of another name, taken because it is the only one left, must look like classes.
            values = Counter(values[columns.label] for _, values in table.rows)
            if not 2 <= len(values) <= max(2, len(table.rows) // 2):
                raise UserError(
                    f"{shown(table.path)} has no column that looks like classes; its columns are: "
                    f"{table.listed_columns}. Choose one with --class-column NAME (on the page: Class column)."
                )
        return LabelFile(table, columns, split, beside, index)

    def _images_for(self, split: str) -> list[FoundFile]:
        return [file for file in self.images if split_in(file, self.base) == split] if split else self.images

    def _split(self, path: Path, beside: tuple[str, ...]) -> str:
        """The split whose images a table names: by its folder or its name, where the images have splits."""
        splits = {split_in(file, self.base) for file in self.images} - {""}
        inside = split_of(beside[len(self.base)]) if len(beside) > len(self.base) else ""
        # "trainLabels.csv", "testing-labels.csv"
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", path.stem)
        named = {split_of(word) or split_of(word.lower().removesuffix("labels")) for word in words} - {""}
        said = inside or (named.pop() if len(named) == 1 else "")
        return said if said in splits and len(splits) > 1 else ""


@dataclass(frozen=True)
class Inspection:
    """What a folder may be read by: tables that may hold its labels, likeliest first, sub-folders, names of files."""

    tables: list[FoundTable]
    has_class_folders: bool
    patterns: list[NamePattern]

    @property
    def only_names_fit(self) -> bool:
        """Whether nothing but the names of the files gives classes."""
        return not self.has_class_folders and bool(self.patterns) and all(table.problem for table in self.tables)


def inspect_folder(folder: str | Path, *, is_allowed: Callable[[Path], bool] | None = None) -> Inspection:
    """Look at what may hold the classes of a folder's images."""
    root = existing_folder(folder)
    walk = FolderWalk(root, is_allowed).run()
    search = LabelSearch(walk, walk.images, SourceOptions())
    found = [table for path in search.tables_inside() for table in search.inspect(path)]
    if all(table.problem for table in found):
        beside = [table for path in _likely(tables_beside(root, is_allowed)) for table in search.inspect(path)]
        found += [table for table in beside if table.image and not table.problem]
    has_classes = False
    with suppress(UserError):
        read_class_folders(walk, walk.images)
        has_classes = True
    tables = sorted(found, key=lambda table: bool(table.problem))
    return Inspection(tables, has_classes, suggest_patterns(walk.images))


@dataclass(frozen=True)
class LabelPreview:
    """The first rows of a label file: number, image, class, and the file that is meant, "" for none; all in numbers."""

    rows: list[tuple[int, str, str, str]]
    num_rows: int
    num_met: int
    num_images: int


def preview_labels(
    folder: str | Path, options: SourceOptions, *, num_rows: int = 6, is_allowed: Callable[[Path], bool] | None = None
) -> LabelPreview | None:
    """What the label files of a folder say with these options; None where there is none.

    Raises UserError where columns are not clear.
    """
    root = existing_folder(folder)
    walk = FolderWalk(root, is_allowed).run()
    search = LabelSearch(walk, walk.images, options)
    for given in options.labels:
        search.take(Path(given))
    if not options.labels:
        search.look(tables_beside(root, is_allowed))
    rows: list[tuple[int, str, str, str]] = []
    counts = Counter({"rows": 0, "met": 0})
    for file in search.label_files:
        for number, values in file.table.rows:
            name, label = values[file.columns.image], values[file.columns.label]
            met = file.index.find(name, beside=file.beside)
            counts.update(rows=1, met=len(met) == 1)
            if len(rows) < num_rows:
                several = f"{len(met)} files: " if len(met) > 1 else ""
                rows.append((number, shown(name), shown(label), several + ", ".join(one.relative for one in met[:2])))
    return LabelPreview(rows, counts["rows"], counts["met"], len(walk.images)) if rows else None


def preview_pattern(
    folder: str | Path, pattern: str, *, is_allowed: Callable[[Path], bool] | None = None
) -> NamePattern:
    """What a pattern makes of the names in a folder; raises UserError where it is none."""
    return try_pattern(pattern, FolderWalk(existing_folder(folder), is_allowed).run().images)


def tables_beside(folder: Path, is_allowed: Callable[[Path], bool] | None) -> list[Path]:
    """Files beside a folder, where a label file may lie."""
    if is_allowed is not None and not is_allowed(folder.parent):
        return []
    try:
        found = sorted(path for path in folder.parent.iterdir() if path.suffix)
        return found if is_allowed is None else [path for path in found if is_allowed(path)]
    except OSError:
        return []


def _likely(paths: Iterable[Path]) -> list[Path]:
    """Those that may be label files; a sample submission has the columns of one and no labels."""
    found = [path for path in paths if path.suffix.lower() in _SUFFIXES and "submission" not in path.name.casefold()]
    return found[:_MAX_CANDIDATES]


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False
