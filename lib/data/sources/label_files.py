"""Reads classes from label files: tables with a column of images and a column of classes, beside flat folders."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lib.data.sources.class_folders import Layout, parts_of, split_base, split_in
from lib.data.sources.files import (
    FolderWalk,
    FoundFile,
    LeftOut,
    SourceEntry,
    distinct_names,
    one_spelling,
    shown,
    spelling_notices,
    split_of,
)
from lib.data.sources.image_index import ImageIndex
from lib.data.sources.tables import Columns, Table
from lib.errors import UserError

_MAX_LISTED = 20_000
_MISSING = frozenset(("", "nan", "na", "n/a", "#n/a", "<na>", "null"))
_UNGRADABLE = frozenset(("0", "0.0", "no", "false", "ungradable", "n"))
_GRADES = ("0", "1", "2", "3", "4")
# Where nearly all rows are grades 0 to 4, the others are slips; where many are not, the column holds something else.
_LEAST_GRADED = 0.75


@dataclass(frozen=True)
class ImageFacts:
    """What the row `row` says of one image, which it calls `name`; the other fields are those of `Columns`."""

    row: int
    table: Table
    name: str
    label: str = ""
    group: str = ""
    laterality: str = ""
    mask_path: str = ""
    flags: str = ""
    gradable: str = ""
    split: str = ""

    @property
    def is_ungradable(self) -> bool:
        """Whether a column such as adjudicated_gradable says that nobody can grade the image."""
        return self.gradable.casefold() in _UNGRADABLE


@dataclass(frozen=True)
class MatchedRows:
    """Rows by the path of their image, and those that name none or several files."""

    by_path: dict[Path, ImageFacts]
    missing: list[ImageFacts]
    ambiguous: list[tuple[ImageFacts, list[FoundFile]]]


def match_rows(table: Table, columns: Columns, index: ImageIndex, *, beside: tuple[str, ...]) -> MatchedRows:
    """Find the image of each row; `beside` is the table's folder below the root.

    Raises UserError if two rows say different things of one image.
    """
    matched = MatchedRows({}, [], [])
    for number, values in table.rows:
        said = {what: values[column] if column else "" for what, column in vars(columns).items()}
        name = said.pop("image")
        facts = ImageFacts(number, table, shown(name) or "no image", **said)
        found = index.find(name, beside=beside)
        if len(found) > 1:
            matched.ambiguous.append((facts, found))
        elif not found:
            matched.missing.append(facts)
        else:
            _refuse_contradiction(found[0], matched.by_path.get(found[0].path), facts)
            matched.by_path[found[0].path] = facts
    return matched


def _refuse_contradiction(file: FoundFile, before: ImageFacts | None, facts: ImageFacts) -> None:
    for word, what in (("class", "label"), ("patient", "group"), ("part", "split")) if before else ():
        first, second = vars(before)[what], vars(facts)[what]
        if before and first != second:
            raise UserError(
                f"Rows {before.row} and {facts.row} of {shown(facts.table.path)} give {file.relative} different values "
                f"for its {word}: {shown(first)!r} and {shown(second)!r}. Correct one, or remove it."
            )


def refuse_ambiguous(ambiguous: Iterable[tuple[ImageFacts, list[FoundFile]]]) -> None:
    """Raise UserError for the first name that fits several files."""
    for facts, files in ambiguous:
        raise UserError(
            f"Row {facts.row} of {shown(facts.table.path)} names {facts.name!r}, which lies in two places: "
            f"{files[0].relative} and {files[1].relative}. Write the path in the table, such as {files[0].relative}."
        )


@dataclass(frozen=True)
class LabelFile:
    """A label file: its table, what its columns are, and the split whose images it names ("" for all)."""

    table: Table
    columns: Columns
    split: str
    beside: tuple[str, ...]  # the table's folder below the root
    index: ImageIndex

    @property
    def names_images(self) -> bool:
        """Whether a row names an image of the folder."""
        return self.index.num_named(self.table.values(self.columns.image), beside=self.beside) > 0


def read_labels(
    walk: FolderWalk, images: list[FoundFile], files: list[LabelFile], *, min_classes: int = 2
) -> tuple[Layout, dict[Path, ImageFacts]]:
    """The classes of the images, and what the label files say of each.

    Rows without a file and files without a row are left out. Raises UserError for a name in two folders, rows that
    contradict each other, a label that is missing or none of the grades, and a class of which no image is there.
    """
    layout = Layout()
    facts: dict[Path, ImageFacts] = {}
    missing: list[ImageFacts] = []
    ungradable: dict[Path, str] = {}
    read = [_read_rows(file) for file in files]
    spelled = one_spelling(Counter(label for one in read for label in one.labels.values()))
    for file, rows in zip(files, read, strict=True):
        matched, ungraded = rows.matched, rows.ungraded
        labels = {row: spelled[label] for row, label in rows.labels.items()}
        for one in matched.missing[:_MAX_LISTED]:
            reason = f"row {one.row} of {file.table.name} names it, but there is no such image"
            layout.left_out.append(LeftOut(one.name, reason))
        if (num_more := len(matched.missing) - _MAX_LISTED) > 0:
            layout.left_out.append(LeftOut(".", f"and {num_more:,} more rows of {file.table.name} without an image"))
        for path, one in matched.by_path.items():
            if one.row in ungraded:
                ungradable[path] = f"row {one.row} of {file.table.name} says that it cannot be graded"
                continue
            label, before = labels[one.row], facts.get(path)
            if before and before.label != label:
                raise UserError(
                    f"{shown(path.name)} is {shown(before.label)!r} in row {before.row} of {before.table.name} and "
                    f"{shown(label)!r} in row {one.row} of {one.table.name}. Say which holds with --labels FILE (on "
                    "the page: Labels from)."
                )
            facts[path] = replace(one, label=label, flags=one.flags or ("ungradable" if one.is_ungradable else ""))
        missing += [replace(one, label=labels[one.row]) for one in matched.missing if one.row in labels]
    _refuse_lost_classes(walk, facts, missing)
    base, tables = split_base(images), [file.table.name for file in files]
    names = distinct_names(one.label for one in facts.values())
    for image in images:
        if image.path in facts:
            one = facts[image.path]
            layout.entries.append(image.entry(names[one.label], split_of(one.split) or split_in(image, base)))
        else:
            reason = ungradable.get(image.path, f"no row in {' or '.join(tables)}")
            layout.left_out.append(LeftOut(image.relative, reason))
    if not any(entry.split == "train" for entry in layout.entries):  # a lone test/ or val/ is no split
        layout.entries = [replace(entry, split="") for entry in layout.entries]
    layout.notices += spelling_notices(spelled)
    for file in files:
        used = {what: shown(column) for what, column in vars(file.columns).items()}
        patient = f", patient in {used['group']}" if used["group"] else ""
        part = f", part in {used['split']}" if used["split"] else ""
        words = f"Labels from {file.table.name}: image in column {used['image']}, class in {used['label']}"
        layout.notices.append(f"{words}{patient}{part}.")
    if len(names) < min_classes:
        raise UserError(
            f"{' and '.join(tables)} names only one class for the images of {shown(walk.root)} "
            f"({', '.join(names.values()) or 'none'}); at least two are needed. Choose the column with --class-column "
            "NAME."
        )
    return layout, facts


@dataclass(frozen=True)
class _ReadRows:
    """The rows of a label file: the images that they mean, those without a class, and the class of each other row."""

    matched: MatchedRows
    ungraded: set[int]
    labels: dict[int, str]


def _read_rows(file: LabelFile) -> _ReadRows:
    matched = match_rows(file.table, file.columns, file.index, beside=file.beside)
    refuse_ambiguous(matched.ambiguous)
    _refuse_no_text(file, matched.missing)
    column = file.columns.split
    without = next((one for one in matched.by_path.values() if column and not one.split), None)
    if without:
        raise UserError(
            f"Row {without.row} of {shown(file.table.path)} has no part in column {shown(column)!r}, where others have "
            "train, val or test; fill it in, or call the column otherwise to have parts drawn."
        )
    ungraded = _ungraded_rows(file.table, file.columns)
    return _ReadRows(matched, ungraded, _check_labels(file.table, file.columns, ungraded))


def _refuse_no_text(file: LabelFile, missing: list[ImageFacts]) -> None:
    """Refuse a name that is no UTF-8 text and of no file: it may be that of an image which is there."""
    suspicious = [one.row for one in missing if "\ufffd" in one.name]
    rows = dict(file.table.rows) if suspicious else {}
    for row in suspicious:
        name = rows[row][file.columns.image]
        if _has_raw_bytes(name):
            raise UserError(
                f"Row {row} of {shown(file.table.path)} names an image in letters that are no UTF-8 text "
                f"({shown(name)!r}), and there is no such file; save the table as UTF-8."
            )


def _has_raw_bytes(text: str) -> bool:
    return any("\udc80" <= sign <= "\udcff" for sign in text)


def unlabelled_parts(images: list[FoundFile], entries: list[SourceEntry]) -> dict[str, list[FoundFile]]:
    """The images of each of train/, val/ and test/ of which none has a label."""
    labelled = {entry.path for entry in entries}
    parts = {top: files for top, files in parts_of(images, split_base(images)).items() if split_of(top)}
    return {top: files for top, files in parts.items() if not any(file.path in labelled for file in files)}


def _refuse_lost_classes(walk: FolderWalk, facts: dict[Path, ImageFacts], missing: list[ImageFacts]) -> None:
    present, counts = {one.label for one in facts.values()}, Counter(one.label for one in missing)
    lost = next((one for one in missing if one.label not in present), None)
    if lost:
        example = f", files are called such as {shown(walk.images[0].path.name)!r}" if walk.images else ""
        raise UserError(
            f"None of the {counts[lost.label]:,} images of class {shown(lost.label)!r} in {lost.table.name} is in "
            f"{shown(walk.root)} (row {lost.row} names {lost.name!r}{example}); add them, or remove these rows."
        )


def _ungraded_rows(table: Table, columns: Columns) -> set[int]:
    """The rows without a class that a column such as adjudicated_gradable excuses."""
    column, label = columns.gradable, columns.label
    if not column or column == label:
        return set()
    return {
        number for number, values in table.rows
        if values[column].casefold() in _UNGRADABLE and values[label].casefold() in _MISSING
    }  # fmt: skip


def _check_labels(table: Table, columns: Columns, ungraded: set[int]) -> dict[int, str]:
    """The class of each row by its number, but for those `ungraded`; whole numbers as such ("2.0" is "2").

    Raises UserError naming row and value where a class is missing, is no text, or is no grade among grades 0 to 4.
    """
    labels = {}
    for number, values in table.rows:
        label = values[columns.label]
        if number in ungraded:
            continue
        if label.casefold() in _MISSING:
            raise UserError(
                f"Row {number} of {shown(table.path)} has no class in column {shown(columns.label)!r} "
                f"({repr(label) if label else 'it is empty'}); fill it in, or remove the row."
            )
        if label != shown(label) and _has_raw_bytes(label):
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
    grades, others = [grade for grade in _GRADES if grade in counts], set(counts) - set(_GRADES)
    share = sum(counts[grade] for grade in grades) / len(labels)
    if not others or len(grades) < 3 or share < _LEAST_GRADED:
        return
    if set(counts) == set(map(str, range(len(counts)))) and not columns.holds_grades:
        return  # 0, 1, ... 6: seven classes, no slip
    row = next(number for number, label in labels.items() if label in others)
    raise UserError(
        f"Row {row} of {shown(table.path)} has {shown(labels[row])!r} in column {shown(columns.label)!r}, where the "
        "other rows have grades 0 to 4; correct it, or remove the row."
    )


def _whole(label: str) -> str:
    """A whole number as such: a column with gaps is saved as 0.0, 1.0 by many programs, or as 0,0."""
    try:
        value = float(label.replace(",", "."))
    except ValueError:
        return label
    is_written_so = all(sign in "0123456789.,+-" for sign in label)
    return str(int(value)) if is_written_so and value.is_integer() and abs(value) < 2**53 else label
