"""The images of a data set as small pictures: all classes side by side, or one class page by page."""

from urllib.parse import urlencode

import numpy as np
import streamlit as st

from lib.data.dataset import Dataset
from lib.figures.data_charts import SPLIT_TITLES
from pages.common import resources, state
from pages.common.text import count, plain, readable

_PER_CLASS = 8  # one row at 1280 px
_CLASSES_PER_PAGE = 6
_PER_PAGE = 32
_SIDE_PX = 192  # twice the drawn size, for sharp screens
_ALL = "All classes, side by side"


def show(dataset: Dataset, split: np.ndarray) -> None:
    """Draw the controls and the pictures; `split` (N,) names the split of every image."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        class_name = _choose_class(dataset)
        part = st.segmented_control(
            "Split", ["All", *SPLIT_TITLES.values()], default="All", required=True, key="explore_split"
        )
    wanted = next((key for key, title in SPLIT_TITLES.items() if title == part), None)
    is_in_split = np.ones(len(split), dtype=bool) if wanted is None else split == wanted
    targets = dataset.table["target"].to_numpy()
    if class_name is None:
        _all_classes(dataset, split, targets, is_in_split)
    else:
        rows = np.flatnonzero(is_in_split & (targets == dataset.class_names.index(class_name)))
        _one_class(dataset, split, rows)


def _choose_class(dataset: Dataset) -> str | None:
    """The class to show, kept in the link; None for all."""
    wanted = state.current("class")
    key = "explore_class"
    st.session_state[key] = wanted if wanted in dataset.class_names else _ALL
    chosen = st.selectbox(
        "Class",
        [_ALL, *dataset.class_names],
        format_func=readable,
        key=key,
        on_change=lambda: state.remember("class", None if st.session_state[key] == _ALL else st.session_state[key]),
    )
    return None if chosen == _ALL else str(chosen)


def _all_classes(dataset: Dataset, split: np.ndarray, targets: np.ndarray, is_in_split: np.ndarray) -> None:
    num_pages = -(-len(dataset.class_names) // _CLASSES_PER_PAGE)
    page = st.session_state.get("explore_class_page", 1) if num_pages > 1 else 1
    first = (min(page, num_pages) - 1) * _CLASSES_PER_PAGE
    for target in range(first, min(first + _CLASSES_PER_PAGE, len(dataset.class_names))):
        rows = np.flatnonzero(is_in_split & (targets == target))
        st.markdown(f"**{plain(dataset.class_names[target])}** · {count(len(rows), 'image')}")
        _pictures(dataset, split, rows[:_PER_CLASS])
    if num_pages > 1:
        st.pagination(num_pages, key="explore_class_page")


def _one_class(dataset: Dataset, split: np.ndarray, rows: np.ndarray) -> None:
    num_pages = max(1, -(-len(rows) // _PER_PAGE))
    page = min(st.session_state.get("explore_page", 1), num_pages) if num_pages > 1 else 1
    first = (page - 1) * _PER_PAGE
    shown = rows[first : first + _PER_PAGE]
    if not len(rows):
        st.markdown("No image of this class is in this split.")
        return
    st.markdown(f"{first + 1:,} to {first + len(shown):,} of {count(len(rows), 'image')}")
    _pictures(dataset, split, shown)
    if num_pages > 1:
        st.pagination(num_pages, key="explore_page")


def _pictures(dataset: Dataset, split: np.ndarray, rows: np.ndarray) -> None:
    with st.grid(_PER_CLASS, min_column_width=80, gap="xsmall"):
        for row in rows:
            record = dataset.table.iloc[int(row)]
            view = {"dataset": dataset.name, "backbone": state.current_backbone(), "image": record["image_id"]}
            st.image(
                resources.cached_thumbnail(dataset.name, dataset.version, int(row), _SIDE_PX),
                width="stretch",
                link=f"/look_inside?{urlencode(view)}",
                alt=readable(
                    f"{dataset.class_names[record['target']]}, {SPLIT_TITLES[split[row]].lower()}: {record['path']}; "
                    "opens Look inside"
                ),
            )
