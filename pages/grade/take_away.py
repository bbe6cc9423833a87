"""Everything to take away: the grades as CSV, JSON and a page with pictures."""

import streamlit as st

from lib.grading import report
from lib.grading.grades import Grade
from pages.common.text import plain
from pages.grade.folder import report_of
from pages.grade.scene import Scene


def _pdf(scene: Scene) -> bytes:
    from lib.grading.report_pdf import to_pdf

    return to_pdf(_full(scene), scene.grader.header, folder=report_of(scene).sentences)


def _full(scene: Scene) -> list[Grade]:
    return scene.grader.with_case_pictures(scene.session.grades(scene.key))


def draw(scene: Scene) -> None:
    """The view."""
    header, key = scene.grader.header, scene.key
    light = [grade for grade, _ in scene.rows]

    def said() -> tuple[str, ...]:
        return report_of(scene).sentences

    st.markdown("The grades of all files, with what graded them, its limits and the versions.")
    with st.container(horizontal=True):
        for label, suffix, kind, make in (
            ("Table as CSV", "csv", "text/csv", lambda: report.to_csv(light, header, folder=said())),
            ("All values as JSON", "json", "application/json", lambda: report.to_json(light, header, folder=said())),
            ("Report with pictures", "html", "text/html", lambda: report.to_html(_full(scene), header, folder=said())),
            ("Report as PDF", "pdf", "application/pdf", lambda: _pdf(scene)),
        ):
            st.download_button(
                label, make, file_name=f"grades_{key[:8]}.{suffix}", mime=kind, key=f"grade_{suffix}",
                icon=":material/download:", on_click="ignore",
            )  # fmt: skip
    if header.result_sentence:
        st.caption(plain(header.result_sentence, 400))
