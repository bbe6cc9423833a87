"""Changes of the picture before a network sees it: one table of steps, chained by "+", made for fundus photographs.

Each step takes a stored square (S, S, 3) of uint8 and the mean colour of the set (3,), and gives a square of the same
shape, so training, cached features, explaining and grading share one path. What a step has to know of a data set (its
mean colour) comes from training images alone and is kept with the classifier. Imports no torch: pages preview them.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lib.checked_rows import Rows
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.errors import Stopped, UserError
from lib.progress import Progress, ignore_progress
from lib.registry import Registry

PHASE = "Preprocessing images"
_BATCH = 16
NONE = "none"
VERSION = 1  # of the arithmetic of the steps: a part of every cache key
MEAN_SAMPLE = 400  # training images that the mean colour is taken of
# One square (S, S, 3) uint8 and the mean colour of the set (3,) in, one square out.
Apply = Callable[[np.ndarray, np.ndarray], np.ndarray]
ASPECT = 1.2
_DARK_LEVEL = 12  # of 255: what is darker in all channels is the surround of a fundus photograph
_EDGE_THRESHOLD, _EDGE_MARGIN, _EDGE_BLUR = 10.0, 0.2, 1 / 192  # blur as a share of the side
_LOCAL_GAIN, _LOCAL_GREY, _LOCAL_RADII = 4.0, 128.0, 30.0
_REDUCTION = 4  # a blur of many pixels is drawn at a quarter of the resolution
_CLAHE_CLIP, _CLAHE_TILES = 0.01, 8


def field_mask(square: np.ndarray) -> np.ndarray:
    """Where a photograph is not black, bool (S, S): of a fundus photograph the field without its surround."""
    return square.max(axis=2) > _DARK_LEVEL


def retina_edges(square: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the retina: the outermost edges along the centre lines of a blurred Sobel picture.

    An edge counts above `_EDGE_THRESHOLD` and within the outer fifth of a side; where there is none, nothing is cut.
    """
    from scipy.ndimage import gaussian_filter, sobel

    grey = gaussian_filter(square.mean(axis=2, dtype=np.float32), _EDGE_BLUR * len(square))
    side = len(grey)
    band = slice(side // 2 - max(1, side // 64), side // 2 + max(1, side // 64))
    horizontal = np.abs(sobel(grey[band], axis=1)).mean(axis=0)
    vertical = np.abs(sobel(grey[:, band], axis=0)).mean(axis=1)
    (left, right), (top, bottom) = (_outer_edges(line) for line in (horizontal, vertical))
    return left, top, right, bottom


def _outer_edges(line: np.ndarray) -> tuple[int, int]:
    margin = int(len(line) * _EDGE_MARGIN)
    first = np.flatnonzero(line[:margin] > _EDGE_THRESHOLD)
    last = np.flatnonzero(line[len(line) - margin :] > _EDGE_THRESHOLD)
    return int(first[0]) if len(first) else 0, int(len(line) - margin + last[-1] + 1) if len(last) else len(line)


def crop_retina(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Cut the black surround away; the retina keeps its shape."""
    left, top, right, bottom = retina_edges(square)
    side = max(right - left, bottom - top)  # padded to a square
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    return _resized(Image.fromarray(square).crop((x, y, x + side, y + side)), len(square))


def crop_aspect(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Cut top and bottom to `ASPECT` and stretch the rest to a square."""
    side = len(square)
    cut = round(side * (1 - 1 / ASPECT) / 2)
    return _resized(Image.fromarray(square[cut : side - cut]), side)


def _resized(image: Image.Image, side: int) -> np.ndarray:
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))


