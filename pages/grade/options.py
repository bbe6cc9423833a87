"""What a person chooses beside the run; all of it stands in the link and goes to the one grader."""

import math
from typing import Any

import streamlit as st

from lib.grading.grades import USUAL_OPTIONS, GradingOptions
from pages.common import controls, state
from pages.grade.runs import has_decision, manifest_of

COVERAGES = (0.8, 0.9, 0.95, 0.99)
_COVERAGE_HELP = (
    "How often the classes that are named hold the right one, by images that the answering classifier had not seen. "
    "Where those were other fits than this classifier (folds, or heads fitted on all images), about that often or more."
)
_LARGEST_HELP = (
    "With more classes left than this at that coverage, or where the class of the expected grade is not among them, no "
    "class is given: the image is for a person."
)
_ROTATIONS_HELP = (
    "The mean of the answers to the image turned by 0, 90, 180 and 270 degrees: four times the work. Probabilities and "
    "coverage were fitted without rotations; what they are worth with them was not measured."
)
_PREVALENCE_HELP = (
    "Share of referable images among those that you grade. PPV and NPV depend on it. 0 takes the one stored with the "
    "run's operating point, else 10 %."
)


def choose_options(run_id: str) -> GradingOptions:
    """Draw the choices in a popover and return what the view says."""
    with st.popover("Options", icon=":material/tune:", key="grade_options"):
        by_thresholds = controls.choose_rule(manifest_of(run_id).get("thresholds"), key=f"grade_rule_{run_id}")
        coverage = _number("coverage", COVERAGES, USUAL_OPTIONS.coverage)
        controls.choose(
            "Coverage", {f"{one:g}": f"{100 * one:.0f} %" for one in COVERAGES}, "coverage", key="grade_coverage",
            value=f"{coverage:g}", is_segmented=True, help=_COVERAGE_HELP,
        )  # fmt: skip
        largest = state.current("largest") or ""
        titles = {"": "Always give a class"} | {str(number): f"At most {number}" for number in (1, 2, 3)}
        largest = largest if largest in titles else ""
        st.session_state["grade_largest"] = largest
        st.selectbox(
            "Classes left", list(titles), format_func=titles.__getitem__, key="grade_largest", help=_LARGEST_HELP,
            on_change=lambda: state.remember("largest", st.session_state["grade_largest"] or None),
        )  # fmt: skip
        st.session_state["grade_rotations"] = state.current("rotations") == "on"
        rotations = st.toggle(
            "Rotations", key="grade_rotations", help=_ROTATIONS_HELP,
            on_change=lambda: state.remember("rotations", "on" if st.session_state["grade_rotations"] else None),
        )  # fmt: skip
        prevalence = _choose_prevalence() if has_decision(run_id) else None
    return GradingOptions(
        by_thresholds=by_thresholds, coverage=coverage, largest_set=int(largest) if largest else None,
        rotations=rotations, prevalence=prevalence, with_maps=True,
    )  # fmt: skip


def _choose_prevalence() -> float | None:
    wanted = _fraction(state.current("prevalence"))
    st.session_state["grade_prevalence"] = 100 * (wanted or 0.0)

    def keep() -> None:
        share = float(st.session_state["grade_prevalence"]) / 100
        state.remember("prevalence", f"{share:g}" if share > 0 else None)

    st.number_input(
        "Prevalence in per cent", min_value=0.0, max_value=99.0, step=1.0, format="%.1f", key="grade_prevalence",
        on_change=keep, help=_PREVALENCE_HELP,
    )  # fmt: skip
    return wanted


def _number(key: str, allowed: tuple[float, ...], usual: float) -> float:
    """The value of the link where it is one of those that are offered."""
    value = _fraction(state.current(key))
    return next((one for one in allowed if value is not None and math.isclose(one, value)), usual)


def _fraction(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if 0 < value <= 0.99 else None
