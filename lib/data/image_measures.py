"""How bright, sharp and colourful each image of a data set is: a few numbers of its stored square.

What is no part of the picture does not count: the black outside a retina, and a frame of one colour (letterbox, scan
margin). Colours are measured on the square reduced to 128 to 255 px, sharpness at its stored size. A whole data set is
measured once and kept on the disk (lib/disk_cache), under the version of its pixels.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy  # whose parts load when they are first used
from PIL import Image

from lib.data.dataset import Dataset
from lib.data.photograph_quality import retina_mask
from lib.data.statistics import grey_of, measure_sharpness
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.progress import Progress, ignore_progress
from lib.runtime import available_cores

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1  # of what the numbers mean; another one is measured anew
_BATCH = 64
_WORKING_SIDE_PX = 128
_FRAME_LEVELS = 8  # grey levels that a frame of one colour may differ by: compression makes noise at its edge
_FRAME_SHARE = 0.99  # of a line that must be of that colour
_LEAST_CONTENT = 0.05  # of the square; below, the whole square counts: a picture of one colour has no frame
_RIM_SHARE = 0.03  # of the side: the edge of a retina is no detail of it


@dataclass(frozen=True)
class Measure:
    """One number of an image, for tables and figures."""

    name: str
    title: str
    unit: str  # with its range, for an axis
    suffix: str  # behind a number in a sentence
    meaning: str  # one sentence for a tooltip
    less: str  # what images with less of it are, before "than the others"
    more: str

    def text(self, value: float) -> str:
        """A value with as many digits as say something, and its unit where that is short."""
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
        return f"{value:,.{digits}f}{self.suffix}"


# What is measured of the stored square, in the order of the columns.
_OF_PIXELS = (
    Measure("brightness", "Brightness", "grey level, 0 to 255", "", "Mean grey level.", "are darker", "are brighter"),
    Measure("contrast", "Contrast", "grey levels, 0 to 128", "", "Standard deviation of the grey levels.",
            "have less contrast", "have more contrast"),
    Measure("sharpness", "Sharpness", "ratio, 0.25 is blurred", "", "Mean step from pixel to pixel in relation to that "
            "between blocks of 4 x 4: 0.25 where nothing is finer than the blocks.", "are more blurred", "are sharper"),
    Measure("colourfulness", "Colourfulness", "0 is grey, over 80 is vivid", "", "Spread and strength of the colours "
            "(Hasler and Süsstrunk, 2003).", "are less colourful", "are more colourful"),
    Measure("saturation", "Saturation", "fraction, 0 to 1", "", "Mean of (largest - smallest) / largest channel.",
            "have paler colours", "have stronger colours"),
    Measure("red", "Red", "level, 0 to 255", "", "Mean of the red channel.", "have less red", "have more red"),
    Measure("green", "Green", "level, 0 to 255", "", "Mean of the green channel.", "have less green",
            "have more green"),
    Measure("blue", "Blue", "level, 0 to 255", "", "Mean of the blue channel.", "have less blue", "have more blue"),
    Measure("border_share", "Border", "fraction of the square, 0 to 1", "", "What is no part of the picture: the dark "
            "outside a retina, or a frame of one colour.", "have less border", "have more border"),
)  # fmt: skip
# What the table of the import says of the original.
_OF_FILES = (
    Measure("aspect", "Aspect", "width / height", "", "Of the original, upright.", "are narrower", "are wider"),
    Measure("megapixels", "Size", "megapixels", " MP", "Width times height of the original.", "are smaller",
            "are larger"),
    Measure("kilobytes", "File size", "kB of 1,000 bytes", " kB", "Of the original file.", "have smaller files",
            "have larger files"),
)  # fmt: skip
MEASURES = {measure.name: measure for measure in (*_OF_FILES, *_OF_PIXELS)}


def image_measures(dataset: Dataset, *, progress: Progress = ignore_progress) -> "pd.DataFrame":
    """One row an image in the order of the table: image_id and the numbers of `MEASURES`.

    brightness is the mean grey level (0 to 255), contrast their standard deviation (0 to 127.5), sharpness the ratio of
    `lib.data.statistics.measure_picture` (0.25 for blurred), colourfulness that of Hasler and Süsstrunk
    (https://doi.org/10.1117/12.477378; 0 for grey, over 80 for vivid), saturation a fraction, red, green and blue mean
    levels (0 to 255), border_share the fraction of the square that is no picture; all of stored pixels. aspect (width
    over height), megapixels and kilobytes (1,000 bytes) are of the original file. Measured once, then read from the
    cache.
    """
    path = _entry(dataset)
    found = read_entry(path, dataset.num_images, is_mapped=False)
    if found is None:
        progress(0, dataset.num_images, "measuring images")
        for done in write_entry(path, _measured(dataset), dataset.num_images):
            progress(done, dataset.num_images, "measuring images")
        found = read_entry(path, dataset.num_images, is_mapped=False)
    if found is None:
        raise RuntimeError(f"The measures just written to {path} cannot be read back.")
    return _as_table(dataset, np.asarray(found))


def stored_measures(dataset: Dataset) -> "pd.DataFrame | None":
    """The same if it was measured before and is still in the cache; None otherwise."""
    found = read_entry(_entry(dataset), dataset.num_images, is_mapped=False)
    return None if found is None else _as_table(dataset, np.asarray(found))


def measure_square(square: np.ndarray, *, is_fundus: bool) -> np.ndarray:
    """The numbers of a stored square uint8 (S, S, 3), float32 (9,): those of `image_measures` that are of pixels."""
    factor = max(1, len(square) // _WORKING_SIDE_PX)
    image = Image.fromarray(np.ascontiguousarray(square))
    small = np.asarray(image.reduce(factor) if factor > 1 else image, dtype=np.float32)
    content = retina_mask(small) if is_fundus else _unframed(small)
    if content.mean() < _LEAST_CONTENT:
        content = np.ones_like(content)
    counted = _without_rim(content) if is_fundus else content
    place = np.minimum(np.arange(len(square)) // factor, len(small) - 1)
    sharpness = measure_sharpness(grey_of(square), counted[np.ix_(place, place)])
    pixels = small[counted]
    grey = grey_of(pixels)
    values = [
        *(grey.mean(), grey.std(), sharpness, _colourfulness(pixels), _saturation(pixels)),
        *(*pixels.mean(0), 1 - content.mean()),
    ]
    return np.array(values, dtype=np.float32)


def _colourfulness(pixels: np.ndarray) -> float:
    """Of colours (n, 3): spread of the two opponent colours, and their distance from grey (Hasler and Süsstrunk)."""
    red, green, blue = pixels.T
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def _saturation(pixels: np.ndarray) -> float:
    red, green, blue = pixels.T
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float(((most - least) / np.maximum(most, 1)).mean())


def _unframed(rgb: np.ndarray) -> np.ndarray:
    """Bool (S, S): without the lines at each side that are wholly of one colour."""
    side = len(rgb)
    lines = (rgb, rgb[::-1], rgb.swapaxes(0, 1), rgb.swapaxes(0, 1)[::-1])
    top, bottom, left, right = (_frame_width(one) for one in lines)
    is_content = np.zeros((side, side), dtype=bool)
    is_content[top : side - bottom, left : side - right] = True
    return is_content


def _frame_width(lines: np.ndarray) -> int:
    """How many lines (S, S, 3) from the first on are of the one colour of the first."""
    colour = np.median(lines[0], axis=0)
    for width, line in enumerate(lines):
        if (np.abs(line - colour).max(1) <= _FRAME_LEVELS).mean() < _FRAME_SHARE:
            return width
    return len(lines)


def _without_rim(mask: np.ndarray) -> np.ndarray:
    rim = max(1, round(_RIM_SHARE * len(mask)))
    inner: np.ndarray = scipy.ndimage.minimum_filter(mask, 2 * rim + 1, mode="constant", cval=0)
    return inner if inner.mean() >= _LEAST_CONTENT else mask


def _measured(dataset: Dataset) -> Iterator[np.ndarray]:
    """Batches (n, 9); what is in memory is one batch of squares, whatever the size of the data set."""
    is_fundus = dataset.spec.is_fundus

    def measure(square: np.ndarray) -> np.ndarray:
        return measure_square(square, is_fundus=is_fundus)

    with ThreadPoolExecutor(available_cores()) as pool:  # NumPy works without the interpreter's lock
        for start in range(0, dataset.num_images, _BATCH):
            yield np.stack(list(pool.map(measure, dataset.pixels[start : start + _BATCH])))


def _entry(dataset: Dataset) -> Path:
    seen = f"measures/{VERSION}/{dataset.content_version}/{dataset.spec.is_fundus}"
    return entry_path("statistics", hashlib.sha256(seen.encode()).hexdigest()[:32])


def file_measures(dataset: Dataset) -> "pd.DataFrame":
    """Those of `image_measures` that the table of the import holds already: aspect, megapixels, kilobytes."""
    import pandas as pd

    table = dataset.table
    width, height = (table[side].to_numpy(dtype=np.float64) for side in ("width", "height"))
    return pd.DataFrame({
        "image_id": table["image_id"].to_numpy(), "aspect": width / height, "megapixels": width * height / 1e6,
        "kilobytes": table["num_bytes"].to_numpy() / 1e3,
    })  # fmt: skip


def _as_table(dataset: Dataset, values: np.ndarray) -> "pd.DataFrame":
    columns = {measure.name: values[:, place].astype(np.float64) for place, measure in enumerate(_OF_PIXELS)}
    return file_measures(dataset).assign(**columns)
