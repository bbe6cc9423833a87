"""Patients, eyes and masks: by the table `metadata.csv` beside the images, or by left and right eye in their names."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from lib.data.sources.files import FolderWalk, FoundFile, LeftOut, SourceEntry, shown, storable
from lib.data.sources.image_index import ImageIndex
from lib.data.sources.label_files import ImageFacts, match_rows, refuse_ambiguous
from lib.data.sources.tables import Columns, SourceOptions, Table, read_table, recognise_columns
from lib.errors import UserError

METADATA_FILE = "metadata.csv"
_EYES = {"left": "left", "l": "left", "os": "left", "right": "right", "r": "right", "od": "right"}
_WORDS = "|".join(_EYES)
# 10_left, 10_L, 10-right, left_10, OD 10
_NAMES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<stem>.*\S)[\s_.-]+(?P<eye>{_WORDS})(?:[\s_-]*eye)?",
        rf"(?P<eye>{_WORDS})(?:[\s_-]*eye)?[\s_.-]+(?P<stem>\S.*)",
    )
)


@dataclass
class Metadata:
    """What `metadata.csv` says; all empty where there is none, or none that can be read (`left_out` says why)."""

    table: Table | None = None
    folder: tuple[str, ...] = ()  # of the table, below the root
    left_out: list[LeftOut] = field(default_factory=list)
    masks: dict[str, FoundFile] = field(default_factory=dict)  # by the text of the column mask_path
    facts: dict[Path, ImageFacts] = field(default_factory=dict)

    @classmethod
    def read(cls, walk: FolderWalk, folders: Iterable[tuple[str, ...]], *, is_needed: bool) -> "Metadata":
        """Read the table in the first of `folders` (below the root) that has one.

        Raises UserError if it `is_needed` and cannot be read.
        """
        files = {file.parts[:-1]: file for file, _ in walk.others if file.parts[-1] == METADATA_FILE}
        found = next((files[folder] for folder in folders if folder in files), None)
        if found is None:
            return cls()
        try:
            metadata = cls(read_table(found.path), found.parts[:-1])
        except UserError as error:
            if is_needed:
                raise
            return cls(left_out=[LeftOut(found.relative, f"not read: {error}")])
        if names := metadata._values("mask_path"):
            index = ImageIndex([*walk.images, *(file for file, _ in walk.others)])
            masks = {name: index.find(name, beside=metadata.folder) for name in names}
            metadata.masks = {name: files[0] for name, files in masks.items() if len(files) == 1}
        return metadata

    def images(self, walk: FolderWalk) -> list[FoundFile]:
        """The images of the walk without the masks; what else lies in a folder of masks is left out."""
        masks, depth = {file.path for file in self.masks.values()}, len(self.folder) + 1
        column = self.table.image_column if self.table else ""
        names = [name.replace("\\", "/").removeprefix("./") for name in self._values(column)]
        # Folders beside the images that hold masks only, as the table says.
        folders = {file.parts[:depth] for file in self.masks.values() if len(file.parts) > depth}
        folders -= {(*self.folder, name.split("/")[0]) for name in names if "/" in name}
        reason = f"lies in a folder of masks, and no row of {METADATA_FILE} names it"
        kept = []
        for file in walk.images:
            if file.path in masks:
                continue
            if len(file.parts) > depth and file.parts[:depth] in folders:
                self.left_out.append(LeftOut(file.relative, reason))
            else:
                kept.append(file)
        return kept

    def match(self, images: list[FoundFile], options: SourceOptions) -> Columns | None:
        """Find the rows of the images, into `facts`; None if the table says nothing of images.

        Raises UserError if a group column is asked for and the table has no paths, or a row is ambiguous.
        """
        if self.table is None:
            return None
        index = ImageIndex(images)
        try:
            columns = recognise_columns(self.table, index, beside=self.folder, options=options, needs_label=False)
            matched = match_rows(self.table, columns, index, beside=self.folder)
            if options.group_column:
                refuse_ambiguous(matched.ambiguous)
        except UserError as error:
            if options.group_column:
                raise
            self.left_out.append(LeftOut(shown("/".join((*self.folder, METADATA_FILE))), f"not used: {error}"))
            return None
        for one, files in matched.ambiguous:
            where = f"{files[0].relative} and {files[1].relative}"
            self.left_out.append(
                LeftOut(one.name, f"row {one.row} of {METADATA_FILE} is not used: it may mean {where}")
            )
        self.facts = matched.by_path
        return columns

    def mask_of(self, facts: ImageFacts) -> Path | None:
        """The file of an image's mask."""
        if facts.mask_path in self.masks:
            return self.masks[facts.mask_path].path
        return facts.table.path.parent / facts.mask_path.replace("\\", "/") if facts.mask_path else None

    def _values(self, column: str) -> list[str]:
        """What stands in a column, row by row; nothing where there is no such column."""
        rows = self.table.rows if self.table and column in self.table.columns else ()
        return [values[column] for _, values in rows if column and values[column]]


