"""Whether stated probabilities come true: reliability of the selected runs."""

from typing import Any

import streamlit as st

from lib.evaluation.reliability import Reliability, answer_confidence, reliability, reliability_words
from lib.evaluation.roc import Question, questions
from lib.figures.roc_charts import MAX_RUNS, ReliableRun, reliability_figure, reliability_table
from lib.tracking.tested import TestedRun
from pages.common import controls
from pages.common.text import plain, readable
from pages.compare.scene import Scene
from pages.compare.shared import groups_words, key_of, shared_runs

_ANSWER = "answer"


def draw(scene: Scene) -> None:
    """Stated probability against what came true, in bins of equally many images."""
    shared = shared_runs(scene)
    if not shared:
        return
    asked = questions(shared[0].class_names, is_ordinal=shared[0].is_ordinal)
    titles = {_ANSWER: "The class that is given is right"} | {one.key: f"It is {one.title}" for one in asked}
    chosen = controls.choose("What is stated", titles, "cutoff", key="compare_stated", width=360)
    question = next((one for one in asked if one.key == chosen), None)
    runs = [
        ReliableRun(
            one.label, str(one.run.config.get("strategy", "")),
            _cached_reliability((*key_of(one), chosen), _tested=one, _question=question),
        )
        for one in shared
    ]  # fmt: skip
    title = f"{titles[chosen]}: {runs[0].reliability.num} test images, in bins of equally many"
    figure = reliability_figure(runs, title=title, is_dark=controls.is_dark())
    words = "; ".join(f"{run.label}: {reliability_words(run.reliability)}" for run in runs)
    controls.show_figure(
        figure, alt=readable(f"Reliability diagram, {title}. {words}", 700), key="reliability",
        data=reliability_table(runs),
    )  # fmt: skip
    how = (
        groups_words(shared[0])
        if shared[0].groups is not None
        else "95 % intervals: Wilson's, of the error by bootstrap."
    )
    st.caption(
        f"{how} On the dashed line what is stated comes true; below it a run states too much. Error: calibration error."
    )
    if question is not None and not question.truth(shared[0].targets).any():
        st.caption(
            plain(f"None of the test images is {question.title!r}, so every stated probability is too high.", 300)
        )
    if len(runs) > MAX_RUNS:
        st.caption(f"The first {MAX_RUNS} of {len(runs)} runs are drawn; the data hold all.")


@st.cache_resource(max_entries=256, show_spinner=False)
def _cached_reliability(key: tuple[Any, ...], *, _tested: TestedRun, _question: Question | None) -> Reliability:
    if _question is None:
        return reliability(*answer_confidence(_tested.targets, _tested.probabilities), _tested.groups)
    return reliability(_question.truth(_tested.targets), _question.score(_tested.probabilities), _tested.groups)
