"""Rows of pixels on their way into a store, kept so that an import that was ended from outside goes on where it was.

A part is a file of rows with a journal beside it: one line for each block of rows, with the checksum of its pixels and
what is known of its files. A line is written after its pixels are safely on the disk, so that a row counts if its line
is whole; checksums find what a failing disk tore nevertheless. Rows stand in the order of the data set. Where that is
not the order of a kept part any more (files came, went or changed meanwhile), its rows are copied into a new part.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.checked_rows import ROWS_PER_BLOCK
from lib.data.images import Box, DecodedImage
from lib.errors import BadImage
from lib.progress import Progress, ignore_progress

Stamp = tuple[int, int, int]  # bytes, and when content and entry of a file were last changed, in nanoseconds


def stamp_of(path: Path) -> Stamp:
    """By which a file is known to be the same as before; zeros for one that is not there."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file whose row is stored, or which has none because it is `bad`; `key` says which of the source it is."""

    key: str
    stamp: Stamp
    sha256: str = ""
    width: int = 0
    height: int = 0
    box: Box = (0, 0, 0, 0)
    notices: tuple[str, ...] = ()
    laterality: str = ""
    bad: str = ""

    @classmethod
    def of(cls, key: str, stamp: Stamp, image: DecodedImage | BadImage) -> "StoredFile":
        """What is kept of a decoded file beside its pixels."""
        if isinstance(image, BadImage):
            return cls(key, stamp, bad=str(image))
        return cls(
            key, stamp, image.sha256, image.width, image.height, image.box, tuple(image.notices), image.laterality
        )

    @classmethod
    def read(cls, fields: Sequence[Any]) -> "StoredFile":
        """From the list of a journal's line."""
        values: list[Any] = [tuple(value) if isinstance(value, list) else value for value in fields]
        return cls(*values)


@dataclass(frozen=True)
class RowSums:
    """Of a whole store of rows: its SHA-256, and the checksum of each block (lib/checked_rows.py)."""

    sha256: str
    block_sums: list[int]


@dataclass
class _Block:
    """One line of a journal: files in order, and the first of their rows."""

    files: list[StoredFile]
    crc: int
    first_row: int
    end_offset: int  # of its line in the journal

    @cached_property
    def row_of(self) -> dict[tuple[str, str], int]:
        """The row within the block of each file that has one, by key and content."""
        return {(file.key, file.sha256): row for row, file in enumerate(file for file in self.files if not file.bad)}


class _Part:
    """What a part holds; raises ValueError or OSError where it is none of these settings."""

    def __init__(self, path: Path, settings: dict[str, Any], row_shape: tuple[int, ...]) -> None:
        self.path, self.journal = path, path.with_suffix(".journal")
        self.row_shape, self.row_bytes = row_shape, int(np.prod(row_shape))
        self.blocks: list[_Block] = []
        self._read_block: tuple[int, np.ndarray | None] = (-1, None)
        num_rows, size = 0, path.stat().st_size
        lines = _whole_lines(self.journal)
        if next(lines, (None, 0))[0] != settings:
            raise ValueError(f"{path} is not of {settings}")
        for content, end_offset in lines:
            block = _Block(
                [StoredFile.read(fields) for fields in content["files"]], content["crc"], num_rows, end_offset
            )
            num_rows += len(block.row_of)
            if num_rows * self.row_bytes > size:
                break
            self.blocks.append(block)

    @property
    def files(self) -> list[StoredFile]:
        """All files in order."""
        return [file for block in self.blocks for file in block.files]

    def rows_of(self, index: int) -> np.ndarray | None:
        """The rows of a block, uint8 (n, ...); None if they are not what was written."""
        if self._read_block[0] != index:
            block = self.blocks[index]
            with self.path.open("rb") as opened:
                opened.seek(block.first_row * self.row_bytes)
                data = opened.read(len(block.row_of) * self.row_bytes)
            is_whole = zlib.crc32(data) == block.crc
            rows = np.frombuffer(data, np.uint8).reshape(-1, *self.row_shape) if is_whole else None
            self._read_block = index, rows
        return self._read_block[1]

    @cached_property
    def _block_of(self) -> dict[tuple[str, str], int]:
        return {key: index for index, block in enumerate(self.blocks) for key in block.row_of}

    def row(self, file: StoredFile) -> np.ndarray | None:
        """The row of a file; None if it has none here, or a damaged one."""
        key = file.key, file.sha256
        if key not in self._block_of:
            return None
        index = self._block_of[key]
        rows = self.rows_of(index)
        return None if rows is None else rows[self.blocks[index].row_of[key]]

    def remove(self) -> None:
        """Delete both files."""
        self.path.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)


