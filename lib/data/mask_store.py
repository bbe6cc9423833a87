"""Writes the masks of a data set beside its pixels, cut in the same way; a file with holes where nothing is marked."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.data.decoder_pool import DecoderPool
from lib.data.images import DecodedImage
from lib.data.sources.folder_walk import SourceEntry
from lib.errors import BadImage
from lib.progress import Progress


class Masked(Protocol):
    """A row of the store that may have a mask."""

    entry: SourceEntry
    image: DecodedImage | None
    mask_note: str


def write_masks(rows: Sequence[Masked], pool: DecoderPool, path: Path, *, root: Path, progress: Progress) -> bool:
    """Write uint8 (N, S, S) in the order of `rows`; False, and no file, if no row has a mask.

    A mask that cannot be used costs only itself: `mask_note` of its row says why.
    """
    chosen = [index for index, row in enumerate(rows) if row.entry.mask_path is not None]
    if not chosen:
        return False
    side = pool.side_px
    num_written = 0
    with path.open("wb") as opened:
        for done, index in enumerate(chosen, start=1):
            try:
                mask = _read(rows[index], pool, root)
            except BadImage as error:
                rows[index].mask_note = f"mask not used: {error}"
                continue
            num_written += 1
            marked = np.flatnonzero(mask.any(axis=1))
            if len(marked):
                opened.seek((index * side + int(marked[0])) * side)
                opened.write(np.ascontiguousarray(mask[marked[0] : marked[-1] + 1]).data)
            progress(done, len(chosen), "reading masks")
        opened.truncate(len(rows) * side * side)
        os.fsync(opened.fileno())
    if not num_written:
        path.unlink()
    return num_written > 0


def _read(row: Masked, pool: DecoderPool, root: Path) -> np.ndarray:
    path = row.entry.mask_path
    if path is None or row.image is None or not path.resolve().is_relative_to(root):
        raise BadImage("It lies outside the folder.")
    return pool.decode_mask(path, row.image)
