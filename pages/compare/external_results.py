"""What is kept of the selected runs on other data sets: differences, sentences, a table, and all pictures of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from lib.atomic import digest_of
from lib.evaluation.metric_table import Metric
from lib.figures.result_charts import MAX_INTERVALS, difference_figure
from lib.grading.external import (
    CHANGE_WORDS,
    ExternalResult,
    change_table,
    change_title,
    delete_external,
    external_tested,
    restore_external,
)
from lib.tracking import RunRecord
from lib.tracking.tested import TestedRun
from pages.common import clicks, controls, resources, state
from pages.common.errors import show_errors
from pages.common.text import count, joined, plain, readable
from pages.compare.scene import Scene

_FORMATS = {"Value": "%.3f", "Own test": "%.3f", "Difference": "%+.3f"}
_PICTURES = ("images", "matrices", "classes", "roc", "reliability")  # views that draw answers, whatever images they are


def draw_results(
    scene: Scene, runs: Sequence[RunRecord], kept: dict[str, list[ExternalResult]], dataset: str | None
) -> None:
    every = [(run, result) for run in runs for result in kept[run.run_id]]
    if not every:
        st.markdown("None of the selected runs has been evaluated on another data set yet.")
        return
    asked = state.current("external")
    shown = [pair for pair in every if pair[1].dataset == (asked or dataset)]
    if not shown:
        shown = [pair for pair in every if pair[1].dataset == every[0][1].dataset] if asked is None else []
    metric = scene.metric
    if shown:
        picture, reading = st.columns([2, 1], gap="large")
        with picture, show_errors("draw the differences"):
            _draw_differences(scene, shown, metric)
        with reading:
            for run, result in shown[:3]:
                st.markdown(plain(result.sentence(scene.labels[run.run_id], metric), 700))
            _say_missing(shown)
    _draw_table(scene, every, metric)
    if len(shown) > 3:
        with st.expander("Each run in words", key="external_words"):
            for run, result in shown[3:]:
                st.markdown(plain(result.sentence(scene.labels[run.run_id], metric), 700))
    if notes := list(dict.fromkeys(result.note for _, result in shown if result.note)):
        with st.expander("What was left out, and what is to be known", key="external_notes"):
            for note in notes:
                st.markdown(plain(note, 900))
    if shown:
        _draw_pictures(scene, shown)


def _draw_differences(scene: Scene, shown: Sequence[tuple[RunRecord, ExternalResult]], metric: Metric) -> None:
    table = change_table(shown[:MAX_INTERVALS], scene.labels, metric)
    if not len(table):
        st.markdown("The differences to the runs' own test images are not defined: their predictions are gone.")
        return
    title = change_title(shown[0][1], metric)
    figure = difference_figure(table, title=title, is_dark=controls.is_dark())
    alt = f"Dot plot: {readable(title)}, one row a run with its 95 % interval; hollow dots could be chance"
    controls.show_figure(figure, alt=alt, key="external", data=table)
    st.caption(CHANGE_WORDS)


def _say_missing(shown: Sequence[tuple[RunRecord, ExternalResult]]) -> None:
    missing = list(dict.fromkeys(name for _, result in shown for name in result.classes_without_images))
    if missing:
        st.caption(plain(f"No images there of {joined(missing)}; averages over classes leave them out.", 400))


def _draw_table(scene: Scene, every: Sequence[tuple[RunRecord, ExternalResult]], metric: Metric) -> None:
    table = pd.DataFrame([_row(scene.labels[run.run_id], result, metric) for run, result in every])
    event = controls.show_table(
        table, key=f"external_table_{digest_of([[run.run_id, result.key] for run, result in every])[:12]}",
        hide_index=True, placeholder="–", on_select="rerun", selection_mode="multi-row",
        column_config={name: st.column_config.NumberColumn(format=form) for name, form in _FORMATS.items()},
        alt="Results on other data sets: value, interval, own test and difference, one row a run and data set",
    )  # fmt: skip
    chosen = [every[row] for row in event.selection.rows if row < len(every)]
    with st.container(horizontal=True, vertical_alignment="center"):
        controls.download_csv(table, key="external_results")
        if chosen:
            keys = [(run.run_id, result.key) for run, result in chosen]
            what = count(len(keys), "result")
            st.button(
                f"Delete {what}", icon=":material/delete:", type="tertiary",
                key=f"external_delete_{digest_of(keys)[:12]}", on_click=_delete, args=(keys, what),
            )  # fmt: skip


def _row(label: str, result: ExternalResult, metric: Metric) -> dict[str, Any]:
    used = result.metric_for(metric)
    score = result.scores[used.key]
    left_out = {kind: number for kind, number in result.left_out.items() if number}
    words = {"seen_left_out": "seen in training", "near_left_out": "copies of those", "unmapped": "other classes"}
    return {
        "Run": label,
        "Data set": result.title,
        "Metric": used.title,
        "Value": score.external.value,
        "95 % interval": _ends(score.external.low, score.external.high),
        "Own test": score.own.value,
        "Difference": score.delta.value,
        "95 % of the difference": _ends(score.delta.low, score.delta.high),
        "Images": result.num,
        "Left out": ", ".join(f"{number} {words[kind]}" for kind, number in left_out.items()),
        "Classes": result.mapping,
    }


def _ends(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}" if math.isfinite(low) and math.isfinite(high) else ""


def _delete(keys: Sequence[tuple[str, str]], what: str) -> None:
    if clicks.is_repeat(f"delete external {keys}"):
        return
    done: list[tuple[str, str]] = []
    with controls.keep_error("external", "delete the results"):
        for run_id, key in keys:
            delete_external(run_id, key)
            done.append((run_id, key))
    resources.forget_results()

    def bring_back() -> None:
        for run_id, key in done:
            restore_external(run_id, key)
        resources.forget_results()

    if done:
        resources.forget_results()
        controls.offer_undo("external", what, bring_back)


# The pictures of the answers: those of the board, of these images.


@dataclass(frozen=True, eq=False)
class _Elsewhere(Scene):
    """The scene with the answers on another data set in the place of those to the own test images."""

    answers: tuple[TestedRun, ...] = ()

    def tested(self) -> list[TestedRun]:
        return list(self.answers)


def _draw_pictures(scene: Scene, shown: Sequence[tuple[RunRecord, ExternalResult]]) -> None:
    from pages.compare.views import VIEWS

    titles = {view.name: view.title for view in VIEWS if view.name in _PICTURES}
    asked = state.current("pictures")
    st.session_state["external_pictures"] = asked if asked in titles else None
    st.segmented_control(
        "Pictures of these answers", list(titles), format_func=titles.get, key="external_pictures",
        on_change=lambda: state.remember("pictures", st.session_state["external_pictures"]),
    )  # fmt: skip
    if asked not in titles:
        return
    with show_errors("draw the answers"):
        newest = {run.run_id: (run, result) for run, result in reversed(shown)}
        answers = [external_tested(run, scene.labels[run.run_id], result) for run, result in reversed(newest.values())]
        there = _Elsewhere(tuple(one.run for one in answers), scene.labels, tuple(answers))
        next(view for view in VIEWS if view.name == asked).draw(there)
