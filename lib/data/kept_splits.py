"""Splits of large data sets, drawn once and kept on the disk: to import scikit-learn takes longer than to read one."""

from collections.abc import Sequence
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np

from lib.atomic import digest_of
from lib.data.splits import TEST, TRAIN, VAL, assign_splits
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.errors import DiskFull

LARGE = 2000  # images; below, drawing is quick
_FORMAT = 1
_PARTS = np.array([TRAIN, VAL, TEST])


def kept_split(
    content_version: str,
    targets: np.ndarray,
    groups: np.ndarray,
    fixed: np.ndarray,
    *,
    split_seed: int,
    num_folds: int | None,
    fold: int | None,
    class_names: Sequence[str],
) -> np.ndarray:
    """What `assign_splits` gives of the images of that version of a data set; raises UserError as it does."""
    chosen: dict[str, Any] = {"split_seed": split_seed, "num_folds": num_folds, "fold": fold}
    draw = partial(assign_splits, targets, groups, fixed, **chosen, class_names=class_names)
    if len(targets) < LARGE:
        return draw()
    described = {"format": _FORMAT, "content": content_version, **chosen, "scikit-learn": _library_version()}
    path = entry_path("statistics", digest_of(described))
    found = read_entry(path, len(targets), is_mapped=False)
    if found is not None:
        return _PARTS[np.asarray(found)]
    split = draw()
    numbers = sum((split == part) * np.uint8(number) for number, part in enumerate(_PARTS))
    with suppress(OSError, DiskFull):  # then it is drawn again the next time
        for _ in write_entry(path, [np.asarray(numbers, dtype=np.uint8)], len(split)):
            pass
    return split


@cache
def _library_version() -> str:
    return version("scikit-learn")
