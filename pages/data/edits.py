"""What was corrected by hand: every edit of the log with its pictures, each to be undone."""

import time

import streamlit as st

from lib.data.dataset import Dataset
from lib.data.edit_log import Edit
from lib.data.edits import describe_edit, edits_table, undo_edit
from pages.common import clicks, controls, resources
from pages.common.text import count, plain, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.data.scene import Scene

_PER_PAGE, _PICTURES = 8, 12
_SIDE_PX = 96


def draw(scene: Scene) -> None:
    """The log, newest first, page by page; the whole of it as CSV."""
    dataset = scene.dataset
    edits = dataset.edits[::-1]
    if not edits:
        st.markdown(
            "No image was edited. Exclude an image or give it another class in Images and in Audit. Files are never "
            "touched, and each edit can be undone."
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            controls.link_to("explore_data", "To the images", icon=":material/grid_view:", tab="images")
            controls.copy_command(f"python -m lib datasets edit {dataset.name} --exclude PATH")
        return
    num_undone = sum(not edit.is_in_effect for edit in edits)
    undone = f", {num_undone} of them undone" if num_undone else ""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"**{count(len(edits), 'edit')}**{undone} · version {dataset.version[:12]}",
            help="Files and pixels are as they were imported; a run keeps the version that it was trained on.",
        )
        controls.download_csv(lambda: edits_table(dataset), key="edits", label="Export log")
    num_pages = -(-len(edits) // _PER_PAGE)
    page = min(int(st.session_state.get("edits_page") or 1), num_pages)
    rows = {image_id: row for row, image_id in enumerate(dataset.table["image_id"])}
    for edit in edits[(page - 1) * _PER_PAGE :][:_PER_PAGE]:
        _draw_edit(dataset, edit, rows)
    if num_pages > 1:
        st.pagination(num_pages, key="edits_page")


def _draw_edit(dataset: Dataset, edit: Edit, rows: dict[str, int]) -> None:
    """One edit: what, when and why, its pictures, and Undo or that it is undone."""
    moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(edit.time_s))
    facts = [moment, "by the audit" if edit.who == "audit" else "", plain(edit.reason, 300)]
    words = plain(describe_edit(edit, dataset))
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            said = f"**{words}**" if edit.is_in_effect else f"~~{words}~~"
            st.markdown(f"{edit.edit_id} · {said} · {' · '.join(filter(None, facts))}", width="stretch")
            if edit.is_in_effect:
                st.button(
                    "Undo", icon=":material/undo:", key=f"edit_undo_{dataset.name}_{edit.edit_id}", on_click=_undo,
                    args=(dataset.name, edit.edit_id), help="Takes this edit back; what came after it stays.",
                )  # fmt: skip
            else:
                st.caption("undone", width="content")
        shown = [rows[image_id] for image_id in edit.image_ids if image_id in rows][:_PICTURES]
        draw_tiles([_tile(dataset, row) for row in shown], columns=_PICTURES, least_px=64)
        if (more := len(edit.image_ids) - len(shown)) > 0:
            gone = sum(image_id not in rows for image_id in edit.image_ids)
            left = f", {gone} no longer in the data set" if gone else ""
            st.caption(f"and {count(more, 'more image')}{left}")


def _tile(dataset: Dataset, row: int) -> EncodedTile:
    path = str(dataset.table["path"].iloc[row])
    name = dataset.class_of(row)
    content = resources.cached_thumbnail(dataset.name, dataset.version, row, _SIDE_PX)
    return EncodedTile(content, "", readable(name, 24), readable(f"{name}: {path}"))


def _undo(name: str, edit_id: str) -> None:
    if clicks.is_repeat(f"undo edit {edit_id} of {name}"):
        return
    with controls.keep_error("explore", "undo the edit"):
        undo_edit(name, edit_id)
        resources.dataset_summaries.clear()
