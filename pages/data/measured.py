"""What several views of "Explore data" begin with: what is made of all images once, in the background where missing."""

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import streamlit as st

from lib.data.class_contrasts import Contrast, find_contrasts
from lib.data.dataset import Dataset
from lib.data.image_measures import Measure, image_measures, stored_measures
from lib.data.image_query import read_range
from lib.progress import Progress
from pages.common import background, state
from pages.common.text import readable
from pages.data.scene import Scene

if TYPE_CHECKING:
    import pandas as pd

_STOPPED = "made_once_stopped"
_recent: background.Recent[Any] = background.Recent(8)


def find_measures(dataset: Dataset) -> "pd.DataFrame | None":
    """The measures of a data set; None while they are made (watched here), or after that was stopped."""
    name = f"measure {dataset.content_version} {dataset.spec.is_fundus}"
    return made_once(
        (str(dataset.folder), name), name, f"Measuring the images of {dataset.spec.title or dataset.name}",
        "Measure the images",
        read=lambda: stored_measures(dataset), make=lambda progress: image_measures(dataset, progress=progress),
    )  # fmt: skip


Made = TypeVar("Made")


def made_once(
    key: Hashable,
    task_name: str,
    title: str,
    button: str,
    *,
    make: Callable[[Progress], Made],
    read: Callable[[], Made | None] = lambda: None,
) -> Made | None:
    """What takes a while to make of a data set: as it was made before, else made in the background and watched here.

    None until it is there. After a stop, or where it failed, nobody is asked again by each click: `button` begins anew.
    """
    found: Made | None = _recent.get(key)
    if found is None and (found := read()) is not None:
        _recent.put(key, found)
    if found is not None:
        return found

    def work(progress: Progress) -> None:
        _recent.put(key, make(progress))

    def begin() -> None:
        st.session_state[_STOPPED].discard(key)
        background.start(task_name, title, work)

    stopped = st.session_state.setdefault(_STOPPED, set())
    task = background.find(task_name)
    if task is not None and task.is_over:
        stopped.add(key)
        background.show_measurement_failure(task_name)
    if (found := _recent.get(key)) is not None:
        return found
    if key in stopped:
        st.button(button, icon=":material/play_arrow:", key=f"make_{task_name.partition(' ')[0]}", on_click=begin)
        return None
    if task is None:
        begin()
    background.watch(task_name)
    return _recent.get(key)


@st.cache_resource(max_entries=8, show_spinner=False)
def cached_contrasts(version: str, split_seed: int, *, _scene: Scene, _measures: "pd.DataFrame") -> list[Contrast]:
    """By what classes and splits differ, once for a version and its split."""
    return find_contrasts(_scene.dataset, _scene.split, _measures)


def choose_between(measure: Measure, values: np.ndarray, *, key: str) -> tuple[float, float] | None:
    """A range of a measure by a slider, kept in the view (key `between`); None for all."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() == known.max():
        return None
    least, most = float(known.min()), float(known.max())
    asked = read_range(state.current("between"))
    low, high = asked or (least, most)
    low, high = min(max(low, least), most), max(min(high, most), least)
    st.session_state[key] = (low, high)

    def chosen() -> None:
        ends = st.session_state[key]
        remember_between(None if ends == (least, most) else (float(ends[0]), float(ends[1])))

    st.slider(
        readable(f"{measure.title} ({measure.unit})"), least, most, key=key, step=(most - least) / 200,
        on_change=chosen, help=measure.meaning, format=_format(most - least),
    )  # fmt: skip
    return asked


def remember_between(between: tuple[float, float] | None) -> None:
    """Keep a range as a step; the images begin at their first page."""
    state.remember("between", None if between is None else f"{between[0]!r},{between[1]!r}")
    start_over()


def start_over() -> None:
    """After another filter: the first page, and no image in full."""
    state.settle("sheet", None)
    state.settle("open", None)


def _format(span: float) -> str:
    return "%.0f" if span >= 100 else "%.1f" if span >= 10 else "%.2f" if span >= 0.5 else "%.3f"
