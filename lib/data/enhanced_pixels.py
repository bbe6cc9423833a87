"""Preprocessed pixels of a whole data set: made once for a version and a chain of steps, then mapped like the store."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.checked_rows import Rows
from lib.data.enhancement import EnhancementChain, fit_chain
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.errors import Stopped
from lib.progress import Progress, ignore_progress

PHASE = "Preprocessing images"
_BATCH = 16


@dataclass(frozen=True)
class EnhancedImages:
    """What reads images sees this in place of the data set: `pixels` (N, S, S, 3), `version` and `table`.

    `is_made` says whether the pixels are those after the chain.
    """

    pixels: Rows
    version: str
    table: Any
    chain: EnhancementChain
    is_made: bool = True


def enhanced_images(
    dataset: Any,
    chain: EnhancementChain,
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> EnhancedImages:
    """The images of a data set after a chain of steps; its own pixels where the chain is empty.

    Raises:
        Stopped: `should_stop()` turned true; nothing is left behind.
        UserError: the disk has not enough room.
    """
    version = enhanced_version(dataset, chain)
    if not chain.names:
        return EnhancedImages(dataset.pixels, version, dataset.table, chain)
    num_images, path = len(dataset.pixels), _entry(version)

    def remake(rows: range) -> np.ndarray:
        return chain(dataset.pixels[rows.start : rows.stop])

    pixels = read_entry(path, num_images, is_mapped=True, remake=remake)
    if pixels is None:
        progress(0, num_images, PHASE)
        for done in write_entry(path, _batches(dataset.pixels, chain, should_stop), num_images):
            progress(done, num_images, PHASE)
        pixels = read_entry(path, num_images, is_mapped=True, remake=remake)
    if pixels is None:
        raise RuntimeError(f"The images just written to {path} cannot be read back.")
    return EnhancedImages(pixels, version, dataset.table, chain)


def enhanced_version(dataset: Any, chain: EnhancementChain) -> str:
    """The name of a data set's images after a chain, for caches; the data set's own where the chain is empty."""
    version = str(getattr(dataset, "content_version", dataset.version))  # a subset has fewer rows of the same version
    return f"{version}/{chain.key}" if chain.names else version


def named_images(dataset: Any, chain: EnhancementChain) -> EnhancedImages:
    """A data set's images under the name that they have after a chain, to look up what is kept of them.

    Only their number is that of the images; pixels of a chain that is not empty are not made.
    """
    version = enhanced_version(dataset, chain)
    return EnhancedImages(dataset.pixels, version, dataset.table, chain, is_made=not chain.names)


def is_enhanced(dataset: Any, chain: EnhancementChain) -> bool:
    """Whether the images after a chain are in the cache, or none need be."""
    path = _entry(enhanced_version(dataset, chain))
    return not chain.names or read_entry(path, len(dataset.pixels), is_mapped=True) is not None


def fitted_images(
    dataset: Any,
    steps: str,
    train_rows: np.ndarray,
    *,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> EnhancedImages:
    """The images after the steps of a config, whose mean colour is that of the training images `train_rows` alone."""
    chain = fit_chain(steps, dataset.pixels, train_rows)
    return enhanced_images(dataset, chain, progress=progress, should_stop=should_stop)


def _entry(version: str) -> Path:
    return entry_path("enhanced", hashlib.sha256(version.encode()).hexdigest()[:32])


def _batches(pixels: np.ndarray, chain: EnhancementChain, should_stop: Callable[[], bool]) -> Iterator[np.ndarray]:
    for start in range(0, len(pixels), _BATCH):
        if should_stop():
            raise Stopped("Stopped while preprocessing images.")
        yield chain(pixels[start : start + _BATCH])
