"""Brings a folder of images into the library, once, and again where it changed."""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib.atomic import write_json
from lib.data.dataset import DESCRIPTION_FILE, Dataset, read_description
from lib.data.drawing import ALL_IMAGES, Draw, draw_images
from lib.data.edit_log import carry_log
from lib.data.import_options import ImportOptions, refuse_crossing_parts
from lib.data.interrupted import REPLACED, WRITTEN, note_import, noted_import, workplace
from lib.data.label_schema import (
    SchemaChange,
    changed_description,
    stored_sources,
    with_history,
)
from lib.data.library import (
    as_name,
    descriptions,
    is_taken,
    library_lock,
    open_dataset,
)
from lib.data.originals import ORIGINALS, carry_originals, origin, stored_values, values_of
from lib.data.pseudonyms import with_pseudonyms
from lib.data.sources.catalogue import SOURCES, find_source
from lib.data.sources.files import existing_folder, has_image_suffix, shown
from lib.data.sources.folder import FolderScan
from lib.data.sources.table import FoundImages, SourceRequest, SourceSpec
from lib.data.store_writer import write_dataset
from lib.errors import UserError
from lib.progress import Progress, ignore_progress
from lib.settings import DEFAULT_DATASET, DEFAULT_STORE_SIDE_PX, DEMO_DATASET, datasets_dir


def import_folder(
    path: str | Path,
    *,
    group_column: str | None = None,
    labels: str | Path | Sequence[str | Path] = (),
    class_column: str | None = None,
    image_column: str | None = None,
    pairs: bool = True,
    **options: Any,
) -> Dataset:
    """Import a folder; unchanged and with the same options, it is only opened.

    Classes come from its sub-folders, or from label files: from `labels`, or those that lie in the folder or beside it
    (lib/data/sources/folder.py). `options` and errors are those of `import_from`.
    """
    reading = {"labels": labels, "class_column": class_column, "image_column": image_column}
    values = {"path": path, **reading, "group_column": group_column, "pairs": pairs}
    return import_from("folder", values, **options)


def import_from(
    source: str,
    values: Mapping[str, Any],
    *,
    name: str | None = None,
    store_side_px: int = DEFAULT_STORE_SIDE_PX,
    crop_policy: str | None = None,
    pseudonyms: bool | None = None,
    spec_changes: dict[str, Any] | None = None,
    kind: SchemaChange | None = None,
    draw: Draw = ALL_IMAGES,
    check_splits: bool = True,
    is_allowed: Callable[[Path], bool] | None = None,
    progress: Progress = ignore_progress,
) -> Dataset:
    """Import from a source of the table (lib/data/sources/table.py); unchanged and asked the same, it is only opened.

    `values` are the source's options. `kind` says order, names and kind of the classes; what it and `crop_policy` leave
    open stays as in an earlier import of the same. `spec_changes` sets further fields of the `DatasetSpec`, such as its
    title. `draw` takes so many images of each class. With `pseudonyms` no name of a file or patient is shown or
    exported (lib/data/pseudonyms.py); None leaves it as in an earlier import, else without. Without `check_splits` (to
    evaluate on) one class will do, and a class may have fewer images than training needs. `is_allowed` limits what is
    read of paths, where links lead, and what beside a folder is looked at. Raises UserError if source, options, name or
    classes will not do; then nothing is left behind.
    """
    if name is not None and name != as_name(name):
        raise UserError(
            f"The name {shown(name)!r} cannot be used; take at most 48 letters, digits, '-', '_' and '.', such as "
            f"{as_name(name)!r}."
        )
    if name in (DEFAULT_DATASET, DEMO_DATASET):
        raise UserError(f"The name {name!r} is kept for a generated data set; choose another.")
    spec = SOURCES.get(source)
    checked = spec.complete(values, is_allowed=is_allowed)
    asked = ImportOptions(
        **stored_values(spec, checked), store_side_px=store_side_px, crop_policy=crop_policy or "center_square",
        spec_changes=dict(spec_changes or {}), draw=draw, pseudonyms=bool(pseudonyms),
    )  # fmt: skip

    def decide(previous: dict[str, Any] | None, sources: Sequence[str], said: Mapping[str, Any]) -> ImportOptions:
        keeps_crop, change = crop_policy is None, kind or SchemaChange()
        now = asked
        if previous is not None and pseudonyms is None:
            now = dataclasses.replace(asked, pseudonyms=ImportOptions.of(previous).pseudonyms)
        return _options(now, previous, sources, keeps_crop=keeps_crop, kind=change, said=said)

    return _import(
        spec, checked, decide, name=name, check_splits=check_splits, is_allowed=is_allowed, progress=progress
    )


