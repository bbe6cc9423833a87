"""The operating point for referable disease: a sensitivity is chosen, the rest follows; published points beside it."""

from typing import Any

import pandas as pd
import streamlit as st

from lib.errors import UserError
from lib.evaluation.operating_point import intervals_over
from lib.evaluation.resampling import Estimate
from lib.evaluation.roc import Question
from lib.figures.roc_charts import curve_table, operating_point_figure
from lib.grading.operating_point import (
    DEFAULT_PREVALENCE,
    DEFAULT_SENSITIVITY,
    OTHER_DATA_SENTENCE,
    OperatingPoint,
    choose_operating_point,
    forget_operating_point,
    published_marks,
    published_table,
    read_operating_point,
    referable_question,
    store_operating_point,
)
from lib.tracking.tested import TestedRun
from pages.common import clicks, controls, resources, state
from pages.common.text import plain, readable
from pages.compare.roc import ranked
from pages.compare.scene import Scene
from pages.compare.shared import choose_question, key_of

_TITLES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "ppv": "PPV", "npv": "NPV"}
_HELP = {
    "sensitivity": "Of those who have it, the share that is referred.",
    "specificity": "Of those who do not, the share that is left alone.",
    "ppv": "Of those who are referred, the share that has it, at the prevalence beside.",
    "npv": "Of those who are left alone, the share that does not have it, at the prevalence beside.",
}


def draw(scene: Scene) -> None:
    """One run at a time: the chosen point on its ROC curve, and its figures."""
    tested = scene.tested()
    if not tested:
        st.markdown("An operating point needs the predictions of a finished run, and no selected run has kept any.")
        return
    controls.show_kept_error("compare_referable")
    left, middle, right, last = st.columns([3, 3, 2, 2], vertical_alignment="bottom")
    with left:
        one = _choose_run(tested)
    try:
        referable_question(one.class_names, is_ordinal=one.is_ordinal)
    except UserError as error:
        st.markdown(plain(str(error), 400))
        return
    with middle:
        question = choose_question(one, only_grades=True)
    with right:
        sensitivity = _choose_share("Sensitivity of at least", "sensitivity", DEFAULT_SENSITIVITY, most=100)
    with last:
        prevalence = _choose_share("Prevalence", "prevalence", DEFAULT_PREVALENCE, most=99)
    try:
        point = _cached_point((*key_of(one), question.key, sensitivity, prevalence), _tested=one, _question=question,
                              sensitivity=sensitivity, prevalence=prevalence)  # fmt: skip
    except UserError as error:
        st.markdown(plain(str(error), 400))
        return
    _draw_point(one, question, point)


def _draw_point(one: TestedRun, question: Question, point: OperatingPoint) -> None:
    picture, reading = st.columns([2, 1], gap="large")
    found = point.reading
    with picture:
        figure = operating_point_figure(
            ranked(one, question),
            found,
            published_marks(is_ordinal=one.is_ordinal),
            title=point.title_of_images,
            is_dark=controls.is_dark(),
        )
        alt = readable(f"ROC curve of {one.label} with the chosen operating point. {point.sentence}", 600)
        controls.show_figure(figure, alt=alt, key="operating_point", data=curve_table([ranked(one, question)]))
    with reading:
        for pair in (("sensitivity", "specificity"), ("ppv", "npv")):
            for column, key in zip(st.columns(2), pair, strict=True):
                column.metric(_TITLES[key], _percent(getattr(found, key)), help=_HELP[key])
                column.caption(_ends(getattr(found, key)))
        st.caption(
            plain(f"Referred from a probability of {point.threshold:.3f} on. {point.chosen_sentence} "
                  f"{intervals_over(found, one.groups)}", 600)
        )  # fmt: skip
        _draw_storing(one, point)
    with st.expander(
        "Published operating points for diabetic retinopathy, of other data", key="compare_published_points"
    ):
        st.caption(OTHER_DATA_SENTENCE)
        config: dict[str, Any] = {"url": st.column_config.LinkColumn("link", width=60, display_text="open")}
        controls.show_table(published_table(), hide_index=True, column_config=config, alt="Published operating points")
        figures = pd.DataFrame([{"measure": _TITLES[key], **vars(getattr(found, key))} for key in _TITLES])
        controls.download_csv(figures.drop(columns="error"), key="operating_point_figures", label="This point as CSV")


