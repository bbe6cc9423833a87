"""The images by class, split, flag, a run's answer and any measure: page by page, or one in full."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from lib.data.image_query import (
    ANSWER_MEASURES,
    ANY_FLAG,
    NO_FLAG,
    ORDER_MEASURES,
    RIGHT,
    WRONG,
    ImageQuery,
    flags_of,
    image_table,
    read_range,
)
from lib.grading.image_answers import answers_by_image, run_limits
from lib.tracking.tested import TestedRun
from pages.common import controls, state
from pages.common.results import short_labels
from pages.common.text import count, plain
from pages.data import pictures
from pages.data.measured import choose_between, find_measures, start_over
from pages.data.scene import Scene

if TYPE_CHECKING:
    import pandas as pd

_PER_PAGE = 48
_OUTCOMES = {"": "Right or wrong", RIGHT: "Right", WRONG: "Wrong"}
_DIRECTIONS = {"": "Least first", "1": "Most first"}


def draw(scene: Scene) -> None:
    """What is asked for, and the images that fit."""
    measures = find_measures(scene.dataset)
    table = _with_answers(scene, measures)
    opened = state.current("open")
    places = np.flatnonzero(table["image_id"].to_numpy() == opened) if opened else np.empty(0, int)
    query = _choose(scene, table, is_drawn=not len(places))
    rows = query.rows(table)
    if opened and not len(places):
        st.caption(f"The image {plain(opened[:24])} of the link is not in this data set.")
    if len(places):
        pictures.draw_one(scene, table, int(places[0]), rows)
    else:
        _draw_page(scene, table, rows, query)


def _with_answers(scene: Scene, measures: "pd.DataFrame | None") -> "pd.DataFrame":
    """The table of the images, with the answers of the run of the view where it was tested on this data set."""
    asked = state.current_run() or ""
    run = next(
        (run for run in pictures.tested_runs(scene.dataset.name) if asked and run.run_id.startswith(asked)), None
    )
    if run is not None:
        state.settle("run", run.run_id)
    tested = pictures.cached_tested(run.run_id, run.ended_s, _run=run) if run is not None else None
    is_expected = state.current("rule") == "expected"
    key = (
        scene.dataset.version,
        scene.split_seed,
        measures is not None,
        run.run_id if tested and run else "",
        is_expected,
    )
    return _cached_table(key, _scene=scene, _measures=measures, _tested=tested, _is_expected=is_expected)


@st.cache_resource(max_entries=8, show_spinner=False)
def _cached_table(
    key: tuple[Any, ...], *, _scene: Scene, _measures: "pd.DataFrame | None", _tested: TestedRun | None,
    _is_expected: bool,
) -> "pd.DataFrame":  # fmt: skip
    answers = None
    if _tested is not None:
        limits = run_limits(_tested.run, len(_tested.class_names)) if _is_expected else None
        answers = answers_by_image(_tested, limits)
    return image_table(_scene.dataset, _scene.parts, _measures, answers)


def _choose(scene: Scene, table: "pd.DataFrame", *, is_drawn: bool) -> ImageQuery:
    """Two rows of controls, all kept in the link; while one image is in full, only what they say."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        pick = _Picker(is_drawn=is_drawn)
        class_name = pick("Class", {"": "All", **{name: name for name in scene.dataset.class_names}}, "class")
        parts = {part: pictures.split_title(part) for part in table["split"].unique() if part}
        split = pick("Split", {"": "All", **parts}, "split", width=120)
        flags = flags_of(table)
        given = {ANY_FLAG: "With a flag", NO_FLAG: "Without a flag", **{flag: flag for flag in flags}}
        flag = pick("Flag", {"": "Any or none", **given}, "flag") if flags else ""
        titles = {name: measure.title for name, measure in ORDER_MEASURES.items() if name in table}
        measure = pick("Order by", {"": "As imported", **titles}, "measure", forget=("between",))
        falls = pick("Direction", _DIRECTIONS, "falls", width=130) == "1" if measure else False
    with st.container(horizontal=True, vertical_alignment="bottom"):
        between = read_range(state.current("between")) if measure else None
        if measure and is_drawn:
            with st.container(width=280):
                values = table[measure].to_numpy(dtype=np.float64)
                between = choose_between(ORDER_MEASURES[measure], values, key=f"images_{measure}")
        if is_drawn:
            _choose_run(scene)
        predicted = outcome = ""
        if "predicted" in table:
            said = {name: name for name in dict.fromkeys(table["predicted"]) if name}
            predicted = pick("It says", {"": "Anything", **said}, "predicted", width=130)
            outcome = pick("It is", _OUTCOMES, "outcome", width=150)
    return ImageQuery(
        class_name=class_name, split=split, flag=flag, predicted=predicted, outcome=outcome, measure=measure,
        between=between, falls=falls,
    )  # fmt: skip


