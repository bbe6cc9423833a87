"""The rules of the diabetic retinopathy severity scale, for data sets whose classes are its grades."""

import streamlit as st

from lib.data.dataset import Dataset
from lib.data.grades import RULES, SOURCE, SOURCE_URL, known_grades


def is_graded_by_it(dataset: Dataset) -> bool:
    """Whether the classes are the five grades of the scale, by whatever names."""
    return dataset.spec.is_ordinal and known_grades(dataset.class_names) is not None


def show() -> None:
    """The rules, one line a grade, and their source."""
    st.markdown("International Clinical Diabetic Retinopathy severity scale, as the grades of these images follow it:")
    rows = {f"{rule.grade} · {rule.name}": rule.finding for rule in RULES}
    st.table(rows, border="horizontal", alt="Grades of the severity scale and the findings that define them")
    st.caption(f"[{SOURCE}]({SOURCE_URL}). Quadrants are counted round the fovea.")
