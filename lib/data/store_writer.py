"""Decodes a scanned folder once into table, pixels and masks, in a folder that appears whole or not at all."""

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import features

from lib.atomic import read_json_or_empty, sha256_of_file, write_json
from lib.checked_rows import block_sums
from lib.data.dataset import DESCRIPTION_FILE, LEFT_OUT_FILE, MASKS_FILE, PIXELS_FILE, STORED_FILES, TABLE_FILE, Dataset
from lib.data.decoder_pool import DecoderPool, num_decoders
from lib.data.images import DecodedImage, ImageHeader
from lib.data.import_options import MIN_STORE_SIDE_PX, ImportOptions
from lib.data.label_schema import described
from lib.data.originals import save_names
from lib.data.sources.files import NO_CLASS, LeftOut, SourceEntry, shown
from lib.data.sources.folder import FolderScan
from lib.data.specs import common_scale
from lib.data.splits import assign_splits
from lib.data.stored_rows import RowSums, Stamp, StoredFile, StoredRows, stamp_of
from lib.errors import BadImage, UserError
from lib.progress import Progress, ignore_progress
from lib.quota import require_room
from lib.settings import datasets_dir

_SPARE_DISK_BYTES = 200 * 2**20
_DECODING = "decoding images"
HEADERS_FILE = "headers.json"  # of all files, for a try that goes on
_RANK = {"test": 0, "val": 1, "train": 2, "": 3}


@dataclass(slots=True)
class _Kept:
    """One file on its way into the store."""

    entry: SourceEntry
    header: ImageHeader
    stamp: Stamp
    key: str
    stored: StoredFile | None = None
    mask_note: str = ""  # why its mask is not used


def write_dataset(
    scan: FolderScan,
    folder: Path,
    *,
    name: str,
    source: str,
    listing: str,
    options: ImportOptions,
    parts: Path,
    check_splits: bool = True,
    progress: Progress = ignore_progress,
) -> None:
    """Write the data set of a scan into an empty `folder`.

    What was decoded lies in `parts` meanwhile, on the same disk: a call that was ended by whatever goes on from there
    when it is made again. Raises UserError if a class is left without images, the disk is too small or, with
    `check_splits`, a class has too few images or groups to train, validate and test.
    """
    left_out = list(scan.left_out)
    schema = options.schema(scan.class_names)
    with DecoderPool(num_decoders(len(scan.entries)), crop_policy=options.crop_policy) as pool:
        kept = _drop_copies(_read_headers(scan.entries, pool, left_out, parts, progress), left_out)
        _require_classes(scan.entries, kept, left_out)
        if check_splits and not scan.is_unlabelled:
            _require_splits(kept, scan.class_names, dict(zip(schema.sources, schema.names, strict=True)))
        # No larger than the largest image's short side: enlarging all of them would only cost disk and time.
        largest = max(min(item.header.width, item.header.height) for item in kept)
        side = max(MIN_STORE_SIDE_PX, min(options.store_side_px, largest))
        pool.side_px, pool.value_scale = side, common_scale(one.header.values for one in kept if one.header.values)
        settings = {
            "side_px": side, "crop_policy": options.crop_policy, "value_scale": pool.value_scale.to_dict(),
            "decoders": {"pillow": PIL.__version__, "jpeg": features.version("jpg")},
        }  # fmt: skip
        with StoredRows(parts, settings, (side, side, 3)) as rows:
            num_masks = sum(item.entry.mask_path is not None for item in kept)
            pixels = _decode(kept, pool, rows, num_other_bytes=num_masks * side * side, progress=progress)
        left_out += [_not_used(item.entry, item.stored.bad) for item in kept if item.stored and item.stored.bad]
        kept = [item for item in kept if item.stored and not item.stored.bad]
        _require_classes(scan.entries, kept, left_out)
        has_masks = _write_masks(kept, pool, folder / MASKS_FILE, root=scan.folder, progress=progress)
    scale = pool.value_scale
    spec = options.spec(
        schema, name=name, store_side_px=side, value_scale=scale.to_dict(), split_caveat=scan.split_caveat
    )
    seen = _write_tables(kept, left_out, folder, scan)
    rows.path.rename(folder / PIXELS_FILE)
    facts = file_facts(folder, (*STORED_FILES, MASKS_FILE) if has_masks else STORED_FILES, len(kept), pixels=pixels)
    seen += [scan.class_names, side, options.crop_policy, pixels.sha256]
    content = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]
    description = {
        **described(content, scan.class_names, schema, spec),
        "num_images": len(kept),
        "num_left_out": len(left_out),
        "source": source,
        "listing": listing,
        "options": options.to_dict(),
        "notices": [*scan.notices, *([scale.sentence] if scale.num_images else [])],
        "created_s": time.time(),
        "has_checked_splits": check_splits and not scan.is_unlabelled,
        "is_unlabelled": scan.is_unlabelled,
        **facts,
    }
    write_json(folder / DESCRIPTION_FILE, description)
    if description["has_checked_splits"]:
        Dataset(folder).split(0)


