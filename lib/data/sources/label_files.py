"""Reads classes from a label file: a table with a column of images and a column of classes, beside flat folders."""

from dataclasses import dataclass, replace
from pathlib import Path

from lib.data.sources.class_folders import Layout, entry_of
from lib.data.sources.folder_walk import FolderWalk, FoundFile, LeftOut, SourceEntry
from lib.data.sources.image_index import ImageIndex
from lib.data.sources.label_values import check_labels
from lib.data.sources.layout import distinct_names, shown, split_of
from lib.data.sources.split_folders import parts_of, split_base, split_in
from lib.data.sources.table_columns import Columns
from lib.data.sources.table_rows import ImageFacts, MatchedRows, match_rows, refuse_ambiguous
from lib.data.sources.tables import Table
from lib.errors import UserError

_MAX_LISTED = 20_000


@dataclass(frozen=True)
class LabelFile:
    """A label file: its table, what its columns are, and the split whose images it names ("" for all)."""

    table: Table
    columns: Columns
    split: str
    beside: tuple[str, ...]  # the table's folder below the root
    index: ImageIndex

    @property
    def is_named(self) -> bool:
        """Whether its column of classes is called as one, rather than the only one that is left."""
        return self.columns.is_label_known

    def describe(self) -> str:
        """What is read from it, in a sentence."""
        columns = self.columns
        words = (
            f"Labels from {self.table.name}: image in column {shown(columns.image)}, class in {shown(columns.label)}"
        )
        return words + (f", patient in {shown(columns.group)}." if columns.group else ".")


def read_labels(
    walk: FolderWalk, images: list[FoundFile], files: list[LabelFile], *, min_classes: int = 2
) -> tuple[Layout, dict[Path, ImageFacts]]:
    """The classes of the images, and what the label files say of each.

    Rows without a file and files without a row are left out. Raises UserError for a name in two folders, rows that
    contradict each other, a label that is missing or none of the grades, and a class of which no image is there.
    """
    layout = Layout()
    facts: dict[Path, ImageFacts] = {}
    missing: list[tuple[ImageFacts, str, str]] = []
    for file in files:
        matched = match_rows(file.table, file.columns, file.index, beside=file.beside)
        refuse_ambiguous(file.table, matched.ambiguous)
        labels = check_labels(file.table, file.columns)
        _list_missing(file, matched, layout)
        for path, one in matched.by_path.items():
            label = labels[one.row]
            before = facts.get(path)
            if before and before.label != label:
                raise UserError(
                    f"{shown(path.name)} is {shown(before.label)!r} in row {before.row} of {before.table.name} and "
                    f"{shown(label)!r} in row {one.row} of {one.table.name}. Say which holds with --labels FILE (on "
                    "the page: Labels from)."
                )
            facts[path] = ImageFacts(
                one.row, one.table, label, one.group_id, one.laterality, one.mask_path, one.flags
            )  # fmt: skip
        missing += [(one, labels[one.row], matched.names[one.row]) for one in matched.missing]
    _refuse_lost_classes(walk, facts, missing)
    base = split_base(images)
    names = distinct_names(one.label for one in facts.values())
    for image in images:
        if image.path in facts:
            layout.entries.append(
                entry_of(image, class_name=names[facts[image.path].label], split=split_in(image, base))
            )
        else:
            layout.left_out.append(LeftOut(image.relative, f"no row in {' or '.join(f.table.name for f in files)}"))
    layout.entries = _without_lone_split(layout.entries)
    layout.notices = [file.describe() for file in files]
    if len(names) < min_classes:
        where = " and ".join(file.table.name for file in files)
        only = ", ".join(names.values()) or "none"
        raise UserError(
            f"{where} names only one class for the images of {shown(walk.root)} ({only}); "
            "at least two are needed. Choose the column with --class-column NAME."
        )
    return layout, facts


def unlabelled_parts(images: list[FoundFile], entries: list[SourceEntry]) -> dict[str, list[FoundFile]]:
    """The images of each of train/, val/ and test/ of which none has a label."""
    base = split_base(images)
    labelled = {entry.path for entry in entries}
    parts = {top: files for top, files in parts_of(images, base).items() if split_of(top)}
    return {top: files for top, files in parts.items() if not any(file.path in labelled for file in files)}


def _list_missing(file: LabelFile, matched: MatchedRows, layout: Layout) -> None:
    reason = f"row {{}} of {file.table.name} names it, but there is no such image"
    for one in matched.missing[:_MAX_LISTED]:
        layout.left_out.append(LeftOut(matched.names[one.row], reason.format(one.row)))
    if len(matched.missing) > _MAX_LISTED:
        more = f"and {len(matched.missing) - _MAX_LISTED:,} more rows of {file.table.name} without an image"
        layout.left_out.append(LeftOut(".", more))


def _refuse_lost_classes(
    walk: FolderWalk, facts: dict[Path, ImageFacts], missing: list[tuple[ImageFacts, str, str]]
) -> None:
    present = {one.label for one in facts.values()}
    for one, label, name in missing:
        if label not in present:
            number = sum(1 for _, other, _ in missing if other == label)
            raise UserError(
                f"None of the {number:,} images of class {shown(label)!r} in {one.table.name} is in {shown(walk.root)} "
                f"(row {one.row} names {name!r}); add them, or remove these rows."
            )


def _without_lone_split(entries: list[SourceEntry]) -> list[SourceEntry]:
    """A lone test/ or val/ is no split."""
    splits = {entry.split for entry in entries}
    if "train" in splits or splits == {""}:
        return entries
    return [replace(entry, split="") for entry in entries]
