"""ROC and precision-recall curves of the selected runs: one class, or all grades from one on, against the rest."""

from typing import Any

import streamlit as st

from lib.evaluation.roc import Question, RankingCurves, interval_text, is_constant, ranking_curves, why_undefined
from lib.figures.roc_charts import MAX_RUNS, RankedRun, curve_table, precision_recall_figure, roc_figure
from lib.tracking.tested import TestedRun
from pages.common import controls
from pages.common.text import plain, readable
from pages.compare.scene import Scene
from pages.compare.shared import choose_question, groups_words, key_of, shared_runs

_CURVES = {"roc": "ROC", "precision": "Precision and recall"}


def draw(scene: Scene) -> None:
    """The curves with their areas, on the images that the runs share."""
    shared = shared_runs(scene)
    if not shared:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        question = choose_question(shared[0])
        kind = controls.choose("Curve", _CURVES, "axis", key="compare_curve_kind", is_segmented=True)
    truth = question.truth(shared[0].targets)
    if why := why_undefined(truth, question.score(shared[0].probabilities), question.title):
        st.markdown(plain(why, 300))
        return
    runs = [ranked(one, question) for one in shared]
    title = f"{question.title}: {int(truth.sum())} of {len(truth)} test images"
    draw_figure = roc_figure if kind == "roc" else precision_recall_figure
    figure = draw_figure(runs, title=title, is_dark=controls.is_dark())
    areas = ", ".join(f"{run.label} {_area(run.curves, kind)}" for run in runs)
    alt = readable(f"{_CURVES[kind]} curves, {title}: {areas}", 600)
    controls.show_figure(figure, alt=alt, key=f"curves_{kind}", data=curve_table(runs))
    chance = "the dashed line is chance" if kind == "roc" else "the dashed line calls everybody positive"
    st.caption(f"{groups_words(shared[0])} Higher is better; {chance}.")
    for one in shared:
        if is_constant(question.score(one.probabilities)):
            st.caption(
                plain(f"{one.label} gives every image the same score, so no threshold tells anything apart.", 300)
            )
    if len(runs) > MAX_RUNS:
        st.caption(f"The first {MAX_RUNS} of {len(runs)} runs are drawn; the data hold all.")


def ranked(tested: TestedRun, question: Question) -> RankedRun:
    """A run's curves through the bounded cache."""
    found = _cached_curves((*key_of(tested), question.key), _tested=tested, _question=question)
    return RankedRun(tested.label, str(tested.run.config.get("strategy", "")), found)


@st.cache_resource(max_entries=256, show_spinner=False)
def _cached_curves(key: tuple[Any, ...], *, _tested: TestedRun, _question: Question) -> RankingCurves:
    truth, score = _question.truth(_tested.targets), _question.score(_tested.probabilities)
    return ranking_curves(truth, score, _tested.groups)


def _area(curves: RankingCurves, kind: str) -> str:
    return interval_text(curves.area if kind == "roc" else curves.average_precision)