def file_facts(folder: Path, files: Sequence[str], num_rows: int, *, pixels: RowSums | None = None) -> dict[str, Any]:
    """What a description keeps of the files of a data set, by which damage is noticed: sizes and checksums.

    `pixels` are the sums of the pixel store where they are known, so that it need not be read.
    """
    known = {PIXELS_FILE: pixels} if pixels else {}
    stores = [file for file in files if file.endswith(".bin")]
    return {
        "num_bytes": {file: (folder / file).stat().st_size for file in files},
        "sha256": {file: known[file].sha256 if file in known else sha256_of_file(folder / file) for file in files},
        "block_sums": {
            file: known[file].block_sums if file in known else _sums_of(folder / file, num_rows) for file in stores
        },
    }


def _sums_of(path: Path, num_rows: int) -> list[int]:
    return block_sums(np.memmap(path, dtype=np.uint8, mode="r").reshape(num_rows, -1))


def _read_headers(
    entries: list[SourceEntry], pool: DecoderPool, left_out: list[LeftOut], parts: Path, progress: Progress
) -> list[_Kept]:
    """Headers of all files that are images; those of an earlier try are taken where the file has not changed."""
    journal = parts / HEADERS_FILE
    earlier = _earlier_headers(journal)
    stamps, keys = [stamp_of(entry.path) for entry in entries], [_key(entry) for entry in entries]
    known = [earlier.get((key, stamp)) for key, stamp in zip(keys, stamps, strict=True)]
    kept = []
    unknown = (entry.path for entry, header in zip(entries, known, strict=True) if header is None)
    with closing(pool.glance_in_order(unknown)) as read:
        for index, (entry, stamp, key) in enumerate(zip(entries, stamps, keys, strict=True)):
            header = known[index] or next(read)
            if isinstance(header, BadImage):
                left_out.append(_not_used(entry, str(header)))
            else:
                kept.append(_Kept(entry, header, stamp, key))
            progress(index + 1, len(entries), "reading headers")
    write_json(journal, {item.key: [item.stamp, dataclasses.asdict(item.header)] for item in kept})
    _hash_alike(kept, pool)
    return kept


def _earlier_headers(journal: Path) -> dict[tuple[str, Stamp], ImageHeader]:
    content = read_json_or_empty(journal)
    with suppress(TypeError, KeyError, ValueError):  # of another release of the program
        return {(key, tuple(stamp)): ImageHeader.from_dict(header) for key, (stamp, header) in content.items()}
    return {}


def _key(entry: SourceEntry) -> str:
    """By which an earlier try's file is known again: no path, since a name may be a patient's."""
    return hashlib.sha256(os.fsencode(entry.key)).hexdigest()[:32]


def _hash_alike(kept: list[_Kept], pool: DecoderPool) -> None:
    """Read the whole of those files that begin alike and are equally long: perhaps they are copies."""
    by_head: dict[Any, list[_Kept]] = defaultdict(list)
    for item in kept:
        if not item.header.is_whole:
            by_head[item.header.num_bytes, item.header.sha256].append(item)
    alike = [item for items in by_head.values() if len(items) > 1 for item in items]
    for item, header in zip(alike, pool.probe_in_order([item.entry.path for item in alike]), strict=True):
        if not isinstance(header, BadImage):  # else it vanished just now, which decoding will say
            item.header = header


def _not_used(entry: SourceEntry, reason: str) -> LeftOut:
    return LeftOut(entry.relative, reason, entry.path)


def _drop_copies(kept: list[_Kept], left_out: list[LeftOut]) -> list[_Kept]:
    """Keep one of each content; a test copy stays rather than a training copy, and contradicting labels all go."""
    by_content: dict[str, list[_Kept]] = defaultdict(list)
    for item in kept:
        by_content[item.header.sha256].append(item)
    _join_patients_of_copies(kept, by_content.values())
    stays = set()
    for copies in by_content.values():
        copies.sort(key=lambda item: _RANK[item.entry.split])  # stable: the first of a split stays first
        first = copies[0].entry
        if all(item.entry.class_name == first.class_name for item in copies):
            stays.add(id(copies[0]))
            left_out += [_not_used(item.entry, f"same content as {first.relative}") for item in copies[1:]]
            continue
        for item in copies:
            other = next(twin for twin in copies if twin.entry.class_name != item.entry.class_name).entry.relative
            left_out.append(_not_used(item.entry, f"same content as {other}, which is in another class"))
    return [item for item in kept if id(item) in stays]


