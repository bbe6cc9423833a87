"""What the views of "Explore data" look at: one data set and its split."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from lib.data.dataset import Dataset, parts_of, says_ungradable, takes_part
from lib.data.statistics import class_counts, size_table
from lib.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


class Undivided(UserError):
    """A view needs the parts of a data set that cannot be divided (yet)."""


@dataclass(frozen=True)
class Scene:
    """A data set, and how `split_seed` divides it; `find_scene` keeps it, so that a rerun counts nothing again."""

    dataset: Dataset
    split_seed: int
    _figures: "dict[tuple[str, bool], go.Figure]" = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def split(self) -> np.ndarray:
        """The part of each row (N,), such as "train"; raises Undivided where it cannot be divided."""
        try:
            return self.dataset.split(self.split_seed)
        except UserError as error:
            raise Undivided(str(error)) from None

    @cached_property
    def parts(self) -> np.ndarray:
        """As `split`, for views that do without one: "" for every row (N,) where it cannot be divided."""
        return parts_of(self.dataset, self.split_seed)[0]

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

    @cached_property
    def num_groups(self) -> int:
        """Patients or other groups, of images that take part; 0 where each image stands alone."""
        named = self.dataset.table["group_id"][takes_part(self.dataset)]
        named = named[named != ""].dropna()
        number = int(named.nunique())
        return number if number < len(named) else 0

    @cached_property
    def num_ungradable(self) -> int:
        """Images that take part and say of themselves that they cannot be graded."""
        flags = self.dataset.table["flags"][takes_part(self.dataset)]
        return int(flags.map(says_ungradable).sum())

    @cached_property
    def sizes(self) -> "pd.DataFrame":
        """Columns width and height of the originals, in pixels."""
        return size_table(self.dataset)[["width", "height"]]

    @cached_property
    def size_range(self) -> tuple[list[int], list[int]]:
        """The least width and height, and the largest."""
        return self.sizes.min().tolist(), self.sizes.max().tolist()

    def figure(self, name: str, draw: "Callable[[bool], go.Figure]", *, is_dark: bool) -> "go.Figure":
        """What `draw(is_dark)` draws of the scene, drawn once; not to be changed."""
        key = name, is_dark
        if key not in self._figures:
            self._figures[key] = draw(is_dark)
        return self._figures[key]


def find_scene(dataset: Dataset, split_seed: int) -> Scene:
    """The scene of a data set at its version, shared by all sessions."""
    return _scene(dataset.name, dataset.version, split_seed, _dataset=dataset)


@st.cache_resource(max_entries=16, show_spinner=False)
def _scene(name: str, version: str, split_seed: int, *, _dataset: Dataset) -> Scene:
    return Scene(_dataset, split_seed)
