"""Folders of empty files, and what a scan says of them."""

import csv
from collections.abc import Iterable
from pathlib import Path

from lib.data.sources.folder import FolderScan, scan_folder
from lib.data.sources.tables import SourceOptions


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def write_csv(
    path: Path, header: Iterable[str], rows: Iterable[Iterable[object]], *, delimiter=",", encoding="utf-8"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as opened:
        writer = csv.writer(opened, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def scan(root: Path, **options) -> FolderScan:
    return scan_folder(root, SourceOptions(**options))


def classes(found: FolderScan) -> dict[str, str]:
    """Class by path."""
    return {entry.relative: entry.class_name for entry in found.entries}


def splits(found: FolderScan) -> dict[str, str]:
    """Split by path."""
    return {entry.relative: entry.split for entry in found.entries}


def groups(found: FolderScan) -> dict[str, str]:
    """Patient by path."""
    return {entry.relative: entry.group_id for entry in found.entries}


def reasons(found: FolderScan) -> dict[str, str]:
    """Reason by path of what is left out."""
    return {item.path: item.reason for item in found.left_out}
