"""Decodes a scanned folder once into table and pixel store, in a folder that appears whole or not at all."""

import dataclasses
import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.atomic import sha256_of_file, write_json
from lib.checked_rows import block_sums
from lib.data.dataset import DESCRIPTION_FILE, LEFT_OUT_FILE, MASKS_FILE, PIXELS_FILE, STORED_FILES, TABLE_FILE, Dataset
from lib.data.decoder_pool import DecoderPool
from lib.data.images import DecodedImage, ImageHeader
from lib.data.import_options import MIN_STORE_SIDE_PX, ImportOptions
from lib.data.kept_images import drop_copies, left_out_entry, require_classes
from lib.data.mask_store import write_masks
from lib.data.sources.folder import FolderScan
from lib.data.sources.folder_walk import LeftOut, SourceEntry
from lib.data.sources.layout import shown
from lib.data.value_scale import common_scale
from lib.data.versions import described
from lib.errors import BadImage, UserError
from lib.progress import Progress, ignore_progress

_SPARE_DISK_BYTES = 200 * 2**20


@dataclass
class _Kept:
    """One file on its way into the store."""

    entry: SourceEntry
    header: ImageHeader
    image: DecodedImage | None = None  # without its pixels, which are in the store
    mask_note: str = ""  # why its mask is not used


def num_decoders(num_files: int) -> int:
    """How many decoder processes an import uses: the cores at hand, at most eight, and one for each hundred files."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    return max(1, min(8, cores, num_files // 100))  # to start one costs as much as to decode about a hundred files


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
        kept = drop_copies(_read_headers(scan.entries, pool, left_out, progress), left_out)
        require_classes(scan.entries, kept, left_out)
        side = _store_side(kept, options.store_side_px)
        num_masks = sum(item.entry.mask_path is not None for item in kept)
        _require_disk(folder, (3 * len(kept) + num_masks) * side * side)
        pool.side_px, pool.value_scale = side, common_scale(one.header.values for one in kept if one.header.values)
        kept = _decode(kept, pool, folder / PIXELS_FILE, left_out=left_out, progress=progress)
        has_masks = write_masks(kept, pool, folder / MASKS_FILE, root=scan.folder, progress=progress)
    require_classes(scan.entries, kept, left_out)
    classes = options.classes(scan.class_names)
    scale = pool.value_scale
    spec = options.spec(
        classes, name=name, store_side_px=side, value_scale=scale.to_dict(), split_caveat=scan.split_caveat
    )
    seen = _write_tables(kept, left_out, folder, scan)
    files = (*STORED_FILES, MASKS_FILE) if has_masks else STORED_FILES
    checksums = {file: sha256_of_file(folder / file) for file in files}
    seen += [scan.class_names, side, options.crop_policy, checksums[PIXELS_FILE]]
    content = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]
    description = {
        **described(content, scan.class_names, classes, spec),
        "num_images": len(kept),
        "num_left_out": len(left_out),
        "source": source,
        "listing": listing,
        "options": options.to_dict(),
        "notices": [*scan.notices, *([scale.sentence] if scale.num_images else [])],
        "created_s": time.time(),
        "has_checked_splits": check_splits,
        "num_bytes": {file: (folder / file).stat().st_size for file in files},
        "sha256": checksums,
        "block_sums": {
            file: _block_sums(folder / file, len(kept)) for file in files if file in (PIXELS_FILE, MASKS_FILE)
        },
    }
    write_json(folder / DESCRIPTION_FILE, description)
    if check_splits:
        Dataset(folder).split(0)


def _read_headers(
    entries: list[SourceEntry], pool: DecoderPool, left_out: list[LeftOut], progress: Progress
) -> list[_Kept]:
    found: list[_Kept | None] = [None] * len(entries)
    for done, (index, header) in enumerate(pool.probe_many([entry.path for entry in entries]), start=1):
        if isinstance(header, BadImage):
            left_out.append(left_out_entry(entries[index], str(header)))
        else:
            found[index] = _Kept(entries[index], header)
        progress(done, len(entries), "reading headers")
    return [kept for kept in found if kept]


def _store_side(kept: list[_Kept], asked: int) -> int:
    """No larger than the largest image's short side: enlarging all of them would only cost disk and time."""
    largest = max(min(item.header.width, item.header.height) for item in kept)
    return max(MIN_STORE_SIDE_PX, min(asked, largest))


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
            left_out.append(left_out_entry(kept[index].entry, str(image)))
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


def _block_sums(path: Path, num_rows: int) -> list[int]:
    """The checksums by which readers notice a damaged block of rows."""
    return block_sums(np.memmap(path, dtype=np.uint8, mode="r").reshape(num_rows, -1))


def _write_tables(kept: list[_Kept], left_out: list[LeftOut], folder: Path, scan: FolderScan) -> list[Any]:
    """Write both tables; returns what of them a training sees, for the version."""
    import pandas as pd

    root, targets = scan.folder, {name: target for target, name in enumerate(scan.class_names)}
    table = pd.DataFrame([_row(item, targets[item.entry.class_name], root) for item in kept])
    table.to_parquet(folder / TABLE_FILE, index=False)
    reasons = pd.DataFrame([(item.path, item.reason) for item in left_out], columns=["path", "reason"], dtype="str")
    reasons.sort_values("path", kind="stable").to_parquet(folder / LEFT_OUT_FILE, index=False)
    return table[["image_id", "target", "split", "group_id"]].to_numpy().tolist()


def _row(item: _Kept, target: int, root: Path) -> dict[str, Any]:
    image, mask_path = item.image, item.entry.mask_path
    assert image is not None  # noqa: S101  (rows without one were dropped)
    crop = dict(zip(("crop_left", "crop_top", "crop_right", "crop_bottom"), image.box, strict=True))
    return {
        "image_id": item.header.sha256[:16],
        "path": item.entry.relative,
        "source_path": os.fsencode(item.entry.key),
        "target": target,
        "split": item.entry.split,
        "group_id": item.entry.group_id,
        "laterality": item.entry.laterality,
        "flags": "; ".join(part for part in (item.entry.flags, *image.notices, item.mask_note) if part),
        "mask_path": "" if mask_path is None or item.mask_note else shown(mask_path.relative_to(root)),
        "width": image.width,
        "height": image.height,
        "num_bytes": item.header.num_bytes,
        **crop,
    }