def resolve_dataset(
    name_or_path: str | Path, *, check_splits: bool = True, progress: Progress = ignore_progress
) -> Dataset:
    """Open a data set by its name, or else import the folder or the archive of that path.

    It is imported once, and again only after its listing (paths, sizes, times, labels) changed; then with the options
    of its last import. Raises UserError as `open_dataset` and `import_from` do.
    """
    text = os.fspath(name_or_path)
    if not text.strip():
        raise UserError("No data set was given; give a name from the library or the path of a folder.")
    if isinstance(name_or_path, str) and not set(text) & {os.sep, "~"} and (is_taken(text) or not Path(text).exists()):
        return open_dataset(text)
    spec, values = _source_of(text)
    previous = _imported_from(spec.key(values), None)
    if previous is None:
        return import_from(spec.name, values, check_splits=check_splits, progress=progress)
    last = ImportOptions.of(previous)
    spec, values = SOURCES.get(last.source_name), values_of(previous)
    name = previous["spec"]["name"]
    return _import(spec, values, lambda *_: last, name=name, check_splits=check_splits, progress=progress)


def continue_import(
    key: str, *, is_allowed: Callable[[Path], bool] | None = None, progress: Progress = ignore_progress
) -> Dataset:
    """Make an interrupted import (lib/data/interrupted.py) again, as it was asked for; raises UserError as it would."""
    about = noted_import(key)
    options = ImportOptions.of(about)
    spec = SOURCES.get(options.source_name)
    values = spec.complete(values_of(about), is_allowed=is_allowed)
    return _import(
        spec, values, lambda *_: options, name=about["name"], check_splits=about["check_splits"], is_allowed=is_allowed,
        progress=progress,
    )  # fmt: skip


def _source_of(path: str | Path) -> tuple[SourceSpec, dict[str, Any]]:
    """The source that a path is of, with its values; raises UserError where there is nothing at that path."""
    spec = find_source(Path(path).expanduser())
    return spec, spec.complete({"path": existing_folder(path) if spec.name == "folder" else path})


def _import(
    spec: SourceSpec,
    values: Mapping[str, Any],
    decide: Callable[[dict[str, Any] | None, Sequence[str], Mapping[str, Any]], ImportOptions],
    *,
    name: str | None,
    check_splits: bool,
    is_allowed: Callable[[Path], bool] | None = None,
    progress: Progress,
) -> Dataset:
    """Read a source and write the data set; `decide` gives the options, once the classes are known."""
    key, state = spec.key(values), spec.state(values)
    with library_lock(key), workplace(key) as place:
        written = place / WRITTEN
        previous = _imported_from(key, name, is_unlabelled=spec.is_unlabelled)
        if previous and state and previous.get("source_state") == state:
            options = decide(previous, stored_sources(previous), {})
            last = ImportOptions.of(previous)
            if last.is_of_same_images(options):
                return _opened(previous, options, stored_sources(previous), check_splits=check_splits)
            if last.source_values == options.source_values:
                carry_originals(datasets_dir() / previous["spec"]["name"], written)
        request = SourceRequest(
            values=values, folder=written / ORIGINALS, min_classes=2 if check_splits else 1, is_allowed=is_allowed,
            progress=progress,
        )  # fmt: skip
        found = spec.read(request)
        options = decide(previous, found.scan.class_names, found.spec_changes)
        return import_locked(
            found, name=name, options=options, source=key, check_splits=check_splits, progress=progress, place=place,
            state=state,
        )  # fmt: skip


def is_imported(source: str, values: Mapping[str, Any], name: str | None = None) -> bool:
    """Whether the library has a data set of that source with those options (and that name), however it was imported."""
    spec = SOURCES.get(source)
    return _imported_from(spec.key(spec.complete(values)), name, is_unlabelled=spec.is_unlabelled) is not None


