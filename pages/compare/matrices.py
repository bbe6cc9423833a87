"""Confusion matrices of the selected runs, from two classes to hundreds, and the images behind a cell."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from lib.evaluation.metrics import per_class_report
from lib.figures.result_charts import MAX_LABELLED, MAX_WRITTEN, confusion_figure, most_confused
from lib.figures.style import short_names
from lib.tracking.tested import TestedRun
from pages.common import controls, state
from pages.common.errors import show_errors
from pages.common.run_view import dataset_of_run
from pages.common.text import count, percent, plain, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.compare.scene import Scene

_SIDE_BY_SIDE = 3
_PICTURES, _SIDE_PX = 8, 160


def draw(scene: Scene) -> None:
    """Confusion matrices on the test images with the report per class: of few classes side by side, else of one run."""
    finished = scene.tested()
    if not finished:
        st.markdown("Confusion matrices come with the predictions of a finished run.")
        return
    if len(finished[0].class_names) > MAX_WRITTEN:
        _show_large(_choose(finished))
        return
    shown = finished[:_SIDE_BY_SIDE]
    for column, tested in zip(st.columns(len(shown)), shown, strict=True):
        with column, show_errors("show the confusion matrix"):
            _show_matrix(tested)
            _show_report(tested)
    if len(finished) > len(shown):
        st.caption(f"The first {len(shown)} of {len(finished)} selected runs are shown.")


def _choose(tested: Sequence[TestedRun]) -> TestedRun:
    if len(tested) < 2:
        return tested[0]
    by_id = {one.run.run_id: one for one in tested}
    run_id = st.selectbox(
        "Run",
        list(by_id),
        format_func=lambda run_id: readable(by_id[run_id].label),
        key="compare_matrix_run",
        width=420,
    )
    return by_id[str(run_id)]


def _show_large(tested: TestedRun) -> None:
    """The classes that are confused most, by name, before the whole."""
    matrix, num_classes = tested.matrix, len(tested.class_names)
    confused = most_confused(matrix)
    if not len(confused):
        st.markdown(f"No error: all {count(len(tested.targets), 'test image')} are in their class.")
    elif num_classes > MAX_LABELLED:
        _show_matrix(tested, classes=confused)
    _show_matrix(tested)
    _show_report(tested)


def _show_matrix(tested: TestedRun, *, classes: np.ndarray | None = None) -> None:
    num_classes = len(tested.class_names)
    what, key = tested.label, f"matrix_{tested.run.run_id[:8]}"
    if classes is not None:
        what, key = f"{what}: the {len(classes)} most confused of {num_classes} classes", f"{key}_most"
    elif num_classes > MAX_LABELLED:
        what = f"{what}: all {num_classes} classes, in their order"
    figure = confusion_figure(tested.matrix, tested.class_names, what, controls.is_dark(),
                              classes=None if classes is None else classes.tolist())  # fmt: skip
    alt = f"Confusion matrix of {readable(what)} on {len(tested.targets)} test images; click a cell for its images"
    points = controls.show_clickable_figure(figure, alt=alt, key=key)
    if points:
        _show_cell(tested, *points[0])


def _show_cell(tested: TestedRun, target: int, predicted: int) -> None:
    """The sentence and the first images of a cell."""
    rows = np.flatnonzero((tested.targets == target) & (tested.answers == predicted))
    names = tested.class_names
    share = percent(len(rows) / max(1, int((tested.targets == target).sum())), 0)
    st.markdown(
        f"**{plain(names[target])}** called **{plain(names[predicted])}**: {count(len(rows), 'image')}, {share} of the "
        "class."
    )
    dataset = dataset_of_run(tested.run.config)
    if dataset is None:
        return
    places = {image_id: row for row, image_id in enumerate(dataset.table["image_id"])}
    tiles = []
    for image_id in tested.image_ids[rows][:_PICTURES]:
        if image_id in places:
            path = str(dataset.table["path"].iloc[places[image_id]])
            link = state.page_link(
                "look_inside", view="stages", dataset=dataset.name, image=image_id, run=tested.run.run_id
            )
            content = dataset.thumbnail(places[image_id], size_px=_SIDE_PX)
            tiles.append(EncodedTile(content, "", "", f"{path}; opens Look inside", link=link))
    draw_tiles(tiles, columns=_PICTURES, least_px=64)
    if len(rows) > len(tiles):
        st.caption(f"{len(tiles)} of {count(len(rows), 'image')}.")


def _show_report(tested: TestedRun) -> None:
    report = per_class_report(tested.targets, tested.probabilities, tested.class_names)
    column = st.column_config.NumberColumn
    config = {
        "class_name": "Class",
        "precision": column("Precision", width=60, format="%.2f", help="Of the images called so, the share that are."),
        "recall": column(
            "Recall", width=46, format="%.2f", help="Of the images that are, the share that were called so."
        ),
        "f1": column("F1", width=40, format="%.2f", help="The harmonic mean of precision and recall."),
        "count": column("n", width=32, help="Test images of the class."),
    }
    alt = f"Report per class of {readable(tested.label)}"
    shown = report.assign(class_name=[readable(name) for name in short_names(report["class_name"].tolist(), 48)])
    controls.show_table(shown, hide_index=True, alt=alt, column_config=config)
    controls.download_csv(report, key=f"report_{tested.run.run_id[:8]}")
