"""Confusion matrices of the selected runs, from two classes to hundreds, and the images behind a cell."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from lib.errors import UserError
from lib.evaluation.metrics import confusion_matrix, per_class_report
from lib.figures.result_charts import MAX_LABELLED, MAX_WRITTEN, confusion_figure, most_confused
from lib.figures.style import short_names
from lib.tracking import RunRecord
from lib.tracking.scores import probability_columns, trained_classes
from pages.common import controls, resources, state
from pages.common.errors import show_errors
from pages.common.results import short_labels
from pages.common.run_view import class_names_of_run, dataset_of_run
from pages.common.text import count, percent, plain, readable
from pages.common.tiles import EncodedTile, draw_tiles

_SIDE_BY_SIDE = 3
_PICTURES, _SIDE_PX = 8, 160


@dataclass(frozen=True)
class TestedRun:
    """A run with its answers on the test images: targets and predicted (N,), image ids (N,), counts (K, K)."""

    run: RunRecord
    label: str
    targets: np.ndarray
    probabilities: np.ndarray
    image_ids: np.ndarray
    class_names: list[str]

    @property
    def matrix(self) -> np.ndarray:
        """Counts: row = true class, column = predicted."""
        return confusion_matrix(self.targets, self.probabilities)


def has_predictions(run: RunRecord) -> bool:
    """Whether a run has kept its answers."""
    try:
        resources.cached_predictions(run.run_id, run.ended_s)
    except UserError:
        return False
    return True


def show_matrices(runs: Sequence[RunRecord]) -> None:
    """Confusion matrices on the test images with the report per class: of few classes side by side, else of one run."""
    labels = short_labels(runs)
    finished = [run for run in runs if has_predictions(run)]
    if not finished:
        st.markdown("Confusion matrices come with the predictions of a finished run.")
        return
    first = _tested(finished[0], labels[finished[0].run_id])
    if len(first.class_names) > MAX_WRITTEN:
        _show_large(_choose(finished, labels, first))
        return
    shown = finished[:_SIDE_BY_SIDE]
    for column, run in zip(st.columns(len(shown)), shown, strict=True):
        with column, show_errors("show the confusion matrix"):
            tested = _tested(run, labels[run.run_id])
            _show_matrix(tested)
            _show_report(tested)
    if len(finished) > len(shown):
        st.caption(f"The first {len(shown)} of {len(finished)} selected runs are shown.")


def _choose(runs: Sequence[RunRecord], labels: dict[str, str], first: TestedRun) -> TestedRun:
    if len(runs) < 2:
        return first
    by_id = {run.run_id: run for run in runs}
    run_id = st.selectbox(
        "Run", list(by_id), format_func=lambda run_id: readable(labels[run_id]), key="compare_matrix_run", width=420
    )
    return _tested(by_id[str(run_id)], labels[str(run_id)])


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
    rows = np.flatnonzero((tested.targets == target) & (tested.probabilities.argmax(axis=1) == predicted))
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


def _tested(run: RunRecord, label: str) -> TestedRun:
    table = resources.cached_predictions(run.run_id, run.ended_s)
    table = table[table["split"] == "test"]
    probabilities = table[probability_columns(table)].to_numpy(dtype=float)
    targets, image_ids = table["target"].to_numpy(), table["image_id"].to_numpy(dtype=str)
    return TestedRun(run, label, targets, probabilities, image_ids, _class_names(run, probabilities.shape[1]))


def _class_names(run: RunRecord, num_classes: int) -> list[str]:
    """The classes of the run's classifier, as it says them itself or else as its data set did."""
    found = trained_classes(run.folder)
    if found is not None and len(found[0]) == num_classes:
        return found[0]
    return class_names_of_run(run.config, num_classes)
