"""What several views begin with: the runs that can be held against each other, a choice in the link, what is said."""

import hashlib
from collections.abc import Mapping
from typing import Any

import streamlit as st

from lib.evaluation.roc import Question, questions
from lib.tracking.tested import TestedRun, comparable_runs
from pages.common import state
from pages.common.text import plain, readable
from pages.compare.scene import Scene


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
    for sentence in sentences:
        st.caption(plain(sentence, 400))
    return shared


def choose_in_link(label: str, titles: Mapping[str, str], view_key: str, *, as_list: bool = False) -> str:
    """A choice that the link keeps: buttons, or a list where there are many; the first one by default."""
    asked = state.current(view_key)
    key = f"compare_choice_{view_key}_{hashlib.sha256('/'.join(titles).encode()).hexdigest()[:8]}"
    st.session_state[key] = asked if asked in titles else next(iter(titles))
    options: dict[str, Any] = {
        "format_func": lambda name: readable(titles[name], 60), "key": key,
        "on_change": lambda: state.remember(view_key, st.session_state[key]),
    }  # fmt: skip
    if as_list:
        return str(st.selectbox(label, list(titles), width=360, **options))
    return str(st.segmented_control(label, list(titles), required=True, label_visibility="collapsed", **options))


def choose_question(tested: TestedRun, *, only_grades: bool = False) -> Question:
    """Which class, or which grades, against the rest (key `cutoff` of the link)."""
    asked = questions(tested.class_names, is_ordinal=tested.is_ordinal)
    asked = [one for one in asked if one.is_grade or not only_grades] or asked
    titles = {one.key: one.title if one.is_grade or only_grades else f"{one.title} against the rest" for one in asked}
    chosen = choose_in_link("What counts as positive", titles, "cutoff", as_list=True)
    return next(one for one in asked if one.key == chosen)


def key_of(tested: TestedRun) -> tuple[Any, ...]:
    """What a cache knows the answers of a run on some images by."""
    images = hashlib.sha256("\n".join(tested.image_ids).encode()).hexdigest()[:16]
    return (tested.run.run_id, tested.run.ended_s, tested.label, images, tested.groups is not None)


def groups_words(tested: TestedRun) -> str:
    """What the intervals are drawn over."""
    if tested.groups is None:
        return "95 % intervals by bootstrap over images."
    return "95 % intervals by bootstrap over patients or groups, whose images are drawn together."
