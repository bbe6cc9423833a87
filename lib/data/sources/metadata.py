"""The table `metadata.csv` that may lie beside the images: which patient, which eye, which mask."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from lib.data.sources.folder_walk import FolderWalk, FoundFile, LeftOut
from lib.data.sources.image_index import ImageIndex
from lib.data.sources.layout import shown
from lib.data.sources.table_columns import ColumnChoice, Columns, named_image_column, recognise_columns
from lib.data.sources.table_rows import ImageFacts, match_rows, refuse_ambiguous
from lib.data.sources.tables import Table, read_table
from lib.errors import UserError

METADATA_FILE = "metadata.csv"


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
            table = read_table(found.path)
        except UserError as error:
            if is_needed:
                raise
            return cls(left_out=[LeftOut(found.relative, f"not read: {error}")])
        metadata = cls(table, found.parts[:-1])
        metadata._find_masks(walk)
        return metadata

    def images(self, walk: FolderWalk) -> list[FoundFile]:
        """The images of the walk without the masks; what else lies in a folder of masks is left out."""
        masks = {file.path for file in self.masks.values()}
        folders = self._mask_folders()
        kept = []
        for file in walk.images:
            if file.path in masks:
                continue
            if file.parts[: len(self.folder) + 1] in folders and len(file.parts) > len(self.folder) + 1:
                reason = f"lies in a folder of masks, and no row of {METADATA_FILE} names it"
                self.left_out.append(LeftOut(file.relative, reason))
            else:
                kept.append(file)
        return kept

    def match(self, images: list[FoundFile], choice: ColumnChoice) -> Columns | None:
        """Find the rows of the images, into `facts`; None if the table says nothing of images.

        Raises UserError if a group column is asked for and the table has no paths, or a row is ambiguous.
        """
        if self.table is None:
            return None
        index = ImageIndex(images)
        try:
            columns = recognise_columns(self.table, index, beside=self.folder, choice=choice, needs_label=False)
            matched = match_rows(self.table, columns, index, beside=self.folder)
            if choice.group:
                refuse_ambiguous(self.table, matched.ambiguous)
        except UserError as error:
            if choice.group:
                raise
            self.left_out.append(LeftOut(shown("/".join((*self.folder, METADATA_FILE))), f"not used: {error}"))
            return None
        for number, name, files in matched.ambiguous:
            where = f"{files[0].relative} and {files[1].relative}"
            self.left_out.append(LeftOut(name, f"row {number} of {METADATA_FILE} is not used: it may mean {where}"))
        self.facts = matched.by_path
        return columns

    def mask_of(self, facts: ImageFacts) -> Path | None:
        """The file of an image's mask."""
        if not facts.mask_path:
            return None
        if facts.mask_path in self.masks:
            return self.masks[facts.mask_path].path
        return facts.table.path.parent / facts.mask_path.replace("\\", "/")

    def _find_masks(self, walk: FolderWalk) -> None:
        assert self.table is not None  # noqa: S101  (called after it was read)
        if "mask_path" not in self.table.columns:
            return
        index = ImageIndex([*walk.images, *(file for file, _ in walk.others)])
        for _, values in self.table.rows:
            if name := values["mask_path"]:
                found = index.find(name, beside=self.folder)
                if len(found) == 1:
                    self.masks[name] = found[0]

    def _mask_folders(self) -> set[tuple[str, ...]]:
        """Folders beside the images that hold masks only, as the table says."""
        depth = len(self.folder) + 1
        masks = {file.parts[:depth] for file in self.masks.values() if len(file.parts) > depth}
        column = named_image_column(self.table) if self.table else ""
        if self.table is None or not column:
            return masks
        names = [values[column].replace("\\", "/").removeprefix("./") for _, values in self.table.rows]
        return masks - {(*self.folder, name.split("/")[0]) for name in names if "/" in name}
