"""Writing an entry of the cache batch by batch, after room was made for it."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from lib.atomic import atomic_path
from lib.checked_rows import BlockSums
from lib.disk_cache.entries import trailer
from lib.disk_cache.room import check_disk, make_room


def write_entry(path: Path, batches: Iterable[np.ndarray], num_rows: int, *, copies_left: int = 1) -> Iterator[int]:
    """Fill an entry batch by batch, yielding the rows done; it appears under its name only when it is whole.

    A checksum for each block of rows stands behind them.

    The first batch tells the size: then room is made, and the disk is asked. `copies_left` counts the entries of the
    same size that are to follow, this one included.

    Raises:
        DiskFull: the disk has not enough room.
    """
    with atomic_path(path) as temporary:
        target, done, sums = None, 0, BlockSums()
        for batch in batches:
            if target is None:
                num_bytes = batch[:1].nbytes * num_rows
                make_room(num_bytes)
                check_disk(num_bytes * copies_left)
                shape = (num_rows, *batch.shape[1:])
                target = np.lib.format.open_memmap(temporary, mode="w+", dtype=batch.dtype, shape=shape)
                _take_room(temporary)
            target[done : done + len(batch)] = batch
            sums.add(batch)
            done += len(batch)
            yield done
        if target is not None:
            target.flush()
            with temporary.open("ab") as opened:
                opened.write(trailer(sums.sums))


def _take_room(path: Path) -> None:
    """Have the disk set all blocks of a file aside; raises OSError (ENOSPC) if there are too few.

    Without it a full disk shows when a page of the mapped file is written, as a signal (SIGBUS) that ends the process.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("rb+") as opened:
            os.posix_fallocate(opened.fileno(), 0, path.stat().st_size)
