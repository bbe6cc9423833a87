"""Brings a folder of images into the library, once; again only when the folder or the choices changed."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lib.atomic import write_json
from lib.data.catalog import as_name, descriptions, is_taken, library_lock, open_dataset
from lib.data.dataset import DESCRIPTION_FILE, Dataset, read_description
from lib.data.import_options import ImportOptions
from lib.data.kind import KindChange
from lib.data.sources.folder import FolderScan, scan_folder
from lib.data.sources.layout import existing_folder, has_image_suffix, shown
from lib.data.sources.options import label_paths
from lib.data.staging import staging_folder
from lib.data.store_writer import write_dataset
from lib.data.versions import changed_description, with_history
from lib.errors import UserError
from lib.progress import Progress, ignore_progress
from lib.settings import DEFAULT_DATASET, DEFAULT_STORE_SIDE_PX, DEMO_DATASET, datasets_dir


def import_folder(
    path: str | Path,
    *,
    name: str | None = None,
    group_column: str | None = None,
    labels: str | Path | Sequence[str | Path] = (),
    class_column: str | None = None,
    image_column: str | None = None,
    pairs: bool = True,
    store_side_px: int = DEFAULT_STORE_SIDE_PX,
    crop_policy: str | None = None,
    spec_changes: dict[str, Any] | None = None,
    kind: KindChange | None = None,
    check_splits: bool = True,
    is_allowed: Callable[[Path], bool] | None = None,
    progress: Progress = ignore_progress,
) -> Dataset:
    """Import a folder; unchanged and with the same options, it is only opened.

    Classes come from its sub-folders, or from label files: from `labels`, or those that lie in the folder or beside it
    (lib/data/sources/folder.py). `kind` says order, names and kind of the classes; what it and `crop_policy` leave open
    stays as in an earlier import of the same folder. `spec_changes` sets further fields of the `DatasetSpec`, such as
    its title. Without `check_splits` (to evaluate on) one class will do, and a class may have fewer images than
    training needs. `is_allowed` limits where links lead and what beside the folder is looked at. Raises UserError if
    the folder, the name or the classes will not do.
    """
    if name is not None and name != as_name(name):
        raise UserError(
            f"The name {shown(name)!r} cannot be used; take at most 48 letters, digits, '-', '_' and '.', such as "
            f"{as_name(name)!r}."
        )
    if name in (DEFAULT_DATASET, DEMO_DATASET):
        raise UserError(f"The name {name!r} is kept for a generated data set; choose another.")
    asked = ImportOptions(
        group_column, store_side_px, crop_policy or "center_square", dict(spec_changes or {}),
        labels=label_paths(existing_folder(path), labels), class_column=class_column,
        image_column=image_column, pairs=pairs,
    )  # fmt: skip
    scan = scan_folder(path, asked.source, is_allowed=is_allowed, min_classes=2 if check_splits else 1)
    options = _options(
        asked,
        _imported_from(str(scan.folder), name),
        scan.class_names,
        keeps_crop=crop_policy is None,
        kind=kind or KindChange(),
    )
    return import_scan(scan, name=name, options=options, check_splits=check_splits, progress=progress)


def resolve_dataset(
    name_or_path: str | Path, *, check_splits: bool = True, progress: Progress = ignore_progress
) -> Dataset:
    """Open a data set by its name, or else import the folder of that path.

    A folder is imported once, and again only after its listing (paths, sizes, times, labels) changed; then with the
    options of its last import. Raises UserError as `open_dataset`, `scan_folder` and `import_folder` do.
    """
    text = os.fspath(name_or_path)
    if not text.strip():
        raise UserError("No data set was given; give a name from the library or the path of a folder.")
    if isinstance(name_or_path, str) and not set(text) & {os.sep, "~"} and (is_taken(text) or not Path(text).exists()):
        return open_dataset(text)
    previous, options = _last_import(text)
    name = previous["spec"]["name"] if previous else None
    scan = scan_folder(text, options.source, min_classes=2 if check_splits else 1)
    return import_scan(scan, name=name, options=options, check_splits=check_splits, progress=progress)


def check_folder(path: str | Path) -> None:
    """Look at a folder's listing as `resolve_dataset` would, without importing; raises UserError as it does."""
    scan_folder(path, _last_import(path)[1].source)


def last_options(path: str | Path) -> ImportOptions | None:
    """The options of the last import of a folder; None if it is not in the library."""
    previous, options = _last_import(path)
    return options if previous else None


def check_kind(path: str | Path, class_names: Sequence[str], kind: KindChange, *, name: str | None = None) -> None:
    """Raise UserError if what is said of a folder's classes does not fit them, before any image is read."""
    previous = _imported_from(str(existing_folder(path)), name)
    _options(ImportOptions(), previous, class_names, keeps_crop=True, kind=kind)


def _last_import(path: str | Path) -> tuple[dict[str, Any] | None, ImportOptions]:
    """The newest data set of a folder, if there is one, and the options to import it with."""
    previous = _imported_from(str(existing_folder(path)), None)
    return previous, ImportOptions.of(previous) if previous else ImportOptions()


