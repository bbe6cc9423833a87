"""How bright, sharp, colourful and large the images are, class by class and split by split, and what stands out."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from lib.data.image_measures import MEASURES
from lib.data.image_query import ImageQuery, image_table, read_range
from lib.figures.data_charts import SPLIT_TITLES
from lib.figures.measure_charts import MAX_ROWS, distribution_figure, most_telling, rows_of
from pages.common import controls, state
from pages.common.text import count, plain, readable
from pages.data import pictures
from pages.data.measured import cached_contrasts, choose_between, find_measures, remember_between
from pages.data.scene import Scene

if TYPE_CHECKING:
    import pandas as pd

    from lib.data.class_contrasts import Contrast

_BY = {"class": "Class", "split": "Split", "both": "Class and split"}
_SHOWN = 16


def draw(scene: Scene) -> None:
    """The distribution of one measure, what stands out in all of them, and the images of a chosen range."""
    measures = find_measures(scene.dataset)
    if measures is None:
        st.markdown("Brightness, contrast, sharpness, colour and border are measured once; then all is at hand.")
        return
    if not np.isin(scene.split, tuple(SPLIT_TITLES)).any():
        st.markdown("No image takes part yet: give some of them a class, then their measures are compared.")
        return
    contrasts = cached_contrasts(scene.dataset.version, scene.split_seed, _scene=scene, _measures=measures)
    picture, reading = st.columns([2, 1], gap="large")
    with picture:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            titles = {name: measure.title for name, measure in MEASURES.items()}
            name = controls.choose(
                "Measure", titles, "measure", key="measures_measure", value=_wanted(contrasts), width=190,
                keep=_keep_measure,
            )  # fmt: skip
            by = controls.choose("Rows", _BY, "by", key="measures_by", is_segmented=True)
        table = image_table(scene.dataset, scene.split, measures)
        _draw_figure(scene, table, name, by)
    with reading:
        _draw_reading(contrasts, name)
    _draw_range(scene, table, name)


def _wanted(contrasts: "list[Contrast]") -> str:
    """The measure of the link, else the one by which classes or splits differ most."""
    asked = state.current("measure")
    return asked if asked in MEASURES else contrasts[0].measure if contrasts else "brightness"


def _keep_measure(name: str) -> None:
    state.remember("measure", name)
    remember_between(None)


def _draw_figure(scene: Scene, table: "pd.DataFrame", name: str, by: str) -> None:
    measure, dataset = MEASURES[name], scene.dataset
    targets = dataset.table["target"].to_numpy()
    rows = rows_of(table[name].to_numpy(), targets, scene.split, dataset.class_names, by=by)
    shown = most_telling(rows)
    if len(shown) < len(rows):
        st.caption(
            f"The {MAX_ROWS // 2} with the lowest and the {MAX_ROWS // 2} with the highest median of {len(rows)}."
        )
    figure = distribution_figure(
        shown, measure, is_dark=controls.is_dark(), between=read_range(state.current("between"))
    )
    medians = ", ".join(f"{row.label} {measure.text(float(np.median(row.values)))}" for row in shown if len(row.values))
    controls.show_range_figure(
        figure, key=f"measure_{name}_{by}", on_range=_choose_range(name),
        alt=readable(f"Distribution of {measure.title.lower()} by {_BY[by].lower()}; medians: {medians}", 600),
        data=table,
    )  # fmt: skip
    st.caption(f"{measure.meaning} Lines across are medians. Drag over a range to see its images.")


def _choose_range(name: str) -> Callable[[tuple[float, float] | None], None]:
    def choose(between: tuple[float, float] | None) -> None:
        state.settle("measure", name)
        remember_between(between)

    return choose


def _draw_reading(contrasts: "list[Contrast]", name: str) -> None:
    """What stands out, in words; of the measure on screen the largest difference in any case."""
    from lib.data.class_contrasts import what_stands_out

    found = what_stands_out(contrasts)
    st.markdown("**What stands out**")
    for one in found:
        st.markdown(f"- {plain(one.sentence, 400)}")
    if not found:
        st.markdown("No class and no split differs much from the others in any of these measures.")
    own = next((one for one in contrasts if one.measure == name), None)
    if own is not None and own not in found:
        st.markdown(f"**{MEASURES[name].title}**: {plain(own.sentence, 400)}")
    st.caption(
        "In how many of 100 pairs, one image of each side, the first has more: 50 is no difference. Listed from 64 on, "
        f"where chance would rarely give it among the {len(contrasts)} comparisons made. Images of one patient in a "
        "class count once. A network can learn such a difference instead of the subject."
    )


def _draw_range(scene: Scene, table: "pd.DataFrame", name: str) -> None:
    """The images between two values."""
    measure, values = MEASURES[name], table[name].to_numpy()
    between = choose_between(measure, values, key=f"measures_between_{name}")
    if between is None:
        return
    rows = ImageQuery(measure=name, between=between).rows(table)
    parts = [f"{name} {number:,}" for name, number in table["class_name"].iloc[rows].value_counts().items()]
    st.markdown(
        f"**{count(len(rows), 'image')}** of {measure.title.lower()} {measure.text(between[0])} to "
        f"{measure.text(between[1])}: {plain(', '.join(parts) or 'none', 400)}"
    )
    pictures.draw_grid(scene, table, rows[:_SHOWN], measure=name)
    with st.container(horizontal=True):
        controls.link_to(
            "explore_data", "All of them in Images", icon=":material/grid_view:", tab="images", measure=name,
            between=f"{between[0]!r},{between[1]!r}",
        )  # fmt: skip
        st.button("All values", icon=":material/close:", type="tertiary", key="measures_all", on_click=remember_between,
                  args=(None,))  # fmt: skip