def eye_in_name(name: str) -> tuple[str, str] | None:
    """What a file's name says besides the eye, and "left" or "right"; None if it names no eye."""
    stem = unicodedata.normalize("NFC", PurePosixPath(name).stem)
    for pattern in _NAMES:
        if found := pattern.fullmatch(stem):
            return found["stem"].strip(" _.-"), _EYES[found["eye"].lower()]
    return None


def join_eyes(entries: Sequence[SourceEntry]) -> list[SourceEntry]:
    """Give fellow eyes one patient, where both eyes of a name are there; patients of a table stay what they are."""
    named = [(entry, eye_in_name(entry.path.name)) for entry in entries]
    eyes = [(entry, *found) for entry, found in named if found]
    sides: dict[str, set[str]] = defaultdict(set)
    for _, stem, eye in eyes:
        sides[stem].add(eye)
    # Where the classes themselves are left and right, as of arrows and turns, the names tell no eyes.
    are_directions = all(eye in entry.class_name.casefold() for entry, _, eye in eyes)
    if are_directions or not any(len(both) == 2 for both in sides.values()):
        return list(entries)
    patients = _patients(eyes)
    given: dict[str, str] = {}
    for entry, _, _ in eyes:
        if entry.group_id:
            given.setdefault(patients[entry.key], entry.group_id)
    joined = []
    for entry, found in named:
        if found:
            patient = patients[entry.key]
            group_id = entry.group_id or given.get(patient, patient)
            entry = replace(entry, group_id=group_id, laterality=entry.laterality or found[1])  # noqa: PLW2901
        joined.append(entry)
    return joined


def _patients(eyes: list[tuple[SourceEntry, str, str]]) -> dict[str, str]:
    """The patient of each image: its name without the eye, where that is one patient's.

    The same eye in train/ and test/ means that the numbers begin anew there. The same eye twice in one of them means
    that folders are patients (p1/left_1.jpg, p1/right_1.jpg, p2/left_1.jpg), if both eyes lie together.
    """
    places: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)  # how many of an eye are in each split
    together: dict[tuple[str, str], set[str]] = defaultdict(set)
    for entry, stem, eye in eyes:
        places[stem, eye][entry.split] += 1
        together[_folder(entry), stem].add(eye)
    restarts = {stem for (stem, _), splits in places.items() if len(splits) > 1}
    within = {(split, stem) for (stem, _), splits in places.items() for split, count in splits.items() if count > 1}
    patients = {}
    for entry, stem, _ in eyes:
        patient = f"{entry.split}/{stem}" if stem in restarts else stem
        if (entry.split, stem) in within and len(together[_folder(entry), stem]) == 2:
            patient = f"{_folder(entry)}/{stem}"
        patients[entry.key] = storable(patient)
    return patients


def _folder(entry: SourceEntry) -> str:
    return entry.key.rpartition("/")[0]
