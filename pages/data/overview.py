"""How much there is of each class and split, and the images."""

from functools import partial

import streamlit as st

from lib.data.grades import known_grades
from lib.figures.data_charts import class_counts_figure, size_figure
from pages.common import controls, image_grid
from pages.common.text import count, percent, plain
from pages.data.scene import Scene


def draw(scene: Scene) -> None:
    """Counts in words, as bars where they differ, one large image and small ones, sizes."""
    dataset, per_class = scene.dataset, scene.per_class
    num_images = int(per_class.sum())
    shares = scene.counts.groupby("split")["count"].sum() / max(1, num_images)
    least, most = per_class.min(), per_class.max()
    sizes = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    facts = [
        f"**{count(num_images, 'image')}** in {count(len(per_class), 'class', 'classes')} of {sizes}",
        f"{percent(shares.get('train', 0), 0)} training, {percent(shares.get('val', 0), 0)} validation, "
        f"{percent(shares.get('test', 0), 0)} test",
    ]
    if scene.num_groups:
        facts.append(f"{count(scene.num_groups, 'patient or group', 'patients or groups')}, none in two splits")
    if num_excluded := dataset.num_images - num_images:
        num_bare = int((dataset.table["target"] < 0).sum())
        facts += [f"{num_bare:,} without a label"] if num_bare else []
        facts += [f"{count(num_excluded - num_bare, 'image')} excluded"] if num_excluded > num_bare else []
    st.markdown(" · ".join(facts))
    if dataset.spec.split_caveat:
        st.warning(plain(dataset.spec.split_caveat, 300), icon=":material/group_off:")
    if not scene.is_even:  # equal bars would say nothing that the line does not
        _draw_counts(scene)
        if most > 3 * least:
            st.markdown("The classes differ by more than three times, so training weighs them.")
    image_grid.show(dataset, scene.split)
    _say_kind(scene)
    _draw_details(scene)


def _draw_counts(scene: Scene) -> None:
    """Images by class and split."""
    counts = scene.counts
    figure = scene.figure("counts", partial(class_counts_figure, counts), is_dark=controls.is_dark())
    num_images = count(int(counts["count"].sum()), "image")
    alt = f"Bar chart: images per class in training, validation and test, from {num_images}"
    controls.show_figure(figure, alt=alt, key="class_counts", data=counts)


def _say_kind(scene: Scene) -> None:
    spec, said = scene.dataset.spec, []
    if scene.num_ungradable:
        said.append(f"{count(scene.num_ungradable, 'image')} cannot be graded (blur, light or haze) and say so.")
    if spec.is_ordinal:
        said.append(f"The classes are grades, in this order: {plain(' < '.join(spec.class_names), 400)}.")
    if spec.is_medical:
        said.append("Medical images: for research and education only.")
    if said:
        st.caption(" ".join(said))


def _draw_details(scene: Scene) -> None:
    """Classes and sizes, and what the grades mean where that is known."""
    dataset = scene.dataset
    names = ["Classes and sizes"]
    if dataset.spec.is_ordinal and known_grades(dataset.class_names) is not None:
        names.append("Severity scale")
    tabs = st.tabs(names, on_change="rerun", key="explore_tabs")
    if tabs[0].open:
        with tabs[0]:
            if scene.is_even:
                _draw_counts(scene)
            _draw_sizes(scene)
    if len(tabs) > 1 and tabs[1].open:
        with tabs[1]:
            image_grid.show_severity_scale()


def _draw_sizes(scene: Scene) -> None:
    sizes = scene.sizes
    (least_width, least_height), (most_width, most_height) = scene.size_range
    st.markdown(
        f"The originals are {_span(least_width, most_width)} px wide and {_span(least_height, most_height)} px high; "
        f"all are kept as squares of {scene.dataset.spec.store_side_px} px."
    )
    alt = f"Scatter plot: width against height of {count(len(sizes), 'image')}"
    figure = scene.figure("sizes", partial(size_figure, sizes), is_dark=controls.is_dark())
    controls.show_figure(figure, alt=alt, key="image_sizes", data=sizes)


def _span(least: int, most: int) -> str:
    return f"{least}" if least == most else f"{least} to {most}"
