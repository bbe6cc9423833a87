"""Everything to take away: the grades as CSV, JSON and a page with pictures."""

import streamlit as st

from lib.grading import report
from pages.common.text import plain
from pages.grade.folder import report_of
from pages.grade.scene import Scene


def _pdf(scene: Scene) -> bytes:
    from lib.grading.report_pdf import to_pdf

    drift = report_of(scene).sentences
    return to_pdf(scene.session.grades(scene.key), scene.grader.header, drift=drift)


def draw(scene: Scene) -> None:
    """The view."""
    header, session, key = scene.grader.header, scene.session, scene.key
    light = [grade for grade, _ in scene.rows]
    st.markdown("The grades of all files, with what graded them, its limits and the versions.")
    with st.container(horizontal=True):
        for label, suffix, kind, make in (
            ("Table as CSV", "csv", "text/csv", lambda: report.to_csv(light, header)),
            ("All values as JSON", "json", "application/json", lambda: report.to_json(light, header)),
            ("Report with pictures", "html", "text/html", lambda: report.to_html(session.grades(key), header)),
            ("Report as PDF", "pdf", "application/pdf", lambda: _pdf(scene)),
        ):
            st.download_button(
                label, make, file_name=f"grades_{key[:8]}.{suffix}", mime=kind, key=f"grade_{suffix}",
                icon=":material/download:", on_click="ignore",
            )  # fmt: skip
    if header.result_sentence:
        st.caption(plain(header.result_sentence, 400))