class StoredRows:
    """Writes the rows of an import in order, and knows those that earlier tries left in the folder.

    Call `begin` with the order, then `put` each file, then `finish`; leave it as a context manager at any time.

    Attributes:
        kept: files of earlier tries by their key, with rows or bad; the caller says in `begin` which are still right.
        num_rows: of what is in place and what was put.
        path: the file of the rows, from `begin` on.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], row_shape: tuple[int, ...]) -> None:
        self.folder, self._settings, self._row_shape = folder, json.loads(json.dumps(settings)), row_shape
        self.row_bytes = int(np.prod(row_shape))
        self._parts: list[_Part] = []
        for path in sorted(folder.glob("part-*.bin")):
            try:
                self._parts.append(_Part(path, self._settings, row_shape))
            except (OSError, ValueError, KeyError, TypeError):
                path.unlink(missing_ok=True)
                path.with_suffix(".journal").unlink(missing_ok=True)
        self.kept = {file.key: file for part in self._parts for file in part.files}
        self._order_in_place: list[str] = []
        self.path, self._is_open = folder, False
        self.num_rows = 0
        self._sha256, self._crcs = hashlib.sha256(), [0]
        self._files: list[StoredFile] = []  # of the block that is being written
        self._lines: list[str] = []  # of blocks that are written and not yet safe
        self._syncing: Future[None] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="sync")

    @property
    def num_in_place(self) -> int:
        """Files that need no `put`, the first of the order; known after `begin`."""
        return len(self._order_in_place)

    def __enter__(self) -> "StoredRows":
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        if not self._is_open:
            return
        with suppress(OSError, ValueError):  # finished; or a full disk, which was told already
            self._sync(self._lines)
        with suppress(OSError):
            self._pixels.close()
        os.close(self._journal)

    def drop_others(self) -> None:
        """After `begin`: let go of what earlier tries left, except what is in place."""
        for part in self._parts:
            part.remove()
        self._parts = []
        self.kept = {key: self.kept[key] for key in self._order_in_place}

    def begin(self, order: Sequence[str], *, progress: Progress = ignore_progress) -> None:
        """Open a part for the rows of these keys, in this order; `kept` names the files whose rows are still right."""
        blocks = self._leading_blocks(order, progress)
        last = self._parts[-1] if self._parts else None
        in_place = {file.key for block in blocks for file in block.files}
        is_useful_behind = last and any(
            file.key in self.kept and file.key not in in_place for file in last.files if not file.bad
        )
        if last is None or is_useful_behind:
            self._sha256, self._crcs, blocks = hashlib.sha256(), [0], []
            number = int(last.path.stem.removeprefix("part-")) + 1 if last else 0
            path = self.folder / f"part-{number:03d}.bin"
        else:
            path = self._parts.pop().path
        self._order_in_place = [file.key for block in blocks for file in block.files]
        self.num_rows = sum(len(block.row_of) for block in blocks)
        self.path, self._pixels = path, path.open("ab")
        self._pixels.truncate(self.num_rows * self.row_bytes)
        self._journal = os.open(path.with_suffix(".journal"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._is_open = True
        if blocks:
            os.truncate(self._journal, blocks[-1].end_offset)
        else:
            os.truncate(self._journal, 0)
            os.write(self._journal, _line(self._settings).encode())
            _sync_folder(self.folder)

    def _leading_blocks(self, order: Sequence[str], progress: Progress) -> list[_Block]:
        """The whole blocks of the last part that are the first ones of the order; their checksums are compared."""
        found: list[_Block] = []
        part, num_files = (self._parts[-1] if self._parts else None), 0
        for index, block in enumerate(part.blocks if part else ()):
            keys = [file.key for file in block.files]
            is_last = num_files + len(keys) == len(order)
            if list(order[num_files : num_files + len(keys)]) != keys or not all(key in self.kept for key in keys):
                break
            rows = part.rows_of(index) if part else None
            if rows is None or (len(rows) < ROWS_PER_BLOCK and not is_last):
                for file in block.files if rows is None else ():
                    self.kept.pop(file.key)
                break
            self._sha256.update(rows.data)
            self._crcs[-1] = block.crc
            self._crcs.append(0)
            num_files += len(keys)
            found.append(block)
            progress(num_files, len(order), "checking what an earlier import stored")
        return found

    def stored(self, key: str) -> tuple[StoredFile, np.ndarray | None] | None:
        """A file of an earlier part with its row, None for a bad one; None altogether where it must be decoded."""
        file = self.kept.get(key)
        if file is None:
            return None
        if file.bad:
            return file, None
        rows = (part.row(file) for part in reversed(self._parts))
        row = next((row for row in rows if row is not None), None)
        return None if row is None else (file, row)

    def put(self, file: StoredFile, row: np.ndarray | None) -> None:
        """Add the next file of the order, with its row where it is not bad."""
        self._files.append(file)
        if row is None:
            return
        data = np.ascontiguousarray(row).data.cast("B")
        self._pixels.write(data)
        self._sha256.update(data)
        self._crcs[-1] = zlib.crc32(data, self._crcs[-1])
        self.num_rows += 1
        if self.num_rows % ROWS_PER_BLOCK == 0:
            self._end_block()
            self._sync_soon()

    def finish(self) -> RowSums:
        """Make all safe; the file of the rows is whole then."""
        if self._files:
            self._end_block()
        if self._syncing:
            self._syncing.result()
        self._sync(self._lines)
        self._lines = []
        self._pixels.close()
        for part in self._parts:
            part.remove()
        return RowSums(self._sha256.hexdigest(), self._crcs[: -(-self.num_rows // ROWS_PER_BLOCK)])

    def _end_block(self) -> None:
        self._pixels.flush()
        self._lines.append(_line({"files": [astuple(file) for file in self._files], "crc": self._crcs[-1]}))
        self._files = []
        self._crcs.append(0)

    def _sync_soon(self) -> None:
        """In a thread of its own, since a disk takes its time; the next blocks wait until this one is safe."""
        if self._syncing is None or self._syncing.done():
            if self._syncing:
                self._syncing.result()  # raises what went wrong
            lines, self._lines = self._lines, []
            self._syncing = self._executor.submit(self._sync, lines)

    def _sync(self, lines: list[str]) -> None:
        os.fsync(self._pixels.fileno())
        os.write(self._journal, "".join(lines).encode())
        os.fsync(self._journal)


def _line(content: Any) -> str:
    text = json.dumps(content)
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _whole_lines(path: Path) -> Iterator[tuple[Any, int]]:
    """Each line's content and where the line ends, up to the first that is torn."""
    offset = 0
    with path.open("rb") as opened:
        for line in opened:
            offset += len(line)
            text = line[9:-1]
            if not line.endswith(b"\n") or line[:9] != b"%08x " % zlib.crc32(text):
                return
            yield json.loads(text), offset


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    os.fsync(opened)
    os.close(opened)


def kept_in(folder: Path) -> int:
    """How many files the parts in a folder hold, whatever their settings; the largest part counts."""
    counts = [0]
    for path in folder.glob("part-*.journal"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            lines = _whole_lines(path)
            next(lines, None)
            counts.append(sum(len(content["files"]) for content, _ in lines))
    return max(counts)
