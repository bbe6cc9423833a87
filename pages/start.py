"""Start: what this is, three ways in, and the first data set on a fresh machine."""

import streamlit as st

from lib.settings import DEFAULT_DATASET, DEMO_DATASET
from pages.common import controls, demo_panel, folder_import, resources, state
from pages.common.errors import show_errors
from pages.common.frame import ensure_frame
from pages.common.text import count, plain

ensure_frame(__file__)

controls.page_header(
    "See, train, compare, use",
    "Watch what a pretrained network has learned, adapt it to your images, see how sure the result is, and grade "
    "new images with the winner.",
)

demo_panel.show_first_dataset()
with show_errors("show the first picture"):
    demo_panel.show_opening()

DOORS = (
    ("See", ":material/layers:", "look_inside", "Look inside a network",
     "A cat, from edges to ears, through every stage."),
    ("Train and compare", ":material/model_training:", "train_model", "Train a model",
     "From frozen to from scratch, live, with intervals."),
    ("Bring your images", ":material/folder_open:", "explore_data", "Import images",
     "A folder for each class. Nothing leaves this machine."),
)  # fmt: skip
for column, (title, icon, page, action, text) in zip(st.columns(3), DOORS, strict=True):
    with column.container(border=True, height="stretch"):
        st.subheader(f"{icon} {title}", anchor=False)
        st.markdown(text)
        form = folder_import.IMPORT if page == "explore_data" else None
        controls.button_to(page, action, is_primary=page == "look_inside", form=form)

with show_errors("show the demo"):
    demo_panel.show()
with show_errors("show the data sets and runs"):
    summary = resources.find_summary(state.current_dataset())
    left, right = st.columns(2)
    with left:
        st.subheader("On the table", anchor=False)
        if summary is None:
            gone = state.current_dataset()
            st.markdown(f"There is no data set {plain(gone)} (any more)." if gone else "No data set yet.")
        else:
            generated = " It is generated, not photographed." if summary.name in (DEFAULT_DATASET, DEMO_DATASET) else ""
            st.markdown(
                f"**{plain(summary.title or summary.name)}**: {count(summary.num_images, 'image')} in "
                f"{count(summary.num_classes, 'class', 'classes')}.{generated}"
            )
            controls.link_to("explore_data", "See what is in it", icon=":material/grid_view:")
    with right:
        st.subheader("Best result on it", anchor=False)
        best = resources.best_result(summary.name) if summary else None
        if best is None:
            st.markdown("Nothing has been trained on it yet. Start with a linear probe: it takes seconds.")
            controls.link_to("train_model", "Train the first one", icon=":material/model_training:")
        else:
            st.markdown(f"**{plain(best.label)}**: {plain(best.score.words, 300)}. {best.compared_words}")
            controls.link_to("grade_images", "Grade images with it", icon=":material/fact_check:", run=best.run_id)
            controls.link_to("compare_runs", "Compare all runs", icon=":material/leaderboard:")
if summary is not None and summary.is_medical:
    st.caption("Medical images here are for research and education only, not for diagnosis.")