def _join_patients_of_copies(kept: list[_Kept], contents: Iterable[list[_Kept]]) -> None:
    """Patients who share an image are one: the split must not tell their other images apart.

    Not across train/ and test/, where the copy in train/ goes and both patients were meant to be others.
    """
    same: dict[str, str] = {}

    def first_name(group_id: str) -> str:
        while group_id in same:
            group_id = same[group_id]
        return group_id

    for copies in contents:
        for split in {item.entry.split for item in copies}:
            names = {first_name(one.entry.group_id) for one in copies if one.entry.split == split} - {""}
            for other in sorted(names)[1:]:
                same[other] = min(names)
    for item in kept if same else ():
        item.entry = dataclasses.replace(item.entry, group_id=first_name(item.entry.group_id))


def _require_classes(entries: list[SourceEntry], kept: list[_Kept], left_out: list[LeftOut]) -> None:
    """Raise UserError where no image of a class, or of train/, val/ or test/, is left of those that were found."""
    class_names, splits = {one.entry.class_name for one in kept}, {one.entry.split for one in kept}
    reasons = {item.source: item for item in left_out if item.source}
    for entry in entries:
        if entry.class_name in class_names and entry.split in splits:
            continue
        what = f"Class {entry.class_name!r}" if entry.class_name not in class_names else f"The part for {entry.split}"
        lost = reasons[entry.path]
        raise UserError(
            f"{what} has no usable image (such as {lost.path}: {lost.reason.rstrip('.')}). Repair its files or "
            "remove the folder."
        )


def _require_splits(kept: list[_Kept], sources: Sequence[str], names: dict[str, str]) -> None:
    """Raise UserError where the images cannot be divided, before an hour of decoding and not after it."""
    targets = {source: target for target, source in enumerate(sources)}
    entries = [item.entry for item in kept]
    assign_splits(
        np.array([targets[entry.class_name] for entry in entries]),
        np.array([entry.group_id for entry in entries], dtype=object),
        np.array([entry.split for entry in entries], dtype=object),
        split_seed=0, class_names=[names[source] for source in sources],
    )  # fmt: skip


def _decode(
    kept: list[_Kept], pool: DecoderPool, rows: StoredRows, *, num_other_bytes: int, progress: Progress
) -> RowSums:
    """Store all images in order, except those that an earlier try has stored; bad ones get no row."""
    _forget_changed(kept, pool, rows)
    rows.begin([item.key for item in kept], progress=progress)
    _require_disk(rows, len(kept), num_other_bytes)
    for item in kept[: rows.num_in_place]:
        item.stored = rows.kept[item.key]
    waiting = kept[rows.num_in_place :]
    if rows.num_in_place:
        progress(rows.num_in_place, len(kept), _DECODING)
    sources = (item.entry.path for item in waiting if item.key not in rows.kept)
    with closing(pool.decode_in_order(sources)) as decoded:
        for done, item in enumerate(waiting, start=rows.num_in_place + 1):
            if item.key in rows.kept:
                item.stored, pixels = rows.stored(item.key) or _decode_one(item, pool)
            else:
                item.stored, pixels = _stored(item, next(decoded))
            rows.put(item.stored, pixels)
            progress(done, len(kept), _DECODING)
    return rows.finish()


def _forget_changed(kept: list[_Kept], pool: DecoderPool, rows: StoredRows) -> None:
    """Files with another size or time than when they were stored are read: only another content is decoded again."""
    found = [(item, rows.kept[item.key]) for item in kept if item.key in rows.kept]
    doubtful = [(item, file) for item, file in found if file.stamp != item.stamp]
    for (_, file), header in zip(doubtful, pool.probe_in_order(item.entry.path for item, _ in doubtful), strict=True):
        if isinstance(header, BadImage) or header.sha256 != file.sha256:
            del rows.kept[file.key]


def _decode_one(item: _Kept, pool: DecoderPool) -> tuple[StoredFile, np.ndarray | None]:
    try:
        return _stored(item, pool.decode(item.entry.path))
    except BadImage as error:
        return _stored(item, error)