def import_scan(
    scan: FolderScan,
    *,
    name: str | None,
    options: ImportOptions,
    source: str = "",
    check_splits: bool = True,
    progress: Progress = ignore_progress,
) -> Dataset:
    """Import what `scan_folder` found; `source` says where it came from if not from the scanned folder."""
    source = source or str(scan.folder)
    with library_lock(source):
        return import_locked(
            scan, name=name, options=options, source=source, check_splits=check_splits, progress=progress
        )


def import_locked(
    scan: FolderScan, *, name: str | None, options: ImportOptions, source: str, check_splits: bool, progress: Progress
) -> Dataset:
    """`import_scan` for a caller that holds the lock of the source."""
    listing = listing_of(scan)
    previous = _imported_from(source, name)
    if previous and previous["listing"] == listing and ImportOptions.of(previous).is_of_same_images(options):
        dataset = _saying(previous, options, scan.class_names)
        if check_splits and not previous["has_checked_splits"]:
            dataset.split(0)
        return dataset
    name = name or (previous["spec"]["name"] if previous else _free_name(scan.folder))
    _refuse_taken(name, source)
    with staging_folder() as staging:
        written = staging / "dataset"
        written.mkdir()
        write_dataset(
            scan,
            written,
            name=name,
            source=source,
            listing=listing,
            options=options,
            check_splits=check_splits,
            progress=progress,
        )
        _refuse_taken(name, source)  # decoding took its time; somebody else may have come first
        if previous and previous["spec"]["name"] == name:
            write_json(written / DESCRIPTION_FILE, with_history(read_description(written), previous))
        _publish(written, datasets_dir() / name, staging / "replaced")
    return open_dataset(name)


def _options(
    asked: ImportOptions,
    previous: dict[str, Any] | None,
    class_names: Sequence[str],
    *,
    keeps_crop: bool,
    kind: KindChange,
) -> ImportOptions:
    """The options of an import, with what is not asked for as it was in the last one of the same folder."""
    if previous:
        last = ImportOptions.of(previous)
        if keeps_crop:
            asked = dataclasses.replace(asked, crop_policy=last.crop_policy)
        if not asked.spec_changes and sorted(previous.get("class_sources") or class_names) == sorted(class_names):
            asked = asked.with_kind_of(last)
    return asked.changed(kind, class_names)


def _saying(description: dict[str, Any], options: ImportOptions, class_names: Sequence[str]) -> Dataset:
    """The data set of that description, its classes as the options say: as a new version where they differ."""
    spec = description["spec"]
    if not ImportOptions.of(description).is_same(options):
        described = {"class_sources": list(class_names), **description, "options": options.to_dict()}
        classes = options.classes(class_names)
        said = options.spec(
            classes,
            name=spec["name"],
            store_side_px=spec["store_side_px"],
            value_scale=spec.get("value_scale"),
            split_caveat=spec.get("split_caveat", ""),
        )
        write_json(datasets_dir() / spec["name"] / DESCRIPTION_FILE, changed_description(described, classes, said))
    return open_dataset(spec["name"])


def listing_of(scan: FolderScan) -> str:
    """A hash of what a scan found: paths, sizes, times, what the tables say of them."""
    facts: list[tuple[Any, ...]] = [
        (entry.key, entry.split, entry.group_id, entry.laterality, entry.num_bytes, entry.modified_ns)
        for entry in scan.entries
    ]
    if scan.label_files:
        facts += [(entry.key, entry.class_name) for entry in scan.entries]
    facts += [
        (entry.key, entry.flags, *_file_facts(entry.mask_path))
        for entry in scan.entries
        if entry.flags or entry.mask_path
    ]
    facts += [(item.path, item.reason) for item in scan.left_out if has_image_suffix(item.path)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _file_facts(path: Path | None) -> tuple[Any, ...]:
    try:
        facts = path.stat() if path else None
    except OSError:
        facts = None
    return (str(path), facts.st_size, facts.st_mtime_ns) if facts else (str(path),)


def _imported_from(source: str, name: str | None) -> dict[str, Any] | None:
    """The newest data set from that source (of that name, if given)."""
    found = [d for d in descriptions() if d.get("source") == source and name in (None, d["spec"]["name"])]
    return max(found, key=lambda description: description["created_s"], default=None)


def _free_name(folder: Path) -> str:
    name = as_name(folder.name)
    if name in (DEFAULT_DATASET, DEMO_DATASET) or is_taken(name):
        name = f"{name[:40]}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:6]}"
    return name


def _refuse_taken(name: str, source: str) -> None:
    if is_taken(name):
        owner = read_description(datasets_dir() / name).get("source")
        if owner != source:
            raise UserError(
                f"The name {name!r} is taken by the data set from {owner}; choose another or delete that one."
            )


def _publish(written: Path, target: Path, replaced: Path) -> None:
    """Put the new data set in place; a reader that has the old one mapped keeps it until it lets go."""
    if target.exists():
        target.rename(replaced)
    try:
        written.rename(target)
    except OSError:
        if replaced.exists():
            shutil.move(replaced, target)
        raise
