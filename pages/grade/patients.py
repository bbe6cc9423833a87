"""Left and right eye of one patient joined; the worse eye decides."""

import pandas as pd
import streamlit as st

from lib.grading.patients import join_patients
from pages.common import controls
from pages.common.text import count
from pages.grade.scene import Scene


def draw(scene: Scene) -> None:
    """The view."""
    grades = [grade for grade, _ in scene.rows]
    patients = join_patients(grades)
    if not patients:
        st.markdown("No file says whose eye it shows. Names such as `12_left.jpg` and `12_right.jpg` are joined here.")
        return
    joined = sum(len(one.eyes) for one in patients)
    st.markdown(
        f"**{count(len(patients), 'patient')}** with {count(joined, 'picture')}, by the names of the files; the worse "
        f"eye decides. {count(len(grades) - joined, 'file')} without a side left out."
    )
    table = pd.DataFrame(
        {"patient": one.patient, "decision": one.action, "highest grade": one.class_name or "", "eyes": one.sentence}
        for one in patients
    )
    controls.show_table(
        table, hide_index=True, column_config={"eyes": st.column_config.TextColumn(width="large")},
        alt="One row a patient: decision, highest grade, and what each eye says",
    )  # fmt: skip
    controls.download_csv(table, key="grade_patients")
