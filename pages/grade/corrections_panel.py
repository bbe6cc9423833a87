"""A person's correction of one grade: a class and a note in a log that only grows, and its undo."""

import streamlit as st

from lib.grading.corrections import MAX_NOTE_LETTERS, correct, present_of, undo
from lib.grading.grades import Grade
from pages.common import controls
from pages.common.errors import show_errors
from pages.common.text import plain, readable
from pages.grade.scene import Scene


def draw(scene: Scene, grade: Grade) -> None:
    """What was corrected, or the form that corrects it."""
    controls.show_kept_error("correction")
    with show_errors("read the corrections"):
        held = present_of(grade.sha256, scene.run_id)
        if held is not None:
            note = f" {plain(held.note, 300)}" if held.note else ""
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**Corrected to {plain(held.corrected)}.**{note}")
                st.button("Undo", icon=":material/undo:", type="tertiary", key="grade_correction_undo",
                          on_click=_undo, args=(held.correction_id,))  # fmt: skip
            return
        with st.popover("Correct this grade", icon=":material/edit:", key="grade_correction_box"):
            _draw_form(scene, grade)


def _draw_form(scene: Scene, grade: Grade) -> None:
    key = f"grade_correction_{grade.sha256[:12]}"
    with st.form(key, border=False):
        st.selectbox("The right class", scene.grader.class_names, key=f"{key}_class", format_func=readable)
        st.text_input("Note", key=f"{key}_note", max_chars=MAX_NOTE_LETTERS)
        st.form_submit_button("Keep the correction", on_click=_keep, args=(scene, grade, key))
    st.caption("Written to this machine's log of corrections, without the picture; it can go back into a data set: "
               "python -m lib corrections")  # fmt: skip


def _keep(scene: Scene, grade: Grade, key: str) -> None:
    with controls.keep_error("correction", "keep the correction"):
        correct(
            grade.sha256, st.session_state[f"{key}_class"], file=grade.name, run=scene.run_id, given=grade.class_name,
            note=st.session_state[f"{key}_note"], class_names=scene.grader.class_names,
        )  # fmt: skip


def _undo(correction_id: str) -> None:
    with controls.keep_error("correction", "take the correction back"):
        undo(correction_id)
