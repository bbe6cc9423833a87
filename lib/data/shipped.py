"""A data set that comes with the program: pictures, masks, and the tables of their import; the store is made here.

It is what an import of the same folder would give, in a second instead of ten: nothing is searched for, since the
tables say which square of each picture is kept, and pictures whose checksums were compared are decoded in this process.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lib.atomic import read_json, sha256_of_file, write_json
from lib.checked_rows import block_sums
from lib.data.catalog import delete_dataset, library_lock
from lib.data.dataset import DESCRIPTION_FILE, LEFT_OUT_FILE, MASKS_FILE, PIXELS_FILE, TABLE_FILE, Dataset
from lib.data.images import decode_bytes
from lib.data.masks import decode_mask
from lib.data.staging import staging_folder
from lib.data.versions import content_version
from lib.errors import UserError
from lib.progress import Progress, ignore_progress
from lib.settings import datasets_dir

PICTURES_FOLDER = "pictures"
_NUM_THREADS = 4
_TABLES = (TABLE_FILE, LEFT_OUT_FILE)


def ship_dataset(dataset: Dataset, folder: Path) -> None:
    """Keep the tables of a data set imported from `folder`/pictures, so that `install_dataset` makes it anew."""
    for name in _TABLES:
        shutil.copyfile(dataset.folder / name, folder / name)
    write_json(folder / DESCRIPTION_FILE, {**dataset.description, "source": ""})


def install_dataset(folder: Path, *, progress: Progress = ignore_progress) -> Dataset:
    """Put a shipped data set into the library; one of an earlier version of the program goes into the trash.

    Args:
        folder: what `ship_dataset` wrote, with the pictures.
        progress: hears pictures done and their number.

    Raises:
        UserError: somebody's own data set has its name, or the disk is full.
    """
    shipped = read_json(folder / DESCRIPTION_FILE)
    name = str(shipped["spec"]["name"])
    with library_lock(name):
        present = datasets_dir() / name
        if present.exists():
            found = Dataset(present)
            if content_version(found.description) == content_version(shipped):
                return found
            if not found.description.get("is_shipped"):
                raise UserError(f"The library has another data set named {name!r}; delete it, then install the demo.")
            delete_dataset(name)
        with staging_folder() as staging:
            target = staging / name
            target.mkdir()
            for table in _TABLES:
                shutil.copyfile(folder / table, target / table)
            _write_store(folder / PICTURES_FOLDER, target, shipped, progress)
            target.replace(present)
    return Dataset(present)


def _write_store(pictures: Path, target: Path, shipped: dict[str, Any], progress: Progress) -> None:
    """Pixels, masks and the description, whose checksums are of what was decoded here."""
    import pandas as pd

    table = pd.read_parquet(target / TABLE_FILE)
    side, policy = int(shipped["spec"]["store_side_px"]), str(shipped["spec"]["crop_policy"])
    pixels = np.memmap(target / PIXELS_FILE, dtype=np.uint8, mode="w+", shape=(len(table), side, side, 3))
    masks = np.memmap(target / MASKS_FILE, dtype=np.uint8, mode="w+", shape=(len(table), side, side))

    def decode(row: Any) -> None:
        box = (row.crop_left, row.crop_top, row.crop_right, row.crop_bottom)
        data = (pictures / os.fsdecode(row.source_path)).read_bytes()
        pixels[row.Index] = decode_bytes(data, side_px=side, crop_policy=policy, box=box).pixels
        if row.mask_path:
            size = (row.width, row.height)
            masks[row.Index] = decode_mask(
                (pictures / row.mask_path).read_bytes(), image_size=size, box=box, side_px=side
            )

    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        for done, _ in enumerate(threads.map(decode, table.itertuples()), start=1):
            progress(done, len(table), "unpacking pictures")
    sums = {PIXELS_FILE: block_sums(pixels), MASKS_FILE: block_sums(masks)}
    pixels.flush()
    masks.flush()
    files = (*_TABLES, PIXELS_FILE, MASKS_FILE)
    write_json(
        target / DESCRIPTION_FILE,
        {
            **shipped,
            "source": str(pictures),
            "is_shipped": True,
            "num_bytes": {name: (target / name).stat().st_size for name in files},
            "sha256": {name: sha256_of_file(target / name) for name in files},
            "block_sums": sums,
        },
    )
