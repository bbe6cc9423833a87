"""Explore data: what is in the data set, what was left out of it, and how to bring one's own."""

import streamlit as st

from lib.data.dataset import Dataset
from lib.data.library import delete_dataset, restore_dataset
from pages.common import clicks, controls, folder_import, kind_change, resources, state
from pages.common.errors import end_page, show_errors
from pages.common.frame import ensure_frame
from pages.common.text import plain, plain_message
from pages.common.views import draw_tabs, find_view
from pages.data.scene import Undivided, find_scene
from pages.data.views import LABEL, VIEWS

ensure_frame(__file__)


def delete(name: str, title: str) -> None:
    """Move a data set to the trash; another one is looked at until it is brought back."""
    if clicks.is_repeat(f"delete {name}"):
        return
    with controls.keep_error("explore", "delete the data set"):
        restore_key = delete_dataset(name)

        def bring_back() -> None:
            restore_dataset(restore_key)
            resources.forget_dataset()
            state.choose_dataset(name)

        resources.forget_dataset()
        state.choose_dataset(None)
        controls.offer_undo("data set", title, bring_back)


def say_undivided(dataset: Dataset, problem: Undivided) -> None:
    """Why the view has nothing to show, and where to go on."""
    st.info(f"This view shows parts and classes, of which there are too few. {plain_message(problem)}",
            icon=":material/info:")  # fmt: skip
    with st.container(horizontal=True):
        if dataset.is_unlabelled:
            controls.link_to("explore_data", "Label the images", icon=":material/label:", tab=LABEL)
        controls.link_to("explore_data", "Look at the images", icon=":material/grid_view:", tab="images")
        if dataset.edits:
            controls.link_to("explore_data", "Undo edits", icon=":material/undo:", tab="edits")
        controls.link_to(
            "explore_data", "Import it with more", icon=":material/folder_open:",
            **{folder_import.FORM: folder_import.IMPORT},
        )  # fmt: skip


controls.page_header("Explore data", "What is in the data set, how is it divided, and what was left out?")
controls.show_undo("data set")
controls.show_kept_error("explore")
folder_import.show_progress()
kind_change.show_progress()

summary = resources.find_summary(state.current_dataset())
if summary is None:
    folder_import.show_form()
    if (wanted := state.current_dataset()) is not None:
        controls.say_gone(wanted)
        end_page()
    controls.empty_state(
        "There is no data set yet. Import images above, or let the start page generate a first one.",
        button="Go to the start page",
        page="start",
        icon=":material/home:",
    )
    end_page()

dataset = resources.cached_dataset(summary.name, summary.version)
title = dataset.spec.title or dataset.name
with st.container(horizontal=True, vertical_alignment="bottom"):
    st.subheader(plain(title), anchor=False)
    folder_import.show_switch()
    kind_change.show_switch()
    with st.popover("More settings", icon=":material/tune:", key=f"explore_more_{dataset.name}"):
        seed = st.number_input(
            "Split seed", 0, 9999, value=0, key="explore_split_seed", persist_state="session",
            help="Which images go to training, validation and test, where the folder does not say. "
            "Runs can be compared if they share it.",
        )  # fmt: skip
        # The key has the name: the second click of a double click must not meet the next data set's button.
        st.button(
            "Delete this data set", icon=":material/delete:", key=f"explore_delete_{dataset.name}", on_click=delete,
            args=(dataset.name, title),
        )  # fmt: skip
if folder_import.is_form_open():
    folder_import.show_form()
if kind_change.is_form_open():
    kind_change.show_form(dataset)

with show_errors("divide the data set"):
    scene = find_scene(dataset, int(seed))
    views = [one for one in VIEWS if one.name != LABEL or dataset.is_unlabelled]
    view = find_view(views, state.current("tab") or (LABEL if dataset.is_unlabelled else None))
    draw_tabs(views, view, "tab", key="explore_view")
    try:
        view.draw(scene)
    except Undivided as problem:
        say_undivided(dataset, problem)
