"""Images that are published as arrays: the ones that are imported are written as PNG files first.

So one path leads into the store, and every image has an original. Arrays are read a piece at a time, since they may be
larger than memory: the classes of `medmnist` load 13.5 GB for PathMNIST at 224 px.
"""

import math
import os
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from lib.data.sources.files import SourceEntry
from lib.progress import Progress

# part of the set -> its images (H, W, 3) uint8, one after the other; the file of number i is PART/00000i.png
ArrayReader = Callable[[str], Iterator[np.ndarray]]
_COMPRESSION = 1  # of 9: half of the time for a tenth more bytes
_PIECE = 256  # images in memory at once


def image_file(folder: Path, part: str, number: int) -> Path:
    """Where image `number` of a part is written."""
    return folder / part / f"{number:06d}.png"


def write_images(entries: Sequence[SourceEntry], read: ArrayReader, progress: Progress) -> None:
    """Write the files of those entries that are not there, each whole or not at all; `progress` counts images."""
    wanted: dict[str, dict[int, Path]] = defaultdict(dict)
    for entry in entries:
        if not entry.path.is_file():
            wanted[entry.path.parent.name][int(entry.path.stem)] = entry.path
    total, done = sum(map(len, wanted.values())), 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for part, paths in wanted.items():
            next(iter(paths.values())).parent.mkdir(parents=True, exist_ok=True)
            for piece in _pieces(read(part), paths):
                for _ in threads.map(_write, *zip(*piece, strict=True)):
                    done += 1
                    progress(done, total, "writing images")


def npz_rows(path: Path, member: str) -> Iterator[np.ndarray]:
    """The rows of one array of an .npz file, one after the other."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as opened:
        major, _ = np.lib.format.read_magic(opened)
        read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(opened)
        num_bytes = math.prod(shape[1:]) * dtype.itemsize
        for _ in range(shape[0]):
            yield np.frombuffer(opened.read(num_bytes), dtype).reshape(shape[1:])


def _pieces(rows: Iterator[np.ndarray], paths: dict[int, Path]) -> Iterator[list[tuple[np.ndarray, Path]]]:
    piece: list[tuple[np.ndarray, Path]] = []
    last = max(paths)
    for number, row in enumerate(rows):
        if number in paths:
            piece.append((row, paths[number]))
        if len(piece) == _PIECE or (number == last and piece):
            yield piece
            piece = []
        if number == last:
            return


def _write(pixels: np.ndarray, path: Path) -> None:
    half = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.half")
    Image.fromarray(pixels).save(half, format="PNG", compress_level=_COMPRESSION)
    half.replace(path)