def _draw_storing(one: TestedRun, point: OperatingPoint) -> None:
    """Keep the point with the run, and what is kept so far."""
    stored = read_operating_point(one.run)
    is_same = stored is not None and stored.to_dict() == point.to_dict()  # NaN is not equal to itself
    if is_same:
        st.markdown("This point is stored with the run.")
    elif stored is not None:
        st.caption(plain(f"Stored with the run: {stored.sentence}", 500))
    with st.container(horizontal=True):
        st.button(
            "Store with the run", icon=":material/save:", key="compare_store_point", disabled=is_same,
            on_click=_store, args=(one, point), help="Exports carry it, and Grade images says it.",
        )  # fmt: skip
        if stored is not None:
            st.button("Forget it", type="tertiary", key="compare_forget_point", on_click=_forget, args=(one, stored))
    controls.show_undo("operating_point")


def _store(one: TestedRun, point: OperatingPoint) -> None:
    if clicks.is_repeat(f"store point {one.run.run_id} {point.threshold}"):
        return
    with controls.keep_error("compare_referable", "store the operating point"):
        store_operating_point(one.run, point)


def _forget(one: TestedRun, stored: OperatingPoint) -> None:
    with controls.keep_error("compare_referable", "forget the operating point"):
        forget_operating_point(one.run)
        controls.offer_undo("operating_point", "the stored point", lambda: store_operating_point(one.run, stored))


def _choose_run(tested: list[TestedRun]) -> TestedRun:
    by_id = {one.run.run_id: one for one in tested}
    asked, key = state.current_run(), "compare_referable_run"
    st.session_state[key] = asked if asked in by_id else next(iter(by_id))
    chosen = st.selectbox(
        "Run", list(by_id), format_func=lambda run_id: readable(by_id[run_id].label), key=key,
        on_change=lambda: state.remember("run", st.session_state[key]),
    )  # fmt: skip
    return by_id[str(chosen)]


def asked_share(view_key: str, default: float, *, most: int) -> float:
    """The share of the link as a fraction, at most `most` per cent."""
    try:
        asked = float(state.current(view_key) or default)
    except ValueError:
        asked = default
    return round(asked, 4) if 0.005 <= asked <= most / 100 else default


def _choose_share(label: str, view_key: str, default: float, *, most: int) -> float:
    """A share in per cent, kept in the link as a fraction."""
    key = f"compare_{view_key}"
    asked = asked_share(view_key, default, most=most)
    st.session_state[key] = round(100 * asked, 1)
    st.number_input(
        f"{label}, %", 0.5, float(most), step=1.0, format="%.1f", key=key,
        on_change=lambda: state.remember(view_key, f"{st.session_state[key] / 100:g}"),
    )  # fmt: skip
    return asked


@st.cache_resource(max_entries=128, show_spinner=False)
def _cached_point(
    key: tuple[Any, ...], *, _tested: TestedRun, _question: Question, sensitivity: float, prevalence: float
) -> OperatingPoint:
    return choose_operating_point(
        _tested, _question, sensitivity=sensitivity, prevalence=prevalence,
        read=lambda run: resources.cached_predictions(run.run_id, run.ended_s),
    )  # fmt: skip


def _percent(found: Estimate) -> str:
    return "not defined" if found.value != found.value else f"{100 * found.value:.0f}\u00a0%"


def _ends(found: Estimate) -> str:
    return "no interval" if found.low != found.low else f"{100 * found.low:.0f} to {100 * found.high:.0f}\u00a0%"