def set_brightness(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Shift each colour so that the mean of the field is the mean of the set."""
    field = field_mask(square)
    shifted = np.clip(square + (mean - field_mean(square)), 0, 255).round().astype(np.uint8)
    return np.where(field[..., None], shifted, square)


def field_mean(square: np.ndarray) -> np.ndarray:
    """The mean colour (3,) of the field, of the whole square where all of it is black."""
    field = field_mask(square)
    chosen = square[field] if field.any() else square.reshape(-1, 3)
    return chosen.mean(axis=0, dtype=np.float64).astype(np.float32)


def subtract_local_average(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The difference from a blurred picture, amplified, on even grey."""
    side, field = len(square), field_mask(square)
    sigma = side / 2 / _LOCAL_RADII
    average = _blurred(square * field[..., None], sigma) / np.maximum(_blurred(field[..., None] * 1.0, sigma), 1e-3)
    result = _LOCAL_GAIN * (square - average) + _LOCAL_GREY
    return np.where(field[..., None], np.clip(result, 0, 255).round(), _LOCAL_GREY).astype(np.uint8)


def _blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur of (S, S, C); a wide one is drawn on a reduced picture."""
    from scipy.ndimage import gaussian_filter, zoom

    side, factor = len(values), _REDUCTION
    if sigma < factor or side % factor:
        return gaussian_filter(values.astype(np.float32), (sigma, sigma, 0))
    small = values.astype(np.float32).reshape(side // factor, factor, side // factor, factor, -1).mean(axis=(1, 3))
    blurred = gaussian_filter(small, (sigma / factor, sigma / factor, 0))
    return zoom(blurred, (factor, factor, 1), order=1, grid_mode=True, mode="nearest")


def equalise(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """CLAHE on the luma; all channels are scaled by one factor."""
    from skimage.exposure import equalize_adapthist

    luma = (square @ np.array([0.299, 0.587, 0.114], dtype=np.float32)) / 255
    field, kernel = field_mask(square), max(2, len(square) // _CLAHE_TILES)
    levels = np.where(field, luma, luma[field].mean() if field.any() else 0.0)
    # scikit-image stretches a picture to its own range first: two corners hold that range at 0 to 1.
    levels[0, 0], levels[0, -1] = 0.0, 1.0
    equal = equalize_adapthist(np.clip(levels, 0, 1), kernel_size=kernel, clip_limit=_CLAHE_CLIP).astype(np.float32)
    equal[0, [0, -1]] = luma[0, [0, -1]]
    # All channels by one factor: the hue stays, as with CLAHE on the lightness alone.
    scaled = square * (equal / np.maximum(luma, 1 / 255))[..., None]
    return np.where(field[..., None], np.clip(scaled, 0, 255).round(), square).astype(np.uint8)


@dataclass(frozen=True)
class Enhancement:
    """One step. `moves`: it crops, so that maps lie on its result; `needs_mean`: it reads the data set's mean.

    `is_for_fundus`: it was made for fundus photographs and is not offered for others.
    """

    name: str
    title: str
    summary: str
    source: str
    apply: Apply
    moves: bool = False
    needs_mean: bool = False
    is_for_fundus: bool = False


@dataclass(frozen=True)
class EnhancementChain:
    """Steps in the order of the table, with the set's mean colour (levels of 255) where one of them reads it."""

    names: tuple[str, ...] = ()
    mean_rgb: tuple[int, int, int] | None = None

    @property
    def text(self) -> str:
        """As settings and manifests write it: "brightness+clahe", or "none"."""
        return "+".join(self.names) or NONE

    @property
    def key(self) -> str:
        """What it adds to a cache's key; empty for pictures as they are."""
        return f"{self.text}/{VERSION}/{self.mean_rgb}" if self.names else ""

    @property
    def needs_mean(self) -> bool:
        """Whether a step reads the set's mean colour."""
        return any(ENHANCEMENTS.get(name).needs_mean for name in self.names)

    @property
    def moves(self) -> bool:
        """Whether a step crops by what it sees, so that maps lie on its result."""
        return any(ENHANCEMENTS.get(name).moves for name in self.names)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Run all steps on uint8 (N, S, S, 3); the array given stays as it was."""
        return self._run(pixels, self.names)

    def framed(self, pixels: np.ndarray) -> np.ndarray:
        """Only the steps that crop: the picture that maps of the network lie on, in its own colours."""
        return self._run(pixels, tuple(name for name in self.names if ENHANCEMENTS.get(name).moves))

    def to_dict(self) -> dict[str, Any]:
        """What a manifest keeps."""
        return {"steps": self.text, "mean_rgb": list(self.mean_rgb) if self.mean_rgb else None, "version": VERSION}

    def _run(self, pixels: np.ndarray, names: Sequence[str]) -> np.ndarray:
        if not names:
            return pixels
        if self.mean_rgb is None and any(ENHANCEMENTS.get(name).needs_mean for name in names):
            raise ValueError("The mean colour of the training images is missing.")
        steps = [ENHANCEMENTS.get(name).apply for name in names]
        mean = np.array(self.mean_rgb or (0, 0, 0), dtype=np.float32)

        def one(square: np.ndarray) -> np.ndarray:
            for step in steps:
                square = step(square, mean)
            return square

        # Two threads: the filters of numpy, scipy and Pillow let go of the interpreter.
        with ThreadPoolExecutor(2) as pool:
            return np.stack(list(pool.map(one, pixels)))


NO_ENHANCEMENT = EnhancementChain()


def parse_chain(text: str) -> tuple[str, ...]:
    """The names in "brightness+clahe", in the order of the table; () for "none".

    Raises UserError for an unknown or doubled name, and for two steps that undo each other.
    """
    names = [name.strip() for name in text.split("+")] if text.strip() not in ("", NONE) else []
    for name in names:
        ENHANCEMENTS.get(name)
    if len(set(names)) < len(names):
        raise UserError(f"The preprocessing {text!r} names a step twice; name each once.")
    if "local_average" in names and "brightness" in names:
        raise UserError(
            f"The preprocessing {text!r} sets the brightness and then subtracts it; choose brightness or local_average."
        )
    return tuple(name for name in ENHANCEMENTS.names if name in names)


def chain_of(preprocessing: Mapping[str, Any]) -> EnhancementChain:
    """The chain in a manifest's `preprocessing` part, "none" in manifests of before there were any.

    Raises UserError where it is not well-formed, or of a newer version.
    """
    content = preprocessing.get("enhancement") or {}
    try:
        mean, names = content.get("mean_rgb"), parse_chain(str(content.get("steps", NONE)))
        chain = EnhancementChain(names, (int(mean[0]), int(mean[1]), int(mean[2])) if mean else None)
        is_known = int(content.get("version", VERSION)) <= VERSION
    except (AttributeError, TypeError, ValueError, IndexError):
        raise UserError("The preprocessing of this classifier cannot be read; export it again from its run.") from None
    if not is_known or (chain.needs_mean and chain.mean_rgb is None):
        raise UserError("The preprocessing of this classifier is incomplete or newer than this program; update it.")
    return chain


def fit_chain(text: str, pixels: np.ndarray, train_rows: np.ndarray) -> EnhancementChain:
    """A chain for a data set: its mean colour is that of (at most `MEAN_SAMPLE`) training images, in whole levels.

    Whole levels, so that folds whose means differ by less share one cache.
    """
    chain = EnhancementChain(parse_chain(text))
    if not chain.needs_mean:
        return chain
    rows = train_rows[np.linspace(0, len(train_rows) - 1, min(MEAN_SAMPLE, len(train_rows))).astype(int)]
    means = [field_mean(square) for row in rows for square in chain.framed(pixels[row : row + 1])]
    red, green, blue = np.mean(means, axis=0).round().astype(int).tolist()
    return EnhancementChain(chain.names, (red, green, blue))


_STUDY_1 = "study 1, VGG16 on diabetic retinopathy (2016)"
ENHANCEMENTS: Registry[Enhancement] = Registry("preprocessing")
for _step in (
    Enhancement(
        "retina_crop", "Crop to the retina",
        "Cuts the black surround away, where the edges of the retina are found along the centre lines.",
        _STUDY_1, crop_retina, moves=True, is_for_fundus=True,
    ),
    Enhancement(
        "aspect_crop", "Crop to 1.2 : 1",
        "Cuts top and bottom, where cameras cut the disc anyway, and stretches the rest to the network's square.",
        _STUDY_1, crop_aspect, moves=True, is_for_fundus=True,
    ),
    Enhancement(
        "brightness", "Even brightness",
        "Shifts each colour of an image to the mean colour of the training images, against cameras that differ.",
        _STUDY_1, set_brightness, needs_mean=True,
    ),
    Enhancement(
        "local_average", "Subtract local average",
        "Takes the blurred picture away and keeps fine detail: vessels and lesions on even grey.",
        "B. Graham, winning entry of the Kaggle diabetic retinopathy task (2015)", subtract_local_average,
        is_for_fundus=True,
    ),
    Enhancement(
        "clahe", "Local contrast (CLAHE)",
        "Evens out contrast in small tiles, with a limit (contrast limited adaptive histogram equalisation).",
        "Zuiderveld, Graphics Gems IV (1994); scikit-image", equalise,
    ),
):  # fmt: skip
    ENHANCEMENTS.add(_step)


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

    Raises UserError where the disk has not enough room, and Stopped, leaving nothing, once `should_stop()` is true.
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


def _entry(version: str) -> Path:
    return entry_path("enhanced", hashlib.sha256(version.encode()).hexdigest()[:32])


def _batches(pixels: np.ndarray, chain: EnhancementChain, should_stop: Callable[[], bool]) -> Iterator[np.ndarray]:
    for start in range(0, len(pixels), _BATCH):
        if should_stop():
            raise Stopped("Stopped while preprocessing images.")
        yield chain(pixels[start : start + _BATCH])
