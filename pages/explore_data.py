"""Explore data: what is in the data set, what was left out of it, and how to bring one's own."""

from typing import TYPE_CHECKING

import streamlit as st

from lib.data.grades import known_grades
from lib.data.library import delete_dataset, restore_dataset
from lib.data.statistics import class_counts
from lib.figures.data_charts import class_counts_figure, size_figure
from pages.common import clicks, controls, folder_import, image_grid, kind_change, resources, state
from pages.common.errors import end_page, show_errors
from pages.common.frame import ensure_frame
from pages.common.text import count, percent, plain

if TYPE_CHECKING:
    import pandas as pd

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


def show_counts(counts: "pd.DataFrame") -> None:
    """Images by class and split."""
    figure = class_counts_figure(counts, controls.is_dark())
    num_images = count(int(counts["count"].sum()), "image")
    alt = f"Bar chart: images per class in training, validation and test, from {num_images}"
    controls.show_figure(figure, alt=alt, key="class_counts", data=counts)


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
        "There is no data set yet. Import a folder above, or let the start page generate a first one.",
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
    split = dataset.split(int(seed))
    counts = class_counts(dataset, split)
    per_class = counts.groupby("class_name", sort=False)["count"].sum()
    is_even = per_class.max() <= 1.1 * per_class.min()
    shares = counts.groupby("split")["count"].sum() / max(1, dataset.num_images)
    sizes = (
        f"{per_class.min():,}" if per_class.min() == per_class.max() else f"{per_class.min():,} to {per_class.max():,}"
    )
    facts = [
        f"**{count(dataset.num_images, 'image')}** in {count(len(per_class), 'class', 'classes')} of {sizes}",
        f"{percent(shares.get('train', 0), 0)} training, {percent(shares.get('val', 0), 0)} validation, "
        f"{percent(shares.get('test', 0), 0)} test",
    ]
    groups = dataset.table["group_id"].replace("", None).dropna()
    if groups.nunique() < len(groups):
        facts.append(f"{count(groups.nunique(), 'patient or group', 'patients or groups')}, none in two splits")
    said = []
    num_ungradable = int(dataset.table["flags"].str.startswith("ungradable").sum())
    if num_ungradable:
        said.append(f"{count(num_ungradable, 'image')} cannot be graded (blur, light or haze) and say so.")
    st.markdown(" · ".join(facts))
    if dataset.spec.split_caveat:
        st.warning(plain(dataset.spec.split_caveat, 300), icon=":material/group_off:")
    if not is_even:  # equal bars would say nothing that the line does not
        show_counts(counts)
        if per_class.max() > 3 * per_class.min():
            st.markdown("The classes differ by more than three times, so training weighs them.")
    image_grid.show(dataset, split)
    if dataset.spec.is_ordinal:
        said.append(f"The classes are grades, in this order: {plain(' < '.join(dataset.class_names), 400)}.")
    if dataset.spec.is_medical:
        said.append("Medical images: for research and education only.")
    if said:
        st.caption(" ".join(said))

num_left_out = len(dataset.left_out)
names = ["Classes and sizes", f"Left-out files ({num_left_out:,})", "Origin and licence"]
if dataset.spec.is_ordinal and known_grades(dataset.class_names) is not None:
    names.append("Severity scale")
tabs = st.tabs(names, on_change="rerun", key="explore_tabs")
if tabs[0].open:
    with tabs[0], show_errors("show the sizes"):
        if is_even:
            show_counts(counts)
        sizes = dataset.table[["width", "height"]]
        st.markdown(
            f"The originals are {sizes['width'].min()} to {sizes['width'].max()} px wide and "
            f"{sizes['height'].min()} to {sizes['height'].max()} px high; all are kept as squares of "
            f"{dataset.spec.store_side_px} px."
        )
        alt = f"Scatter plot: width against height of {count(len(sizes), 'image')}"
        controls.show_figure(size_figure(sizes, controls.is_dark()), alt=alt, key="image_sizes", data=sizes)
if tabs[1].open:
    with tabs[1]:
        for notice in dataset.notices:
            st.markdown(plain(notice, 400))
        if num_left_out:
            st.markdown(f"{count(num_left_out, 'file')} of the folder {'is' if num_left_out == 1 else 'are'} not used:")
            controls.show_table(
                dataset.left_out, hide_index=True, alt="Files that were left out, with the reason",
                column_config={"path": "File", "reason": "Why"},
            )  # fmt: skip
            controls.download_csv(dataset.left_out, key="left_out_files")
        else:
            st.markdown("Every file of the folder is used.")
if tabs[2].open:
    with tabs[2]:
        spec = dataset.spec
        rows = {
            "Source": spec.source_url or "not stated", "Licence": spec.licence or "not stated",
            "About": spec.description or "not stated", "Version": kind_change.version_line(dataset),
        }  # fmt: skip
        st.table({key: plain(value, 400) for key, value in rows.items()}, border="horizontal", alt="Origin and licence")
if len(tabs) > 3 and tabs[3].open:
    with tabs[3]:
        image_grid.show_severity_scale()
