"""Which images a head that is fitted in one go learns from, and how each of them is held out once.

The kept head is fitted on training and validation images together. What is chosen (the penalty), fitted on its answers
(thresholds, Platt's scale) or reported as validation comes from heads of the same kind that had not seen the image:
five folds over the same images, groups whole.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.data.splits import TRAIN, VAL, group_numbers, held_out_folds
from lib.training.config import TrainConfig

MAX_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Development:
    """The images of one fit.

    Attributes:
        rows: those that the kept head is fitted on, (n,).
        folds: pairs of rows to fit on and rows held out; no row is held out twice.
        units: the group of every image of the data set (N,), a number of its own where it has none.
    """

    rows: np.ndarray
    folds: tuple[tuple[np.ndarray, np.ndarray], ...]
    units: np.ndarray

    @property
    def held_rows(self) -> np.ndarray:
        """All rows that are held out, fold after fold."""
        return np.concatenate([held for _, held in self.folds])

    @property
    def is_out_of_fold(self) -> bool:
        """Whether the kept head is fitted on rows whose answers came from other heads; else validation stays apart."""
        return bool(np.isin(self.held_rows, self.rows).any())


def development_of(targets: np.ndarray, table: Any, split: np.ndarray, config: TrainConfig) -> Development:
    """The images of a fit on a split (N,): training and validation together, each held out once.

    Where a setting caps the number of training images, validation images must not add to them and stay apart.
    """
    units, train, val = _parts(table, split)
    if config.max_train_per_class is not None:
        return Development(train, ((train, val),), units)
    rows = np.sort(np.concatenate([train, val]))
    return Development(rows, _folds(targets, units, rows, config.split_seed) or ((train, val),), units)


def development_apart(targets: np.ndarray, table: Any, split: np.ndarray, config: TrainConfig) -> Development:
    """The same on training images alone, for a head that further training starts from and validates beside."""
    units, train, val = _parts(table, split)
    return Development(train, _folds(targets, units, train, config.split_seed) or ((train, val),), units)


def development_within(targets: np.ndarray, rows: np.ndarray, *, seed: int = 0) -> Development:
    """Fit on `rows` of images that all stand alone, each held out once; every class needs two of them."""
    units = np.arange(len(targets))
    return Development(rows, _folds(targets, units, rows, seed), units)


def _parts(table: Any, split: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    units = group_numbers(table["group_id"].to_numpy(), len(split))
    return units, np.flatnonzero(split == TRAIN), np.flatnonzero(split == VAL)


def _folds(
    targets: np.ndarray, units: np.ndarray, rows: np.ndarray, seed: int
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    held = held_out_folds(targets, units, rows, most=MAX_FOLDS, seed=seed)
    return tuple((np.setdiff1d(rows, part, assume_unique=True), part) for part in held)
