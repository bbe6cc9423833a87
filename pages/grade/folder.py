"""Whether the images as a whole are like those of the validation: what was refused and why, scores, expected PPV."""

import streamlit as st

from lib.errors import UserError
from lib.grading.batch import DriftReport, drift_report, validation_scores
from pages.common import controls
from pages.common.text import plain
from pages.grade.scene import Scene


def report_of(scene: Scene) -> DriftReport:
    """The report on the files as far as they are graded."""
    try:
        validation = validation_scores(scene.run_id)
    except UserError:  # an imported bundle is no run of this store
        validation = None
    return drift_report(
        [grade for grade, _ in scene.rows], class_names=scene.grader.class_names, validation=validation,
        point=scene.grader.operating_point, prevalence=scene.grader.options.prevalence,
    )  # fmt: skip


def draw(scene: Scene) -> None:
    """The view."""
    report = report_of(scene)
    words, tables = st.columns([3, 2], gap="large")
    with words:
        for sentence in report.sentences:
            st.markdown(plain(sentence, 900))
    share = st.column_config.NumberColumn(format="percent")
    with tables:
        controls.show_table(
            report.statuses, hide_index=True, column_config={"share": share}, alt="Files and their share by status"
        )
        shares = {name: share for name in report.classes.columns if name.startswith("share")}
        controls.show_table(
            report.classes, hide_index=True, column_config=shares, alt="Share of each class here and in validation"
        )
