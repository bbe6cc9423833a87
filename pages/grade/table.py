"""All files as a table with pictures: filtered, sorted, a row opens its image."""

import base64
from typing import Any

import pandas as pd
import streamlit as st

from lib.grading.corrections import present
from lib.grading.grades import STATUS_WORDS
from pages.common import controls, state
from pages.grade.scene import Scene
from pages.grade.selection import choose_rows, image_of, risk_of


def draw(scene: Scene) -> None:
    """The view."""
    rows = choose_rows(scene)
    if not rows:
        st.markdown("No file is like that; choose another filter.")
        return
    has_decision = any(grade.decision for grade, _ in rows)
    has_sets = any(grade.prediction_set for grade, _ in rows)
    corrected = {one.sha256: one.corrected for one in present() if one.run == scene.run_id}
    has_corrections = any(grade.sha256 in corrected for grade, _ in rows)
    table: list[dict[str, Any]] = []
    for grade, jpeg in rows:
        row: dict[str, Any] = {
            "picture": None if jpeg is None else f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
            "file": grade.name, "class": grade.class_name or "", "confidence": grade.confidence,
        }  # fmt: skip
        if has_sets:
            row["one of"] = ", ".join(grade.prediction_set)
        if has_corrections:
            row["corrected to"] = corrected.get(grade.sha256, "")
        if has_decision:
            row |= {"decision": grade.decision.action if grade.decision else "", "P(referable)": risk_of(grade)}
        table.append(row | {"status": STATUS_WORDS[grade.status], "reason": grade.explanation})
    opened = [grade for grade, _ in rows]

    def open_row() -> None:
        chosen = st.session_state["grade_table"].selection.rows
        if chosen and chosen[0] < len(opened) and opened[chosen[0]].sha256:
            state.remember("image", image_of(opened[chosen[0]]))
            state.remember("tab", "closer")

    share = st.column_config.NumberColumn(format="percent")
    controls.show_table(
        pd.DataFrame(table), hide_index=True, row_height=64, height=min(520, 40 + 64 * len(table)), key="grade_table",
        on_select=open_row, selection_mode="single-row",
        column_config={
            "picture": st.column_config.ImageColumn(width="small"), "confidence": share, "P(referable)": share,
            "reason": st.column_config.TextColumn(width="large"),
        },
        alt="One row a file: picture, class, confidence, decision, status and reason",
    )  # fmt: skip
    st.caption("Choose a row to look at its image closely.")
