"""Decodes a scanned folder once into table, pixels and masks, in a folder that appears whole or not at all."""

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.atomic import sha256_of_file, write_json
from lib.checked_rows import block_sums
from lib.data.dataset import DESCRIPTION_FILE, LEFT_OUT_FILE, MASKS_FILE, PIXELS_FILE, STORED_FILES, TABLE_FILE, Dataset
from lib.data.decoder_pool import DecoderPool, num_decoders
from lib.data.images import DecodedImage, ImageHeader
from lib.data.import_options import MIN_STORE_SIDE_PX, ImportOptions
from lib.data.label_schema import described
from lib.data.sources.files import LeftOut, SourceEntry, shown
from lib.data.sources.folder import FolderScan
from lib.data.specs import common_scale
from lib.errors import BadImage, UserError
from lib.progress import Progress, ignore_progress

_SPARE_DISK_BYTES = 200 * 2**20
_RANK = {"test": 0, "val": 1, "train": 2, "": 3}


@dataclass
class _Kept:
    """One file on its way into the store."""

    entry: SourceEntry
    header: ImageHeader
    image: DecodedImage | None = None  # without its pixels, which are in the store
    mask_note: str = ""  # why its mask is not used


def write_dataset(
    scan: FolderScan,
    folder: Path,
    *,
    name: str,
    source: str,
    listing: str,
    options: ImportOptions,
    check_splits: bool = True,
    progress: Progress = ignore_progress,
) -> None:
    """Write the data set of a scan into an empty `folder`.

    Raises UserError if a class is left without images, the disk is too small or, with `check_splits`, a class has too
    few images or groups to train, validate and test.
    """
    left_out = list(scan.left_out)
    with DecoderPool(num_decoders(len(scan.entries)), crop_policy=options.crop_policy) as pool:
        kept = _drop_copies(_read_headers(scan.entries, pool, left_out, progress), left_out)
        _require_classes(scan.entries, kept, left_out)
        # No larger than the largest image's short side: enlarging all of them would only cost disk and time.
        largest = max(min(item.header.width, item.header.height) for item in kept)
        side = max(MIN_STORE_SIDE_PX, min(options.store_side_px, largest))
        num_masks = sum(item.entry.mask_path is not None for item in kept)
        _require_disk(folder, (3 * len(kept) + num_masks) * side * side)
        pool.side_px, pool.value_scale = side, common_scale(one.header.values for one in kept if one.header.values)
        kept = _decode(kept, pool, folder / PIXELS_FILE, left_out=left_out, progress=progress)
        has_masks = _write_masks(kept, pool, folder / MASKS_FILE, root=scan.folder, progress=progress)
    _require_classes(scan.entries, kept, left_out)
    schema, scale = options.schema(scan.class_names), pool.value_scale
    spec = options.spec(
        schema, name=name, store_side_px=side, value_scale=scale.to_dict(), split_caveat=scan.split_caveat
    )
    seen = _write_tables(kept, left_out, folder, scan)
    files = (*STORED_FILES, MASKS_FILE) if has_masks else STORED_FILES
    facts = file_facts(folder, files, len(kept))
    seen += [scan.class_names, side, options.crop_policy, facts["sha256"][PIXELS_FILE]]
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
        "has_checked_splits": check_splits,
        **facts,
    }
    write_json(folder / DESCRIPTION_FILE, description)
    if check_splits:
        Dataset(folder).split(0)


def file_facts(folder: Path, files: Sequence[str], num_rows: int) -> dict[str, Any]:
    """What a description keeps of the files of a data set, by which damage is noticed: sizes and checksums."""
    stores = {file: np.memmap(folder / file, dtype=np.uint8, mode="r") for file in files if file.endswith(".bin")}
    return {
        "num_bytes": {file: (folder / file).stat().st_size for file in files},
        "sha256": {file: sha256_of_file(folder / file) for file in files},
        "block_sums": {file: block_sums(store.reshape(num_rows, -1)) for file, store in stores.items()},
    }


def _read_headers(
    entries: list[SourceEntry], pool: DecoderPool, left_out: list[LeftOut], progress: Progress
) -> list[_Kept]:
    found: list[_Kept | None] = [None] * len(entries)
    for done, (index, header) in enumerate(pool.probe_many([entry.path for entry in entries]), start=1):
        if isinstance(header, BadImage):
            left_out.append(_not_used(entries[index], str(header)))
        else:
            found[index] = _Kept(entries[index], header)
        progress(done, len(entries), "reading headers")
    return [kept for kept in found if kept]


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


def _require_disk(folder: Path, num_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < num_bytes + _SPARE_DISK_BYTES:
        raise UserError(
            f"The pixel store needs {num_bytes / 2**20:,.0f} MiB but {folder.parent} has {free / 2**20:,.0f} MiB left; "
            "free some space or choose a smaller store side."
        )


def _decode(
    kept: list[_Kept], pool: DecoderPool, path: Path, *, left_out: list[LeftOut], progress: Progress
) -> list[_Kept]:
    """Fill the pixel store row by row as images come in, then close the gaps that bad images left."""
    side = pool.side_px
    store = np.memmap(path, dtype=np.uint8, mode="w+", shape=(len(kept), side, side, 3))
    for done, (index, image) in enumerate(pool.decode_many([item.entry.path for item in kept]), start=1):
        if isinstance(image, BadImage):
            left_out.append(_not_used(kept[index].entry, str(image)))
        else:
            store[index] = image.pixels
            kept[index].image = dataclasses.replace(image, pixels=np.empty(0, np.uint8))
        progress(done, len(kept), "decoding images")
    rows = [row for row, item in enumerate(kept) if item.image]
    for target, row in enumerate(rows):
        if target != row:
            store[target] = store[row]
    store.flush()
    del store
    with path.open("rb+") as opened:
        opened.truncate(len(rows) * side * side * 3)
        os.fsync(opened.fileno())
    return [kept[row] for row in rows]


def _write_masks(kept: list[_Kept], pool: DecoderPool, target: Path, *, root: Path, progress: Progress) -> bool:
    """Write uint8 (N, S, S) in the order of `kept`, with holes where nothing is marked; False, and no file, for none.

    A mask that cannot be used costs only itself: `mask_note` of its row says why.
    """
    chosen = [(index, item) for index, item in enumerate(kept) if item.entry.mask_path is not None]
    side, num_written = pool.side_px, 0
    with target.open("wb") as opened:
        for done, (index, item) in enumerate(chosen, start=1):
            try:
                path, image = item.entry.mask_path, item.image
                if path is None or image is None or not path.resolve().is_relative_to(root):
                    raise BadImage("It lies outside the folder.")
                mask = pool.decode_mask(path, image)
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
    table = pd.DataFrame([_row(item, targets[item.entry.class_name], scan.folder) for item in kept])
    table.to_parquet(folder / TABLE_FILE, index=False)
    reasons = pd.DataFrame([(item.path, item.reason) for item in left_out], columns=["path", "reason"], dtype="str")
    reasons.sort_values("path", kind="stable").to_parquet(folder / LEFT_OUT_FILE, index=False)
    return table[["image_id", "target", "split", "group_id"]].to_numpy().tolist()


def _row(item: _Kept, target: int, root: Path) -> dict[str, Any]:
    entry, image, mask_path = item.entry, item.image, item.entry.mask_path
    assert image is not None  # noqa: S101  (rows without one were dropped)
    return {
        "image_id": item.header.sha256[:16],
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
        "num_bytes": item.header.num_bytes,
        **dict(zip(("crop_left", "crop_top", "crop_right", "crop_bottom"), image.box, strict=True)),
    }
