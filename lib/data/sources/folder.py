"""Reads a person's folder: one sub-folder per class, with train/, val/ and test/ above them or not.

Nothing is decoded here. The walk itself is in folder_walk.py; this reads the table beside the images, too.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from lib.data.sources.folder_walk import LAYOUT_HINT, FolderWalk, LeftOut, SourceEntry
from lib.data.sources.layout import existing_folder, natural_key, shown
from lib.data.sources.metadata import METADATA_FILE, read_metadata
from lib.errors import UserError


@dataclass(frozen=True)
class FolderScan:
    """What a folder holds; `class_names` are in natural order (2 before 10), entries in the order of class and name."""

    folder: Path
    entries: list[SourceEntry]
    left_out: list[LeftOut]
    class_names: tuple[str, ...]


def scan_folder(path: str | Path, *, group_column: str | None = None) -> FolderScan:
    """List the images of a folder by class.

    `group_column` names the column of `metadata.csv` that holds the group (the patient).
    Raises UserError if there is no such folder, no image, no class folder, one class only, or the images lie deeper.
    """
    folder = existing_folder(path)
    walk = FolderWalk(folder)
    walk.run()
    if not walk.entries:
        raise UserError(walk.why_empty())
    walk.entries.sort(key=lambda entry: (natural_key(entry.class_name), natural_key(entry.relative)))
    _apply_metadata(walk, group_column)
    class_names = tuple(sorted({entry.class_name for entry in walk.entries}, key=natural_key))
    if len(class_names) < 2:
        if walk.deep_example:
            raise UserError(walk.why_empty())
        raise UserError(
            f"{shown(folder)} has only one class, {class_names[0]!r}; at least two are needed. {LAYOUT_HINT}."
        )
    return FolderScan(folder, walk.entries, walk.left_out, class_names)


def _apply_metadata(walk: FolderWalk, group_column: str | None) -> None:
    folder = walk.root if (walk.root / METADATA_FILE).is_file() else walk.base
    table = read_metadata(folder, group_column)
    if table is None:
        return
    kept: list[SourceEntry] = []
    name_counts = Counter(entry.path.name for entry in walk.entries)
    for entry in walk.entries:
        relative = shown(entry.path.relative_to(folder))
        row = table.find(relative, is_name_unique=name_counts[entry.path.name] == 1)
        if row and (row.group_id or group_column is None):
            mask_path = folder / row.mask_path if row.mask_path else None
            kept.append(
                replace(
                    entry, group_id=row.group_id, laterality=row.laterality, mask_path=mask_path, flags=row.flags
                )
            )
        elif group_column is None:
            kept.append(entry)
        else:
            what = f"no value in column {group_column!r} of" if row else "no row in"
            walk.left_out.append(LeftOut(entry.relative, f"{what} {METADATA_FILE}, so its group is unknown"))
    if not kept:
        raise UserError(
            f"No row of {METADATA_FILE} gives {group_column!r} for an image of {shown(walk.root)}; its column path "
            f"must hold paths such as {walk.entries[0].relative}."
        )
    walk.entries[:] = kept
