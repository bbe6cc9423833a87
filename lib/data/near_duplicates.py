"""Finds photographs that are there twice, in one set or two, though their files differ: re-encoded, resized, mirrored.

An image is described by the fine structure of its grey picture at 48 x 48: what is left when a blurred picture is taken
away, divided by how strong it is around each point, so that one strong edge (the border of a retina) does not outweigh
everything else. Light, contrast and compression hardly change that, while two photographs that look alike as a whole
share little of it. Two images are near duplicates where the cosine of their descriptions, in any of four mirrorings, is
at least `LEAST_COSINE`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from lib.progress import Progress, ignore_progress

# Measured on 1,398 images: two different photographs had 0.34 at most (one pair of cats with 0.998 is a copy), two
# generated retinas, which share one round border, 0.73; 300 copies at JPEG quality 30 had 0.82 and more, 300 that were
# enlarged from 48 px 0.90 and more.
LEAST_COSINE = 0.8
_SIDE, _BLUR = 48, 1.5
_LEAST_SPREAD = 0.5  # grey levels: below that an image is flat, and its structure is noise of the encoder
_DAMPING = 2.0  # grey levels
_AT_A_TIME, _KNOWN_AT_A_TIME = 256, 4096


def describe_structure(pixels: np.ndarray) -> np.ndarray:
    """Unit vectors float16 (N, 2304) of squares uint8 (N, S, S, 3), N at least 1; zeros for a flat image."""
    from scipy.ndimage import gaussian_filter

    grey = np.stack([_small_grey(one) for one in pixels])
    fine = grey - gaussian_filter(grey, (0, _BLUR, _BLUR), mode="nearest")
    strength = np.sqrt(gaussian_filter(fine**2, (0, _BLUR, _BLUR), mode="nearest"))
    is_flat = fine.std((1, 2)) < _LEAST_SPREAD
    flat = (fine / (strength + _DAMPING)).reshape(len(fine), -1)
    flat -= flat.mean(1, keepdims=True)
    flat[is_flat] = 0.0
    return (flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)).astype(np.float16)


def near_duplicates(
    pixels: Any,
    rows: Sequence[int] | np.ndarray,
    known: Any,
    known_rows: Sequence[int] | np.ndarray,
    *,
    progress: Progress = ignore_progress,
) -> np.ndarray:
    """The row of `known` that an image is a near duplicate of, for each of `rows`; -1 where it is none: int64 (n,).

    Args:
        pixels: squares uint8 (N, S, S, 3) of a pixel store, read block by block.
        rows: those that are looked at (n,).
        known: squares of another store, whose side may differ.
        known_rows: those that are looked for (m,).
        progress: called block by block.
    """
    rows, known_rows = np.asarray(rows, dtype=np.int64), np.asarray(known_rows, dtype=np.int64)
    total = len(rows) + len(known_rows)
    if not len(rows) or not len(known_rows):
        return np.full(len(rows), -1, dtype=np.int64)
    looked_for = np.concatenate([part for _, part in _described(known, known_rows, 0, total, progress)])
    found = np.full(len(rows), -1, dtype=np.int64)
    for start, part in _described(pixels, rows, len(known_rows), total, progress):
        best, place = _nearest(part, looked_for)
        is_near = best >= LEAST_COSINE
        found[start : start + len(part)][is_near] = known_rows[place[is_near]]
    return found


def _nearest(part: np.ndarray, looked_for: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest cosine (n,) of descriptions (n, D), in any mirroring, with (m, D), and where that one stands (n,)."""
    pictures = part.astype(np.float32).reshape(-1, _SIDE, _SIDE)
    mirrored = (pictures, pictures[:, :, ::-1], pictures[:, ::-1], pictures[:, ::-1, ::-1])
    best, place = np.full(len(part), -1.0, dtype=np.float32), np.zeros(len(part), dtype=np.int64)
    for start in range(0, len(looked_for), _KNOWN_AT_A_TIME):
        block = looked_for[start : start + _KNOWN_AT_A_TIME].astype(np.float32).T
        for turned in mirrored:
            cosines = turned.reshape(len(part), -1) @ block
            nearest = cosines.argmax(1)
            value = cosines[np.arange(len(part)), nearest]
            is_nearer = value > best
            best[is_nearer], place[is_nearer] = value[is_nearer], start + nearest[is_nearer]
    return best, place


def _described(
    pixels: Any, rows: np.ndarray, before: int, total: int, progress: Progress
) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(rows), _AT_A_TIME):
        progress(before + start, total, "Looking for near duplicates")
        yield start, describe_structure(np.asarray(pixels[rows[start : start + _AT_A_TIME]]))


