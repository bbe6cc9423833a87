"""Rows of a file that is mapped into memory, each block compared with its checksum when this process first reads it.

Disks, cables and memory flip bits now and then, and nobody looks into a store of ten gigabytes. Checking all of it at
each start would cost minutes; a block of 64 rows is checked (CRC-32, 3 GB a second) where it is read anyway.
"""

import logging
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from lib.errors import UserError

ROWS_PER_BLOCK = 64
_LOCK_FILE = ".repair.lock"
_logger = logging.getLogger(__name__)

# Makes rows anew, as they were written, or nearly so; raises UserError if they cannot be made.
Remake = Callable[[range], np.ndarray]


class BlockSums:
    """The checksums of rows that come in batches of any size."""

    def __init__(self) -> None:
        self.sums: list[int] = []
        self._num_rows = 0

    def add(self, rows: np.ndarray) -> None:
        """Take the next rows."""
        while len(rows):
            part = rows[: ROWS_PER_BLOCK - self._num_rows % ROWS_PER_BLOCK]
            if self._num_rows % ROWS_PER_BLOCK == 0:
                self.sums.append(0)
            self.sums[-1] = zlib.crc32(_bytes_of(part), self.sums[-1])
            self._num_rows += len(part)
            rows = rows[len(part) :]


def block_sums(rows: np.ndarray) -> list[int]:
    """The checksum of each block of rows (N, ...)."""
    found = BlockSums()
    found.add(rows)
    return found.sums


