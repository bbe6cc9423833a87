"""Draws folders of many distinct JPEG files for `tests.benchmarks.importing`: 200 pictures, each with other noise.

A picture is a sum of smooth fields from coarse to fine. Its files are smaller than a camera's (120 KB a megapixel), so
that decoding alone, by which the import is judged, is rather too quick than too slow.
"""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

NUM_PICTURES = 200
SMALL = (1152, 868)  # 1.0 megapixels
LARGE = (3648, 2742)  # 10.0 megapixels
_CLASSES = ("blossom", "gravel", "meadow", "shore")
_QUALITY = 85


def make_photographs(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Write `count` JPEG files of that size below `folder`, in four class folders, by two processes for each core.

    Files that are there already stay, so that a stopped call goes on.
    """
    for name in _CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    work = [(folder, picture, count, size) for picture in range(NUM_PICTURES)]
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        for done, _ in enumerate(pool.imap_unordered(_write_picture, work), start=1):
            if done % 20 == 0:
                print(f"  {folder.name}: {done} of {NUM_PICTURES} pictures", flush=True)
    return folder


def paths_of(folder: Path, count: int) -> list[Path]:
    """The first `count` files of a folder, of all pictures and classes in turn."""
    return [_path(folder, number) for number in range(count)]


def _path(folder: Path, number: int) -> Path:
    return folder / _CLASSES[number % len(_CLASSES)] / f"{number:06d}.jpg"


def _write_picture(work: tuple[Path, int, int, tuple[int, int]]) -> None:
    """All files of one picture: its numbers are `picture`, `picture + 200`, and so on."""
    folder, picture, count, size = work
    wanted = [number for number in range(picture, count, NUM_PICTURES) if not _path(folder, number).exists()]
    if not wanted:
        return
    os.nice(1)
    rng = np.random.default_rng(picture)
    base = np.clip(_draw(rng, size), 12, 243).astype(np.uint8)
    # One field of noise, shifted by another step for each file: drawing it anew would take longer than encoding.
    noise = np.clip(rng.normal(12, 4, base.size), 0, 24).astype(np.uint8)
    for number in wanted:
        shifted = np.roll(noise, 7919 * (number + 1)).reshape(base.shape)
        path = _path(folder, number)
        part = path.with_suffix(".part")
        Image.fromarray(base - 12 + shifted).save(part, "JPEG", quality=_QUALITY)
        part.rename(path)


def _draw(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Smooth random fields, float32 (H, W, 3), each half as strong as the twice coarser one."""
    picture = np.full((size[1], size[0], 3), 128, np.float32)
    for field, strength in _fields(rng):
        enlarged = [Image.fromarray(field[..., channel]).resize(size, Image.Resampling.BICUBIC) for channel in range(3)]
        picture += strength * np.stack([np.asarray(one) for one in enlarged], axis=-1)
    return picture


def _fields(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, float]]:
    for exponent in range(1, 9):
        side = 2**exponent
        grey = rng.normal(0, 1, (side, side, 1))
        yield (grey + 0.4 * rng.normal(0, 1, (side, side, 3))).astype(np.float32), 48 / 1.6 ** (exponent - 1)
