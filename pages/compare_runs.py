"""Compare runs: which training was better, by how much, and is the difference more than chance?"""

import streamlit as st

from lib.tracking import split_caveats
from pages.common import controls, resources, seeds_panel, state
from pages.common.errors import end_page, show_errors
from pages.common.frame import ensure_frame
from pages.common.results import recorded_words
from pages.common.text import count, plain
from pages.common.views import draw_tabs, find_view
from pages.compare import board, board_actions, board_live, take_away
from pages.compare.scene import Scene
from pages.compare.verdict import show_versions
from pages.compare.views import VIEWS

ensure_frame(__file__)

controls.page_header(
    "Compare runs", "Which training was better, by how much, and is the difference more than chance?", is_low=True
)
controls.show_undo("runs")
controls.show_kept_error("compare")

MAX_SHOWN = 20  # with more runs, no picture can be read
# All tabs in one row at 1280 px.
_TABS_STYLE = "<style>.st-key-compare_view button { padding-left: 8px; padding-right: 8px; }</style>"


dataset = state.current_dataset()
found = resources.board()
linked = board.known_runs(found)
chosen = board.choose_rows(found, dataset, linked)
if gone := [run for run in linked if found.row_of(run) is None]:
    names = ", ".join(plain(run[:12]) for run in gone[:5])
    st.warning(
        f"{count(len(gone), 'run')} of the link {'is' if len(gone) == 1 else 'are'} not here (any more): {names}."
    )
if not chosen.num_runs:
    if dataset is not None and resources.find_summary(dataset) is None:
        controls.say_gone(dataset)
        end_page()
    others = f" There are {count(len(found.table), 'run')} on other data sets." if len(found.table) else ""
    controls.empty_state(
        f"Nothing has been trained on {plain(dataset or 'a data set')} yet.{others} A linear probe takes seconds.",
        button="Train a model", page="train_model", icon=":material/model_training:",
    )  # fmt: skip
    end_page()

with show_errors("show the runs at work"):
    board_live.watch(found)
shown = board.draw_table(found, chosen, linked, dataset)
board.say_hidden(shown, found)
selected = resources.records_of(shown.selected[:MAX_SHOWN])
if not selected:
    st.markdown("Select runs in the table to see them side by side.")
    board.download(chosen)
    end_page()

with st.container(horizontal=True, vertical_alignment="center", key="board_actions"):
    board_actions.say_selected(len(shown.selected))
    if len(selected) == 1 and selected[0].state == "finished":
        controls.link_to("look_inside", "Look inside", icon=":material/layers:", run=selected[0].run_id)
        controls.link_to("grade_images", "Grade images with it", icon=":material/fact_check:", run=selected[0].run_id)
    if len(selected) == 1:
        controls.link_to("train_model", "Open in Train", icon=":material/model_training:", run=selected[0].run_id)
    board.download(chosen)
    taking_away = st.container(width="content")
    st.space("stretch")
    with show_errors("show what can be done with the runs"):
        board_actions.draw(resources.records_of(shown.selected))

if len(shown.selected) > len(selected):
    st.caption(f"Pictures and comparisons are of the first {len(selected)} of them.")
for caveat in split_caveats(selected):
    st.warning(plain(caveat, 300), icon=":material/group_off:")
scene, view = Scene.of(selected), find_view(VIEWS, state.current("tab"))
st.html(_TABS_STYLE)
draw_tabs(VIEWS, view, "tab", key="compare_view")
with show_errors(f"show {view.title}"):
    view.draw(scene)
with show_errors("show the versions"):
    show_versions(selected)
if words := recorded_words(selected):
    st.caption(plain(words, 600))
with show_errors("show the seeds"):
    seeds_panel.show_selected_groups(selected)
with taking_away, show_errors("take the runs away"):
    take_away.draw(scene)  # last: by now the page knows its whole address