def _stored(item: _Kept, image: DecodedImage | BadImage) -> tuple[StoredFile, np.ndarray | None]:
    pixels = None if isinstance(image, BadImage) else image.pixels
    return StoredFile.of(item.key, item.stamp, image), pixels


def _require_disk(rows: StoredRows, num_rows: int, num_other_bytes: int) -> None:
    folder, num_bytes = rows.folder, (num_rows - rows.num_rows) * rows.row_bytes + num_other_bytes + _SPARE_DISK_BYTES
    require_room(num_bytes - _SPARE_DISK_BYTES, "The import")
    if shutil.disk_usage(folder).free < num_bytes:
        rows.drop_others()  # decoding again takes time, copying rows from one part into another takes disk
        if (free := shutil.disk_usage(folder).free) < num_bytes:
            raise UserError(
                f"The pixel store needs {(num_bytes - _SPARE_DISK_BYTES) / 2**20:,.0f} MiB beside the "
                f"{_SPARE_DISK_BYTES / 2**20:,.0f} MiB that must stay free, but {datasets_dir()} has "
                f"{free / 2**20:,.0f} MiB left; free some space or choose a smaller store side."
            )


def _write_masks(kept: list[_Kept], pool: DecoderPool, target: Path, *, root: Path, progress: Progress) -> bool:
    """Write uint8 (N, S, S) in the order of `kept`, with holes where nothing is marked; False, and no file, for none.

    A mask that cannot be used costs only itself: `mask_note` of its row says why.
    """
    chosen = [(index, item) for index, item in enumerate(kept) if item.entry.mask_path is not None]
    side, num_written = pool.side_px, 0
    with target.open("wb") as opened:
        for done, (index, item) in enumerate(chosen, start=1):
            try:
                path, stored = item.entry.mask_path, item.stored
                if path is None or stored is None or not path.resolve().is_relative_to(root):
                    raise BadImage("It lies outside the folder.")
                mask = pool.decode_mask(path, stored)
            except BadImage as error:
                item.mask_note = f"mask not used: {error}"
                continue
            num_written += 1
            marked = np.flatnonzero(mask.any(axis=1))
            if len(marked):
                opened.seek((index * side + int(marked[0])) * side)
                opened.write(np.ascontiguousarray(mask[marked[0] : marked[-1] + 1]).data)
            progress(done, len(chosen), "reading masks")
        opened.truncate(len(kept) * side * side)
        os.fsync(opened.fileno())
    if not num_written:
        target.unlink()
    return num_written > 0


def _write_tables(kept: list[_Kept], left_out: list[LeftOut], folder: Path, scan: FolderScan) -> list[Any]:
    """Write both tables; returns what of them a training sees, for the version."""
    import pandas as pd

    targets = {name: target for target, name in enumerate(scan.class_names)}
    if scan.is_unlabelled:
        targets[NO_CLASS] = -1
    table = pd.DataFrame([_row(item, targets[item.entry.class_name], scan.folder) for item in kept])
    if scan.has_pseudonyms:
        save_names(folder, {row[0]: (os.fsdecode(row[1]), row[2]) for row in
                            table[["image_id", "source_path", "mask_path"]].itertuples(index=False)})  # fmt: skip
        masked = table["mask_path"] != ""
        table["mask_path"] = table["path"].str.replace(r"\.\w+$", "_mask.png", regex=True).where(masked, "")
        table["source_path"] = b""
    table.to_parquet(folder / TABLE_FILE, index=False)
    reasons = pd.DataFrame([(item.path, item.reason) for item in left_out], columns=["path", "reason"], dtype="str")
    reasons.sort_values("path", kind="stable").to_parquet(folder / LEFT_OUT_FILE, index=False)
    return table[["image_id", "target", "split", "group_id"]].to_numpy().tolist()


def _row(item: _Kept, target: int, root: Path) -> dict[str, Any]:
    entry, image, mask_path = item.entry, item.stored, item.entry.mask_path
    assert image is not None  # noqa: S101  (rows without one were dropped)
    return {
        "image_id": image.sha256[:16],
        "path": entry.relative,
        "source_path": os.fsencode(entry.key),
        "target": target,
        "split": entry.split,
        "group_id": entry.group_id,
        "laterality": entry.laterality,
        "flags": "; ".join(part for part in (entry.flags, *image.notices, item.mask_note) if part),
        "mask_path": "" if mask_path is None or item.mask_note else shown(mask_path.relative_to(root)),
        "width": image.width,
        "height": image.height,
        "num_bytes": item.stamp[0],
        **dict(zip(("crop_left", "crop_top", "crop_right", "crop_bottom"), image.box, strict=True)),
    }
