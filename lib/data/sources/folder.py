"""Reads a person's folder: classes from sub-folders or a label file; patients, eyes and masks from tables and names.

Nothing is decoded here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lib.data.sources.class_folders import Layout, OnlyOneClass, read_class_folders
from lib.data.sources.folder_walk import FolderWalk, LeftOut, SourceEntry
from lib.data.sources.label_files import LabelFile, read_labels, unlabelled_parts
from lib.data.sources.label_search import LabelSearch, tables_beside
from lib.data.sources.layout import existing_folder, natural_key, shown, split_of, storable
from lib.data.sources.metadata import METADATA_FILE, Metadata
from lib.data.sources.options import FOLDERS, SourceOptions
from lib.data.sources.patients import join_patients, part_patients
from lib.data.sources.split_folders import common_folder
from lib.data.sources.table_rows import ImageFacts
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
        if label_files:
            layout, facts = read_labels(self.walk, self.images, label_files, min_classes=self.min_classes)
            self._refuse_unlabelled_parts(layout, label_files)
        else:
            layout = read_class_folders(self.walk, self.images, min_classes=self.min_classes)
        self._add_metadata(layout, facts, label_files)
        caveat = self._join_patients(layout)
        layout.entries.sort(key=lambda entry: (natural_key(entry.class_name), natural_key(entry.relative)))
        used = [file.table.path for file in label_files] + ([self.metadata.table.path] if self.metadata.table else [])
        used += [file.path for file in self.metadata.masks.values()]
        left_out = [*layout.left_out, *self.metadata.left_out, *self.walk.unused(used)]
        return FolderScan(
            self.folder,
            layout.entries,
            left_out,
            layout.class_names,
            notices=tuple(layout.notices),
            label_files=tuple(label_files),
            split_caveat=caveat,
        )

    def _label_files(self) -> list[LabelFile]:
        """The label files to read: those that were named, or else those that are found where folders are no classes."""
        search = LabelSearch(self.walk, self.images, self.options.choice)
        if self.options.labels == (FOLDERS,):
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
            raise UserError(" ".join([str(refusal), *search.why_not()])) from None
        search.look()
        for file in search.found:
            if file.is_named and _contradicts(layout, file):
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
        columns = self.metadata.match(self.images, replace(self.options.choice, image=None))
        has_column = any(file.columns.group for file in label_files) or bool(columns and columns.group)
        if wanted is not None and not has_column:
            self._refuse_group_column(wanted, label_files)
        kept = []
        for entry in layout.entries:
            in_metadata = self.metadata.facts.get(entry.path)
            said = [one for one in (facts.get(entry.path), in_metadata) if one]
            group_id = next((one.group_id for one in said if one.group_id), "")
            if wanted is not None and not group_id:
                what = f"no value in column {wanted!r} of" if said else "no row in"
                tables = " or ".join(dict.fromkeys([*(file.table.name for file in label_files), METADATA_FILE]))
                layout.left_out.append(LeftOut(entry.relative, f"{what} {tables}, so its group is unknown"))
                continue
            kept.append(
                replace(
                    entry,
                    group_id=storable(group_id),
                    laterality=shown(next((one.laterality for one in said if one.laterality), "")),
                    mask_path=self.metadata.mask_of(in_metadata) if in_metadata else None,
                    flags=shown(next((one.flags for one in said if one.flags), "")),
                )
            )
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
        patients = join_patients(layout.entries, are_groups_given=self.options.group_column is not None)
        layout.entries = patients.entries
        if self.options.pairs:
            if patients.num_shared and self.options.group_column is None:
                layout.notices.append(
                    f"{patients.num_shared:,} patients have several images, which stay together in one part "
                    "(recognised by a column or by left and right in the names; --no-pairs declines it)."
                )
            return ""
        layout.entries = part_patients(layout.entries)
        if not patients.num_shared:
            return ""
        return (
            f"The images of a patient were not kept together, as the import was told: {patients.num_shared:,} patients "
            "have several, which may lie in training and test, so that scores come out too high."
        )


def _contradicts(layout: Layout, file: LabelFile) -> bool:
    """Whether a label file puts images of the class folders into other classes than these."""
    if file.table.path.name == METADATA_FILE:
        return False
    class_names = {entry.path: entry.class_name for entry in layout.entries}
    pairs = set()
    for _, values in file.table.rows:
        for image in file.index.find(values[file.columns.image], beside=file.beside):
            if image.path in class_names:
                pairs.add((class_names[image.path], values[file.columns.label]))
    folders, labels = {folder for folder, _ in pairs}, {label for _, label in pairs}
    return len(labels) > 1 and not len(pairs) == len(folders) == len(labels)
