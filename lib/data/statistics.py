"""What is in a data set, as tables; and how bright and sharp pictures are beside those of a training."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.dataset import Dataset, takes_part
from lib.data.splits import TEST, TRAIN, VAL

if TYPE_CHECKING:
    import pandas as pd

_QUANTILES = (0.01, 0.99)  # of the training images: a rare one that is nearly black must not excuse others
_DARK = 12  # of 255: the black around a retina is not part of the picture
_BLOCK_PX = 4
_WORDS = {"brightness": ("darker", "brighter"), "sharpness": ("more blurred", "")}


def class_counts(dataset: Dataset, split: np.ndarray) -> "pd.DataFrame":
    """Count images: columns class_name, split, count, one row for each pair, zeros included, in the classes' order."""
    import pandas as pd

    targets = dataset.table["target"].to_numpy()
    rows = [
        (class_name, part, int(((targets == target) & (split == part)).sum()))
        for target, class_name in enumerate(dataset.class_names)
        for part in (TRAIN, VAL, TEST)
    ]
    return pd.DataFrame(rows, columns=["class_name", "split", "count"])


def size_table(dataset: Dataset) -> "pd.DataFrame":
    """Columns image_id, path, class_name, width, height (of the originals, in pixels) and num_bytes, of what counts."""
    counting = dataset.table[takes_part(dataset)]
    table = counting[["image_id", "path", "width", "height", "num_bytes"]].reset_index(drop=True)
    table.insert(2, "class_name", np.array(dataset.class_names, dtype=object)[counting["target"].to_numpy()])
    return table


def measure_picture(pixels: np.ndarray) -> dict[str, float]:
    """Brightness (0 to 255, the mean of what is not black) and sharpness (about 0.25 and more) of a square (S, S, 3).

    Sharpness is the mean step from pixel to pixel in relation to that between blocks of 4 x 4 pixels: a quarter where
    there is nothing finer than the blocks. It does not depend on light and contrast.
    """
    grey = grey_of(pixels)
    is_lit = np.asarray(grey > _DARK)
    brightness = float(grey[is_lit].mean()) if is_lit.any() else float(grey.mean())
    return {"brightness": brightness, "sharpness": measure_sharpness(grey, is_lit)}


def grey_of(pixels: np.ndarray) -> np.ndarray:
    """Grey levels float32 (...) of colours (..., 3), by the weights of ITU-R BT.601."""
    grey: np.ndarray = np.asarray(pixels, dtype=np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return grey


def measure_sharpness(grey: np.ndarray, is_counted: np.ndarray) -> float:
    """How much finer than blocks of 4 x 4 pixels a grey square (S, S) is, where bool (S, S) counts.

    See `measure_picture`; 0 where nothing counts or all is of one grey.
    """
    side = len(grey) // _BLOCK_PX * _BLOCK_PX
    blocks = (side // _BLOCK_PX, _BLOCK_PX, side // _BLOCK_PX, _BLOCK_PX)
    is_whole: np.ndarray = np.all(is_counted[:side, :side].reshape(blocks), axis=(1, 3))
    coarse = _step(grey[:side, :side].reshape(blocks).mean((1, 3)), is_whole)
    return _step(grey, is_counted) / coarse if coarse else 0.0


def quality_ranges(pictures: Iterable[np.ndarray]) -> dict[str, list[float]]:
    """Where 98 of 100 pictures lie in brightness and sharpness, as JSON keeps it; empty of none."""
    found = [measure_picture(pixels) for pixels in pictures]
    return {
        name: [round(float(edge), 4) for edge in np.quantile([one[name] for one in found], _QUANTILES)]
        for name in _WORDS
        if found
    }


def quality_words(pixels: np.ndarray, ranges: Any) -> str:
    """What a picture is more than those of `ranges`, such as "darker and more blurred"; empty for nothing."""
    measured, said = measure_picture(pixels), []
    for name, (below, above) in _WORDS.items():
        try:
            low, high = (float(edge) for edge in ranges[name])
        except (KeyError, TypeError, ValueError):
            continue
        if below and measured[name] < low:
            said.append(below)
        elif above and measured[name] > high:
            said.append(above)
    return " and ".join(said)


def _step(grey: np.ndarray, is_lit: np.ndarray) -> float:
    """The mean step (grey levels) to the neighbours above and left, where all three are lit; 0 where nothing is."""
    counts = is_lit[1:, 1:] & is_lit[:-1, 1:] & is_lit[1:, :-1]
    steps = np.abs(grey[1:, 1:] - grey[:-1, 1:]) + np.abs(grey[1:, 1:] - grey[1:, :-1])
    return float(steps[counts].mean()) if counts.any() else 0.0
