"""The generated data set that a bare clone starts with: made once, in the background, whoever opens the page first."""

import streamlit as st

from lib.data.builtin import ensure_default_dataset
from lib.data.dataset import Dataset
from lib.demo import DEMO
from lib.progress import Progress
from lib.settings import trash_dir
from pages.common import background, resources

TASK = "first_dataset"


def show() -> None:
    """On an empty library: make the first data set by itself (on request, if data sets were deleted), with progress."""
    background.show_outcome(TASK, "The first data set is ready: generated fundus images in five grades.")
    if DEMO.read().is_active:
        return  # it makes the data set itself
    if background.find(TASK) is None:
        if resources.dataset_summaries():
            return
        was_emptied = any(trash_dir().iterdir())
        if was_emptied and not st.button("Make the generated fundus data set", icon=":material/auto_awesome:"):
            return
        background.start(TASK, "Making a first data set, so that there is something to look at", _make)
    background.watch(TASK)


def _make(progress: Progress) -> Dataset:
    dataset = ensure_default_dataset(progress)
    resources.forget_dataset()  # so that the next run of every page sees it
    return dataset
