"""What the views of "Explore data" look at: one data set and its split."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from lib.data.dataset import Dataset
from lib.data.statistics import class_counts

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Scene:
    """A data set, and how `split_seed` divides it."""

    dataset: Dataset
    split_seed: int

    @cached_property
    def split(self) -> np.ndarray:
        """The part of each row (N,), such as "train"; raises UserError where it cannot be divided."""
        return self.dataset.split(self.split_seed)

    @cached_property
    def counts(self) -> "pd.DataFrame":
        """Images by class and split: class_name, split, count."""
        return class_counts(self.dataset, self.split)

    @cached_property
    def per_class(self) -> "pd.Series[int]":
        """Images of each class, in the order of the classes."""
        return self.counts.groupby("class_name", sort=False)["count"].sum()

    @property
    def is_even(self) -> bool:
        """Whether no class has over a tenth more images than another."""
        return bool(self.per_class.max() <= 1.1 * self.per_class.min())