def check_folder(path: str | Path) -> None:
    """Look at a path as `resolve_dataset` would, without importing; raises UserError as it does."""
    spec, values = _source_of(path)
    if previous := _imported_from(spec.key(values), None):
        spec, values = SOURCES.get(ImportOptions.of(previous).source_name), values_of(previous)
    if spec.state(values) == "":  # only reading tells
        spec.read(SourceRequest(values=values, folder=Path(os.devnull)))


def last_options(path: str | Path) -> ImportOptions | None:
    """The options of the last import of a path; None if it is not in the library."""
    spec, values = _source_of(path)
    previous = _imported_from(spec.key(values), None)
    return ImportOptions.of(previous) if previous else None


def check_schema(path: str | Path, class_names: Sequence[str], kind: SchemaChange, *, name: str | None = None) -> None:
    """Raise UserError if what is said of a folder's classes does not fit them, before any image is read."""
    spec, values = _source_of(path)
    previous = _imported_from(spec.key(values), name)
    _options(ImportOptions(), previous, class_names, keeps_crop=True, kind=kind, said={})


def import_scan(
    scan: FolderScan,
    *,
    name: str | None,
    options: ImportOptions,
    source: str = "",
    check_splits: bool = True,
    is_resumable: bool = True,
    progress: Progress = ignore_progress,
) -> Dataset:
    """Import what `scan_folder` found; `source` says where it came from if not from the scanned folder.

    An import that is ended by whatever goes on where it was when it is made again (lib/data/interrupted.py);
    `is_resumable` is not for files that would be made anew.
    """
    source = source or str(scan.folder)
    with library_lock(source), workplace(source, is_kept=is_resumable) as place:
        return import_locked(
            FoundImages(scan=scan), name=name, options=options, source=source, check_splits=check_splits,
            progress=progress, place=place,
        )  # fmt: skip


def import_locked(
    found: FoundImages,
    *,
    name: str | None,
    options: ImportOptions,
    source: str,
    check_splits: bool,
    progress: Progress,
    place: Path,
    state: str = "",
) -> Dataset:
    """`import_scan` for a caller that holds the lock of the source and gives its `workplace`.

    `state` is the source's, by which an unchanged one is known without reading it.
    """
    scan = found.scan
    listing = listing_of(scan)
    previous = _imported_from(source, name, is_unlabelled=scan.is_unlabelled)
    if previous and previous["listing"] == listing and ImportOptions.of(previous).is_of_same_images(options):
        return _opened(previous, options, scan.class_names, check_splits=check_splits)
    if name is None:
        name = previous["spec"]["name"] if previous else as_name(found.name or scan.folder.name)
        if not previous and (name in (DEFAULT_DATASET, DEMO_DATASET) or is_taken(name)):
            name = f"{name[:40]}-{hashlib.sha256(os.fsencode(source)).hexdigest()[:6]}"
    _refuse_taken(name, source, is_unlabelled=scan.is_unlabelled)
    scan, written = draw_images(scan, options.draw), place / WRITTEN
    if check_splits:
        refuse_crossing_parts(scan)
    if options.pseudonyms:
        scan = with_pseudonyms(scan)
    note_import(
        place, source=source, name=name, num_files=len(scan.entries), options=options.to_dict(),
        check_splits=check_splits,
    )  # fmt: skip
    if found.write is not None:
        found.write(scan.entries, progress)
    write_dataset(
        scan, written, name=name, source=source, listing=listing, options=options, parts=place,
        check_splits=check_splits, progress=progress,
    )  # fmt: skip
    description = {**read_description(written), **origin(scan.folder, written), "source_state": state}
    # Decoding took its time; somebody else may have come first.
    _refuse_taken(name, source, is_unlabelled=scan.is_unlabelled)
    if previous and previous["spec"]["name"] == name:
        description = _with_edits(with_history(description, previous), written)
    write_json(written / DESCRIPTION_FILE, description)
    _publish(written, datasets_dir() / name, place / REPLACED)
    return open_dataset(name)


