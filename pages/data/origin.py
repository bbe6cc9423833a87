"""What of the source is not used and why, where the data set comes from, and under which licence."""

import streamlit as st

from pages.common import controls, kind_change
from pages.common.text import count, plain
from pages.data.scene import Scene


def draw(scene: Scene) -> None:
    """The files that were left out, then origin, licence and version."""
    _draw_left_out(scene)
    _draw_origin(scene)


def _draw_left_out(scene: Scene) -> None:
    dataset = scene.dataset
    num_left_out = len(dataset.left_out)
    for notice in dataset.notices:
        st.markdown(plain(notice, 400))
    if not num_left_out:
        st.markdown("Every file of the folder is used.")
        return
    st.markdown(f"{count(num_left_out, 'file')} of the folder {'is' if num_left_out == 1 else 'are'} not used:")
    controls.show_table(
        dataset.left_out, hide_index=True, alt="Files that were left out, with the reason",
        column_config={"path": "File", "reason": "Why"},
    )  # fmt: skip
    controls.download_csv(dataset.left_out, key="left_out_files")


def _draw_origin(scene: Scene) -> None:
    spec = scene.dataset.spec
    rows = {
        "Source": spec.source_url or "not stated", "Licence": spec.licence or "not stated",
        "About": spec.description or "not stated", "Version": kind_change.version_line(scene.dataset),
    }  # fmt: skip
    st.table({key: plain(value, 400) for key, value in rows.items()}, border="horizontal", alt="Origin and licence")
