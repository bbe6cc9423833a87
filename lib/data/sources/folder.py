"""Reads a person's folder: classes from sub-folders or a label file; patients, eyes and masks from tables and names.

Nothing is decoded here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.data.sources.class_folders import Layout, OnlyOneClass, common_folder, read_class_folders
from lib.data.sources.files import (
    NO_CLASS,
    FolderWalk,
    LeftOut,
    SourceEntry,
    existing_folder,
    natural_key,
    shown,
    spelling_key,
    split_of,
    storable,
)
from lib.data.sources.label_files import ImageFacts, LabelFile, read_labels, unlabelled_parts
from lib.data.sources.label_search import LabelSearch, tables_beside
from lib.data.sources.metadata import METADATA_FILE, Metadata, join_eyes
from lib.data.sources.name_patterns import read_names, suggest_patterns
from lib.data.sources.tables import FOLDERS, SourceOptions
from lib.errors import UserError


@dataclass(frozen=True)
class FolderScan:
    """What a folder holds; `class_names` are in natural order (2 before 10), entries in the order of class and name.

    `notices` say how it was read where that is not plain, `split_caveat` what every score must say, "" if nothing.
    """

    folder: Path
    entries: list[SourceEntry]
    left_out: list[LeftOut]
    class_names: tuple[str, ...]
    notices: tuple[str, ...] = ()
    label_files: tuple[LabelFile, ...] = ()
    split_caveat: str = ""
    is_unlabelled: bool = False  # no image has a class yet; `class_names` are those that a person will give
    has_joined: bool = False  # spellings of classes (lib/data/sources/class_folders.py)
    has_pseudonyms: bool = False  # paths and groups name no patient (lib/data/pseudonyms.py)


def scan_unlabelled(
    path: str | Path,
    class_names: Sequence[str],
    options: SourceOptions | None = None,
    *,
    is_allowed: Callable[[Path], bool] | None = None,
) -> FolderScan:
    """List all images of a folder and what lies below it, none of a class; patients as by `scan_folder`.

    Raises UserError if there is no such folder or no image in it.
    """
    scanner = _Scanner(existing_folder(path), options or SourceOptions(), is_allowed, min_classes=1)
    if not scanner.images:
        raise UserError(f"There is no image in {shown(scanner.folder)} or below it.")
    layout = Layout([file.entry(NO_CLASS, "") for file in scanner.images])
    return replace(scanner.finish(layout, [], {}), class_names=tuple(class_names), is_unlabelled=True)


def scan_folder(
    path: str | Path,
    options: SourceOptions | None = None,
    *,
    is_allowed: Callable[[Path], bool] | None = None,
    min_classes: int = 2,
) -> FolderScan:
    """List the images of a folder by class.

    Links and files beside the folder are followed only where `is_allowed` says so. Raises UserError if there is no such
    folder, no image, fewer than `min_classes` classes (one will do to evaluate on), or something about classes, parts
    or patients is not clear.
    """
    options = options or SourceOptions()
    return _Scanner(existing_folder(path), options, is_allowed, min_classes).scan()


class _Scanner:
    """One reading of one folder."""

    def __init__(
        self, folder: Path, options: SourceOptions, is_allowed: Callable[[Path], bool] | None, min_classes: int
    ) -> None:
        self.folder, self.options, self.is_allowed, self.min_classes = folder, options, is_allowed, min_classes
        self.walk = FolderWalk(folder, is_allowed).run()
        base = common_folder(self.walk.images)
        folders = [base[:depth] for depth in range(len(base) + 1)]
        self.metadata = Metadata.read(self.walk, folders, is_needed=options.group_column is not None)
        self.images = self.metadata.images(self.walk)

    def scan(self) -> FolderScan:
        label_files = self._label_files()
        facts: dict[Path, ImageFacts] = {}
        if self.options.name_pattern:
            layout = read_names(self.walk, self.images, self.options.name_pattern, min_classes=self.min_classes)
        elif label_files:
            layout, facts = read_labels(self.walk, self.images, label_files, min_classes=self.min_classes)
            self._refuse_unlabelled_parts(layout, label_files)
        else:
            layout = read_class_folders(self.walk, self.images, min_classes=self.min_classes)
        return self.finish(layout, label_files, facts)

    def finish(self, layout: Layout, label_files: list[LabelFile], facts: dict[Path, ImageFacts]) -> FolderScan:
        """Add patients, masks and flags to images whose classes are known, and list what is not used."""
        self._add_metadata(layout, facts, label_files)
        caveat = self._join_patients(layout)
        layout.entries.sort(key=lambda entry: (natural_key(entry.class_name), natural_key(entry.relative)))
        tables = [file.table for file in label_files] + ([self.metadata.table] if self.metadata.table else [])
        used = [*(table.path for table in tables), *(file.path for file in self.metadata.masks.values())]
        taken = {entry.mask_path for entry in layout.entries}
        lost = {file.path: file.relative for file in self.metadata.masks.values() if file.path not in taken}
        lone_masks = [LeftOut(name, f"a mask by {METADATA_FILE}, of no image that is used") for name in lost.values()]
        left_out = [*layout.left_out, *self.metadata.left_out, *lone_masks, *self.walk.unused(used)]
        notices = tuple(layout.notices)
        return FolderScan(
            self.folder, layout.entries, left_out, layout.class_names, notices, tuple(label_files), caveat,
            has_joined=layout.has_joined,
        )  # fmt: skip

    def _label_files(self) -> list[LabelFile]:
        """The label files to read: those that were named, or else those that are found where folders are no classes."""
        search = LabelSearch(self.walk, self.images, self.options)
        if self.options.labels == (FOLDERS,) or self.options.name_pattern:
            return []
        if self.options.labels:
            for given in self.options.labels:
                search.take(Path(given))
            return search.label_files
        try:
            layout = read_class_folders(self.walk, self.images)
        except UserError as refusal:
            search.look(beside=tables_beside(self.folder, self.is_allowed))
            if search.found:
                return search.label_files
            if isinstance(refusal, OnlyOneClass) and self.min_classes < 2:
                return []
            said = search.why_not() or [
                f'Their names look like classes: --set name_pattern="{one.pattern}" (on the page: Labels from) '
                f"gives {one.words}." for one in suggest_patterns(self.images)[:1]
            ]  # fmt: skip
            raise UserError(" ".join([str(refusal), *said])) from None
        search.look()
        for file in search.found:
            if file.columns.is_label_known and _contradicts(layout, file):
                raise UserError(
                    f"{shown(self.folder)} has class folders ({', '.join(layout.class_names[:5])}), and "
                    f"{file.table.name} has other classes in column {shown(file.columns.label)!r}. Say which holds: "
                    f"--labels {file.table.name} or --labels {FOLDERS} (on the page: Labels from)."
                )
        return []

    def _refuse_unlabelled_parts(self, layout: Layout, label_files: list[LabelFile]) -> None:
        """Refuse a test/ without labels, unless the label files were named: then it is left out."""
        for part, files in unlabelled_parts(self.images, layout.entries).items():
            number = f"The {len(files):,} images of {shown(part)}/"
            if self.options.labels:
                layout.notices.append(f"{number} are not used: no label file names them.")
                continue
            named = " ".join(f"--labels {file.table.name}" for file in label_files)
            raise UserError(
                f"{number} in {shown(self.folder)} have no label. Put their label file beside it (named such as "
                f"{split_of(part)}Labels.csv), or leave them out with {named} (on the page: Labels from)."
            )

    def _add_metadata(self, layout: Layout, facts: dict[Path, ImageFacts], label_files: list[LabelFile]) -> None:
        """Patient, eye, mask and flags of each image, from its label file or else from metadata.csv."""
        wanted = self.options.group_column
        columns = self.metadata.match(self.images, self.options)
        has_column = any(file.columns.group for file in label_files) or bool(columns and columns.group)
        if wanted is not None and not has_column:
            self._refuse_group_column(wanted, label_files)
        tables = " or ".join(dict.fromkeys([*(file.table.name for file in label_files), METADATA_FILE]))
        kept = []
        for entry in layout.entries:
            in_metadata = self.metadata.facts.get(entry.path)
            said = [vars(one) for one in (facts.get(entry.path), in_metadata) if one]
            group, eye, flags = (
                next((one[what] for one in said if one[what]), "") for what in ("group", "laterality", "flags")
            )
            if wanted is not None and not group:
                what = f"no value in column {wanted!r} of" if said else "no row in"
                layout.left_out.append(LeftOut(entry.relative, f"{what} {tables}, so its group is unknown"))
                continue
            mask_path = self.metadata.mask_of(in_metadata) if in_metadata else None
            found: dict[str, Any] = {"group_id": storable(group), "laterality": shown(eye), "flags": shown(flags)}
            kept.append(replace(entry, mask_path=mask_path, **found))
        if not kept:
            raise UserError(
                f"No row of {METADATA_FILE} gives {wanted!r} for an image of {shown(self.folder)}; its column path "
                f"must hold paths such as {layout.entries[0].relative}."
            )
        for what, values in (("Class", "class_name"), ("The part for", "split")):
            lost = {getattr(one, values) for one in layout.entries} - {getattr(one, values) for one in kept}
            if lost:
                raise UserError(
                    f"{what} {min(lost)!r} has no image with a value in column {wanted!r} of {METADATA_FILE} or a "
                    "label file; add the values, or import without the group column."
                )
        layout.entries = kept

    def _refuse_group_column(self, wanted: str, label_files: list[LabelFile]) -> None:
        tables = [file.table for file in label_files] + ([self.metadata.table] if self.metadata.table else [])
        for table in tables:
            table.find_column(wanted)  # says which columns there are
        raise UserError(
            f"The group column {wanted!r} needs a file {shown(self.folder / METADATA_FILE)} with the columns path and "
            f"{wanted}; add it or import without the group column."
        )

    def _join_patients(self, layout: Layout) -> str:
        """Bring the images of a patient together, or apart if that was asked for; returns the caveat of that."""
        if self.options.group_column is None:  # else a person has named the column, and names of files say nothing
            layout.entries = join_eyes(layout.entries)
        counts = Counter(entry.group_id for entry in layout.entries if entry.group_id)
        num_shared = sum(1 for count in counts.values() if count > 1)
        if self.options.pairs:
            if num_shared and self.options.group_column is None:
                layout.notices.append(
                    f"{num_shared:,} patients have several images, which stay together in one part "
                    "(recognised by a column or by left and right in the names; --no-pairs declines it)."
                )
            return ""
        layout.entries = [replace(entry, group_id="") for entry in layout.entries]
        caveat = (
            f"The images of a patient were not kept together, as the import was told: {num_shared:,} patients "
            "have several, which may lie in training and test, so that scores come out too high."
        )
        return caveat if num_shared else ""


def _contradicts(layout: Layout, file: LabelFile) -> bool:
    """Whether a label file puts images of the class folders into other classes than these."""
    if file.table.path.name == METADATA_FILE:
        return False
    class_names = {entry.path: entry.class_name for entry in layout.entries}
    pairs = set()
    for _, values in file.table.rows:
        for image in file.index.find(values[file.columns.image], beside=file.beside):
            if image.path in class_names:
                pairs.add((spelling_key(class_names[image.path]), spelling_key(values[file.columns.label])))
    folders, labels = {folder for folder, _ in pairs}, {label for _, label in pairs}
    return len(labels) > 1 and not len(pairs) == len(folders) == len(labels)