@dataclass(frozen=True)
class _Picker:
    """Choices of the link; another one begins at the first page. Without controls only what the link says."""

    is_drawn: bool

    def __call__(
        self, label: str, titles: dict[str, str], view_key: str, *, width: int = 150, forget: tuple[str, ...] = ()
    ) -> str:
        if not self.is_drawn:
            given = state.current(view_key) or ""
            return given if given in titles else ""

        def keep(name: str) -> None:
            state.remember(view_key, name or None)
            for key in forget:
                state.settle(key, None)
            start_over()

        return controls.choose(label, titles, view_key, key=f"images_{view_key}", keep=keep, width=width)


def _choose_run(scene: Scene) -> None:
    """The run whose answers may be asked for; nothing where there is none."""
    runs = pictures.tested_runs(scene.dataset.name)
    if not runs:
        return
    full = next((run.run_id for run in runs if run.run_id.startswith(state.current_run() or "-")), "")

    def keep(name: str) -> None:
        state.remember("run", name or None)
        for key in ("predicted", "outcome"):
            state.settle(key, None)
        if (state.current("measure") or "") in ANSWER_MEASURES:
            state.settle("measure", None)
            state.settle("between", None)
        start_over()

    controls.choose("Run", {"": "No run", **short_labels(runs)}, "run", key="images_run", value=full, keep=keep,
                    width=210, help="A finished training; it has answered its test images.")  # fmt: skip


def _draw_page(scene: Scene, table: "pd.DataFrame", rows: np.ndarray, query: ImageQuery) -> None:
    num_pages = max(1, -(-len(rows) // _PER_PAGE))
    page = _page_number(num_pages)
    shown = rows[(page - 1) * _PER_PAGE : page * _PER_PAGE]
    if not len(rows):
        st.markdown("No image fits all of this. Take one of the choices above back.")
        return
    first = (page - 1) * _PER_PAGE
    words = f"**{count(len(rows), 'image')}** of {len(table):,}"
    if num_pages > 1:
        words += f", {first + 1:,} to {first + len(shown):,} here"
    answered = int((table["predicted"].iloc[rows] != "").sum()) if "predicted" in table else 0
    if answered:
        right = int((table["outcome"].iloc[rows] == RIGHT).sum())
        words += f" · the run was tested on {answered:,} of them and right on {right:,}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(words, width="stretch")
        with_mask = pictures.choose_outline(scene)
        controls.download_csv(table.iloc[rows], key="images_shown", label="List as CSV")
    pictures.draw_grid(scene, table, shown, measure=query.measure, with_mask=with_mask)
    if num_pages > 1:
        st.pagination(num_pages, default=page, key="images_page",
                      on_change=lambda: state.remember("sheet", str(st.session_state["images_page"])))  # fmt: skip


def _page_number(num_pages: int) -> int:
    asked = state.current("sheet") or ""
    page = min(int(asked), num_pages) if asked.isdigit() and int(asked) else 1
    if num_pages > 1:
        st.session_state["images_page"] = page
    return page