def _opened(previous: dict[str, Any], options: ImportOptions, sources: Sequence[str], *, check_splits: bool) -> Dataset:
    dataset = _with_options(previous, options, sources)
    if check_splits and not previous["has_checked_splits"] and not dataset.is_unlabelled:
        dataset.split(0)
    return dataset


def _with_edits(description: dict[str, Any], written: Path) -> dict[str, Any]:
    """Take the edits of the data set along that the written one replaces; says how many have nothing to act on."""
    old, image_ids = datasets_dir() / description["spec"]["name"], Dataset(written).table["image_id"]
    num_lost = carry_log(old, written, image_ids, stored_sources(description))
    if not num_lost:
        return description
    sentence = (
        f"Edits of {num_lost} image{'' if num_lost == 1 else 's'} fell away, since the image or the class is not in "
        "the folder any more."
    )
    return {**description, "notices": [*description["notices"], sentence]}


def _options(
    asked: ImportOptions,
    previous: dict[str, Any] | None,
    sources: Sequence[str],
    *,
    keeps_crop: bool,
    kind: SchemaChange,
    said: Mapping[str, Any],
) -> ImportOptions:
    """The options of an import; what is not asked for is as in the last one of the same, else as the source says."""
    is_asked = bool(asked.spec_changes)
    asked = dataclasses.replace(asked, spec_changes={**said, **asked.spec_changes})
    if previous:
        last = ImportOptions.of(previous)
        if keeps_crop:
            asked = dataclasses.replace(asked, crop_policy=last.crop_policy)
        if not is_asked and sorted(previous.get("class_sources") or sources) == sorted(sources):
            asked = asked.with_schema_of(last)
    return asked.with_schema(asked.schema(sources).changed(kind), sources, kind)


def _with_options(description: dict[str, Any], options: ImportOptions, sources: Sequence[str]) -> Dataset:
    """The data set of that description, its classes as the options say: as a new version where they differ."""
    spec = description["spec"]
    if not ImportOptions.of(description).is_same(options):
        described = {"class_sources": list(sources), **description, "options": options.to_dict()}
        schema = options.schema(sources)
        decided = {key: spec.get(key) for key in ("name", "store_side_px", "value_scale")}
        said = options.spec(schema, **decided, split_caveat=spec.get("split_caveat", ""))
        write_json(datasets_dir() / spec["name"] / DESCRIPTION_FILE, changed_description(described, schema, said))
    return open_dataset(spec["name"])


def listing_of(scan: FolderScan) -> str:
    """A hash of what a scan found: paths, sizes, times, what the tables say of them."""
    facts: list[tuple[Any, ...]] = [
        (entry.key, entry.split, entry.group_id, entry.laterality, entry.num_bytes, entry.modified_ns)
        for entry in scan.entries
    ]
    if scan.label_files or scan.has_joined:
        facts += [(entry.key, entry.class_name) for entry in scan.entries]
    for entry in scan.entries:
        if entry.flags or entry.mask_path:
            facts.append((entry.key, entry.flags, str(entry.mask_path)))
            with suppress(OSError):
                status = entry.mask_path.stat() if entry.mask_path else None
                facts[-1] += (status.st_size, status.st_mtime_ns) if status else ()
    facts += [(item.path, item.reason) for item in scan.left_out if has_image_suffix(item.path)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _imported_from(source: str, name: str | None, *, is_unlabelled: bool | None = None) -> dict[str, Any] | None:
    """The newest data set from that source (of that name, if given), with or without classes of its own, if asked."""
    found = [
        d
        for d in descriptions()
        if d.get("source") == source
        and name in (None, d["spec"]["name"])
        and is_unlabelled in (None, bool(d.get("is_unlabelled")))
    ]
    return max(found, key=lambda description: description["created_s"], default=None)


def _refuse_taken(name: str, source: str, *, is_unlabelled: bool) -> None:
    if is_taken(name):
        found = read_description(datasets_dir() / name)
        owner = found.get("source")
        if owner != source or bool(found.get("is_unlabelled")) != is_unlabelled:
            other = "" if owner != source else ", which has classes" if is_unlabelled else ", which is labelled by hand"
            raise UserError(
                f"The name {name!r} is taken by the data set from {owner}{other}; choose another or delete that one."
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