def _small_grey(pixels: np.ndarray) -> np.ndarray:
    grey = Image.fromarray(pixels).convert("L")
    return np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Copies:
    """Which rows of a set are near duplicates of each other.

    Attributes:
        number: (n,) int64: rows of one number are copies, directly or by way of others; -1 for one that has none.
        nearest: (n,) int64: the row that an image is most alike among its copies; -1 where there is none.
        cosine: (n,) float32: how alike that one is; 0 where there is none.
        is_mirrored: (n,) bool: whether that one is mirrored.
    """

    number: np.ndarray
    nearest: np.ndarray
    cosine: np.ndarray
    is_mirrored: np.ndarray

    @property
    def groups(self) -> list[np.ndarray]:
        """The rows of each set of copies."""
        rows = np.flatnonzero(self.number >= 0)
        order = rows[np.argsort(self.number[rows], kind="stable")]
        return np.split(order, np.flatnonzero(np.diff(self.number[order])) + 1) if len(order) else []


def find_copies(pixels: Any, *, progress: Progress = ignore_progress) -> Copies:
    """The near duplicates within a set of squares uint8 (N, S, S, 3), which is read block by block.

    Every pair is compared: twice the images take four times the time. Beside the descriptions (4.5 KiB an image) a
    fixed amount of memory is used.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    num = len(pixels)
    described = np.zeros((num, _SIDE * _SIDE), dtype=np.float16)
    for start, part in _described(pixels, np.arange(num), 0, 2 * num, progress):
        described[start : start + len(part)] = part
    found = _Nearest(num)
    links = np.zeros((2, 0), dtype=np.int64)
    for start in range(0, num, _AT_A_TIME):
        progress(num + start, 2 * num, "Comparing images")
        links = np.concatenate([links, *found.compare(described, start)], axis=1)
        if links.shape[1] > 4 * num:  # many frames of one film: only what hangs together is kept
            _, number = connected_components(coo_array((np.ones(links.shape[1]), links), shape=(num, num)))
            links = np.stack([np.unique(number, return_index=True)[1][number], np.arange(num)])
            links = links[:, links[0] != links[1]]
    _, number = connected_components(coo_array((np.ones(links.shape[1]), links), shape=(num, num)))
    number = np.where(found.nearest >= 0, number, -1).astype(np.int64)
    return Copies(number, found.nearest, found.cosine, found.is_mirrored)


class _Nearest:
    """The most alike of all images seen so far, for each image."""

    def __init__(self, num: int) -> None:
        self.nearest = np.full(num, -1, dtype=np.int64)
        self.cosine = np.zeros(num, dtype=np.float32)
        self.is_mirrored = np.zeros(num, dtype=bool)

    def compare(self, described: np.ndarray, start: int) -> Iterator[np.ndarray]:
        """Compare a block with itself and all after it; yields the pairs (2, m) that are copies."""
        pictures = described[start : start + _AT_A_TIME].astype(np.float32).reshape(-1, _SIDE, _SIDE)
        turned = np.stack([pictures, pictures[:, :, ::-1], pictures[:, ::-1], pictures[:, ::-1, ::-1]])
        turned = turned.reshape(4 * len(pictures), -1)
        for other in range(start, len(described), _KNOWN_AT_A_TIME):
            block = described[other : other + _KNOWN_AT_A_TIME].astype(np.float32)
            cosines = (turned @ block.T).reshape(4, len(pictures), -1)
            best = cosines.max(0)
            # Mirrored twice it is itself, so half of the pairs is enough.
            best[np.arange(other, other + len(block)) <= np.arange(start, start + len(pictures))[:, None]] = 0.0
            places = np.argwhere(best >= LEAST_COSINE)
            if len(places):
                mirrored = cosines.argmax(0) > 0
                self._take(best, mirrored, start, other)
                self._take(best.T, mirrored.T, other, start)
            yield places.T + np.array([[start], [other]])

    def _take(self, best: np.ndarray, mirrored: np.ndarray, start: int, other: int) -> None:
        """Of cosines (n, m), rows from `start` and columns from `other`, each row's largest, where it is larger."""
        twin = best.argmax(1)
        value = best[np.arange(len(best)), twin]
        is_nearer = (value >= LEAST_COSINE) & (value > self.cosine[start : start + len(best)])
        rows = np.flatnonzero(is_nearer)
        self.nearest[start + rows], self.cosine[start + rows] = other + twin[rows], value[rows]
        self.is_mirrored[start + rows] = mirrored[rows, twin[rows]]