class CheckedRows:
    """A read-only array (N, ...) whose blocks are checked when they are first read; may be shared by threads.

    Rows are taken as of an array: one, a slice, an array of rows or of truth values, perhaps with further indices
    behind. What comes back is an array as plain indexing gives it. A block that is not as it was written is made anew,
    in memory and in the file, if that is possible, and the log says so.
    """

    def __init__(
        self,
        rows: np.ndarray,
        sums: Sequence[int] | None,  # one checksum a block; None checks nothing (files of before there were any)
        *,
        name: str,  # for errors
        path: Path,  # the file behind `rows`, whose bytes begin at `offset`
        offset: int = 0,
        remake: Remake | None = None,  # makes rows anew; without it a damaged block is an error
        # The checksums as the file holds them now: another process may have made the block anew.
        reread: Callable[[], Sequence[int] | None] = lambda: None,
        # Keeps the checksum of a block that could not be made anew to the last bit (features).
        keep_sum: Callable[[int, int], None] | None = None,
    ) -> None:
        self._rows, self._name, self._path, self._offset = rows, name, path, offset
        self.shape, self.ndim, self.dtype, self.nbytes = rows.shape, rows.ndim, rows.dtype, rows.nbytes
        self._sums = None if sums is None else list(sums)
        if sums is not None and len(sums) != -(-len(rows) // ROWS_PER_BLOCK):
            raise UserError(f"The checksums of {name} ({path}) do not belong to it: {len(sums)} for {len(rows)} rows.")
        self._remake, self._reread, self._keep_sum = remake, reread, keep_sum
        self._is_checked = np.full(-(-len(rows) // ROWS_PER_BLOCK), sums is None)
        self._remade: dict[int, np.ndarray] = {}  # where the file cannot be written
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"CheckedRows({self._name}, {self.shape}, {self.dtype}, {int(self._is_checked.sum())} blocks checked)"

    def __getitem__(self, key: Any) -> np.ndarray:
        """Rows as plain indexing gives them; raises UserError if a block is damaged and cannot be made anew."""
        first, *rest = key if isinstance(key, tuple) and key else (key,)
        self._check(self._blocks(first))
        if self._remade:
            return self._patched(first, tuple(rest))
        found: np.ndarray = np.asarray(self._rows)[key]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001  (NumPy's protocol)
        whole = self[:]
        return np.array(whole, dtype=dtype) if copy else whole.astype(dtype or whole.dtype, copy=False)

    def _blocks(self, first: Any) -> np.ndarray:
        """The blocks that an index into the rows touches."""
        if isinstance(first, int | np.integer):
            row = first + len(self) if first < 0 else first
            return np.array([row // ROWS_PER_BLOCK] if 0 <= row < len(self) else [], dtype=np.int64)
        if first is Ellipsis or first is None or self._is_checked.all():
            return np.flatnonzero(~self._is_checked)
        rows = np.arange(len(self))[first] if isinstance(first, slice) else np.asarray(first)
        rows = np.flatnonzero(rows) if rows.dtype == bool else np.where(rows < 0, rows + len(self), rows)
        # Rows that do not exist are for NumPy to complain of.
        return np.unique(rows[(rows >= 0) & (rows < len(self))].astype(np.int64) // ROWS_PER_BLOCK)

    def _check(self, blocks: np.ndarray) -> None:
        for block in blocks[~self._is_checked[blocks]].tolist():
            rows = range(block * ROWS_PER_BLOCK, min((block + 1) * ROWS_PER_BLOCK, len(self)))
            if not self._is_whole(block, rows):
                with self._lock:
                    if not self._is_checked[block]:
                        self._mend(block, rows)
            self._is_checked[block] = True

    def _is_whole(self, block: int, rows: range) -> bool:
        return self._sums is not None and self._sums[block] == zlib.crc32(_bytes_of(self._rows[rows.start : rows.stop]))

    def _mend(self, block: int, rows: range) -> None:
        """Make a damaged block anew, one process after the other."""
        what = f"rows {rows.start} to {rows.stop - 1} of {self._name} ({self._path})"
        if self._remake is None:
            raise UserError(f"A checksum is wrong: {what} are damaged on the disk.")
        try:
            with FileLock(self._path.parent / _LOCK_FILE):
                self._sums = list(self._reread() or self._sums or ())
                if self._is_whole(block, rows):  # another process was quicker
                    return
                self._write(block, rows, self._made(block, rows, what))
        except OSError as error:  # the block is right in this process; a disk that cannot be written is told by others
            self._remade[block] = self._made(block, rows, what)
            _logger.warning("A checksum is wrong: %s were made anew, but not on the disk (%s).", what, error)
        else:
            _logger.warning("A checksum is wrong: %s were damaged on the disk and have been made anew.", what)

    def _made(self, block: int, rows: range, what: str) -> np.ndarray:
        assert self._remake is not None  # noqa: S101  (`_mend` asks)
        try:
            made = np.ascontiguousarray(self._remake(rows), dtype=self.dtype)
        except UserError as error:
            raise UserError(f"A checksum is wrong: {what} are damaged on the disk. {error}") from None
        is_same = self._sums is not None and zlib.crc32(_bytes_of(made)) == self._sums[block]
        if made.shape != (len(rows), *self.shape[1:]) or (not is_same and self._keep_sum is None):
            raise UserError(
                f"A checksum is wrong: {what} are damaged on the disk, and cannot be made anew as they were."
            )
        return made

    def _write(self, block: int, rows: range, made: np.ndarray) -> None:
        row_bytes = self.nbytes // len(self)
        with self._path.open("rb+") as opened:
            opened.seek(self._offset + rows.start * row_bytes)
            opened.write(_bytes_of(made))
        sum_now = zlib.crc32(_bytes_of(made))
        if self._sums is not None and sum_now != self._sums[block] and self._keep_sum is not None:
            self._keep_sum(block, sum_now)
            self._sums[block] = sum_now

    def _patched(self, first: Any, rest: tuple[Any, ...]) -> np.ndarray:
        """As `__getitem__`, with the rows that could be made anew in memory only."""
        if first is None or first is Ellipsis:
            return self._patched(slice(None), ())[(first, *rest)]
        rows = np.asarray(np.arange(len(self))[first])
        found = np.array(np.asarray(self._rows)[rows])
        for block, made in self._remade.items():
            inside = rows // ROWS_PER_BLOCK == block
            found[inside] = made[rows[inside] % ROWS_PER_BLOCK]
        return found[(*(slice(None) for _ in rows.shape), *rest)] if rest else found


Rows = np.ndarray | CheckedRows


def _bytes_of(rows: np.ndarray) -> memoryview:
    return np.ascontiguousarray(rows).data.cast("B")
