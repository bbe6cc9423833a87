"""What is in a data set, as tables for pages, figures and reports."""

from typing import TYPE_CHECKING

import numpy as np

from lib.data.dataset import Dataset
from lib.data.splits import TEST, TRAIN, VAL

if TYPE_CHECKING:
    import pandas as pd

_MAX_SAMPLED = 1000


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
    """Columns image_id, path, class_name, width, height (of the originals, in pixels) and num_bytes."""
    table = dataset.table[["image_id", "path", "width", "height", "num_bytes"]].copy()
    table.insert(2, "class_name", np.array(dataset.class_names, dtype=object)[dataset.table["target"].to_numpy()])
    return table


def channel_means(dataset: Dataset, *, seed: int = 0) -> "pd.DataFrame":
    """Mean and standard deviation of red, green and blue by class, as fractions, over at most 1,000 images in all.

    Columns class_name, channel, mean, std; the deviation is over pixels.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(dataset.num_images)[:_MAX_SAMPLED])
    targets = dataset.table["target"].to_numpy()[chosen]
    # Sums image by image: the sample as floats at once would be 1.8 GB at 384 px.
    firsts = np.stack([dataset.pixels[row].mean(axis=(0, 1)) / 255 for row in chosen])
    seconds = np.stack([(dataset.pixels[row].astype(np.float32) ** 2).mean(axis=(0, 1)) / 255**2 for row in chosen])
    rows = []
    for target, class_name in enumerate(dataset.class_names):
        of_class = targets == target
        if not of_class.any():
            continue
        means = firsts[of_class].mean(axis=0)
        deviations = np.sqrt(np.maximum(seconds[of_class].mean(axis=0) - means**2, 0))
        rows += [
            (class_name, channel, float(mean), float(deviation))
            for channel, mean, deviation in zip(("red", "green", "blue"), means, deviations, strict=True)
        ]
    return pd.DataFrame(rows, columns=["class_name", "channel", "mean", "std"])
