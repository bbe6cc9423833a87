"""The passports of all files, page by page."""

import streamlit as st

from pages.common.passports import draw_passports
from pages.common.text import plain
from pages.grade.scene import Scene
from pages.grade.selection import choose_rows

ROWS_PER_PAGE = 8


def draw(scene: Scene) -> None:
    """The view."""
    rows = choose_rows(scene)
    if not rows:
        st.markdown("No file is like that; choose another filter.")
        return
    num_pages = max(1, -(-len(rows) // ROWS_PER_PAGE))
    page = min(st.session_state.get("grade_page", 1), num_pages)
    draw_passports(rows[(page - 1) * ROWS_PER_PAGE : page * ROWS_PER_PAGE])
    if num_pages > 1:
        st.pagination(num_pages, key="grade_page")
    header = scene.grader.header
    said = (header.gate_sentence, header.rule_sentence, header.seen_sentence, header.split_caveat)
    with st.expander("What the limits mean"):
        st.caption(plain(" ".join(filter(None, said)), 900))
        if header.operating_point:
            st.caption(plain(f"Stored operating point: {header.operating_point}", 600))
