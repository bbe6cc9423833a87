"""What several views begin with: the runs that can be held against each other, and what is asked of them."""

import hashlib
from typing import Any

import streamlit as st

from lib.evaluation.intervals import Interval, metric_interval
from lib.evaluation.metric_table import Metric
from lib.evaluation.roc import Question, few_units, questions
from lib.tracking.tested import TestedRun, comparable_runs
from pages.common import controls
from pages.common.text import plain
from pages.compare.scene import Scene

_MOST_SAID = 2  # sentences in sight above a figure


def shared_runs(scene: Scene) -> list[TestedRun]:
    """The selected runs on the test images that they share; says what is compared, and who is left out and why."""
    tested = scene.tested()
    if not tested:
        st.markdown("Nothing to draw: this needs the predictions of a finished run, and no selected run has kept any.")
        return []
    shared, sentences = comparable_runs(tested)
    if without := len(scene.runs) - len(tested):
        sentences.append(f"{without} of the selected runs {'has' if without == 1 else 'have'} no predictions.")
    if any(one.folds is not None for one in shared):
        sentences.append("Answers of all folds are counted together; the board has the mean over the folds.")
    for sentence in sentences[:_MOST_SAID]:
        st.caption(plain(sentence, 400))
    if len(sentences) > _MOST_SAID:
        with st.expander(f"{len(sentences) - _MOST_SAID} more of the selected runs are left out or need a word"):
            st.markdown("\n".join(f"- {plain(sentence, 400)}" for sentence in sentences[_MOST_SAID:]))
    return shared


def choose_question(tested: TestedRun, *, only_grades: bool = False) -> Question:
    """Which class, or which grades, against the rest (key `cutoff` of the link)."""
    asked = questions(tested.class_names, is_ordinal=tested.is_ordinal)
    asked = [one for one in asked if one.is_grade or not only_grades] or asked
    titles = {one.key: one.title if one.is_grade or only_grades else f"{one.title} against the rest" for one in asked}
    chosen = controls.choose("What counts as positive", titles, "cutoff", key="compare_cutoff", width=360)
    return next(one for one in asked if one.key == chosen)


def key_of(tested: TestedRun) -> tuple[Any, ...]:
    """What a cache knows the answers of a run on some images by."""
    images = hashlib.sha256("\n".join(tested.image_ids).encode()).hexdigest()[:16]
    return (tested.run.run_id, tested.run.ended_s, tested.label, images, tested.groups is not None)


def groups_words(tested: TestedRun) -> str:
    """What the intervals are drawn over."""
    if few := few_units(tested.groups, len(tested.targets)):
        return f"No interval by bootstrap: {few}."
    if tested.groups is None:
        return "95 % intervals by bootstrap over images."
    return "95 % intervals by bootstrap over patients or groups, whose images are drawn together."


def estimate_of(tested: TestedRun, metric: Metric) -> Interval:
    """A metric of a run with its 95 % interval, through the bounded cache."""
    return _cached_estimate((*key_of(tested), metric.key), _tested=tested, _metric=metric)


@st.cache_resource(max_entries=512, show_spinner=False)
def _cached_estimate(key: tuple[Any, ...], *, _tested: TestedRun, _metric: Metric) -> Interval:
    return metric_interval(_metric, _tested.targets, _tested.probabilities, groups=_tested.groups, folds=_tested.folds)
