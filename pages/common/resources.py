"""Bounded caches shared by all sessions. torch and mlflow are imported by the functions that need them only."""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from lib.atomic import read_json
from lib.data.dataset import Dataset
from lib.data.library import DatasetSummary, list_datasets, open_dataset
from lib.errors import UserError
from lib.evaluation.headline import Score, best_of, in_order
from lib.settings import runs_dir, tracking_uri
from lib.tracking.repair import WAITING_FILE
from lib.tracking.scores import folder_score
from lib.tracking.state import SUMMARY_FILE, stored_states

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from streamlit.runtime.uploaded_file_manager import UploadedFile

    from lib.board import Board
    from lib.data.specs import DatasetSpec
    from lib.grading.grader import Grader
    from lib.models.stages import Backbone
    from lib.tracking import RunRecord

THUMBNAIL_SIDE_PX = 160


@st.cache_data(ttl=3, max_entries=1, show_spinner=False)
def dataset_summaries() -> list[DatasetSummary]:
    """The library's data sets; call `dataset_summaries.clear()` after an import or a deletion."""
    return list_datasets()


def find_summary(name: str | None) -> DatasetSummary | None:
    """The summary of a data set by name; None if the library has none of that name."""
    return next((summary for summary in dataset_summaries() if summary.name == name), None)


@st.cache_resource(max_entries=8, show_spinner=False)
def cached_dataset(name: str, version: str) -> Dataset:
    """An open data set (its pixels are memory-mapped); the version is part of the key, so a new import is seen.

    A version that went while somebody was looking gives way to the present one; see `cached_version`.
    """
    try:
        return open_dataset(name, version=version)
    except UserError:
        return open_dataset(name)


@st.cache_resource(max_entries=8, show_spinner=False)
def cached_version(name: str, version: str) -> Dataset:
    """A data set at exactly that version, such as a run's; raises UserError where it is not kept."""
    return open_dataset(name, version=version)


def forget_dataset() -> None:
    """After a deletion, an import or an undo: read the library afresh."""
    dataset_summaries.clear()
    cached_dataset.clear()
    cached_version.clear()


def cached_thumbnail(
    name: str, version: str, row: int, size_px: int = THUMBNAIL_SIDE_PX, *, with_mask: bool = False
) -> bytes:
    """JPEG bytes of one image, at most 384 px a side; `with_mask` rings what its mask marks."""
    dataset = cached_dataset(name, version)
    return _thumbnail(dataset.content_version, row, min(size_px, 384), with_mask, _dataset=dataset)


@st.cache_data(max_entries=2000, show_spinner=False)
def _thumbnail(content_version: str, row: int, size_px: int, with_mask: bool, *, _dataset: Dataset) -> bytes:  # noqa: FBT001
    """By content, since edits change no pixels."""
    return _dataset.thumbnail(row, size_px=size_px, with_mask=with_mask)


def find_spec(dataset: str | None) -> "DatasetSpec | None":
    """What a data set of the library is; None where there is none."""
    summary = find_summary(dataset)
    return cached_dataset(summary.name, summary.version).spec if summary is not None else None


def is_fundus(dataset: str | None) -> bool:
    """Whether a data set of the library holds fundus photographs."""
    spec = find_spec(dataset)
    return spec is not None and spec.is_fundus


@st.cache_data(max_entries=64, show_spinner=False)
def cached_numbered(name: str, version: str, row: int) -> tuple[bytes, list[int]]:
    """JPEG bytes of one image at its kept size, its marked families numbered, and how many places each has."""
    from lib.data.mask_overlay import mask_families, number_families
    from lib.explain.pictures import to_jpeg

    dataset = cached_dataset(name, version)
    pixels, mask = np.asarray(dataset.pixels[row]), dataset.mask(row)
    counts: list[int] = []
    if mask is not None:
        pixels, counts = number_families(pixels, mask, mask_families(dataset.spec.mask_names))
    return to_jpeg(pixels), counts


@st.cache_resource(max_entries=2, show_spinner="Building the network …")
def cached_network(backbone: str, weights: str = "pretrained") -> "Backbone":
    """A backbone with the classifier it was pretrained with, in evaluation mode; shared: never change it."""
    from lib.models.stages import build_backbone

    return build_backbone(backbone, weights=weights).eval()


@st.cache_resource(max_entries=2, show_spinner="Loading the trained network …")
def cached_grader(run_id: str) -> "Grader":
    """The trained classifier of a run with its gate and preprocessing; shared by all sessions, it keeps no images."""
    from lib.grading.grader import Grader

    return Grader.open(run_id)


def forget_uploads(uploads: "Iterable[UploadedFile]") -> None:
    """Drop uploaded files that are kept elsewhere now: Streamlit would hold them until the browser is closed."""
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    context = get_script_run_ctx()
    remove_file = getattr(context and context.uploaded_file_mgr, "remove_file", None)  # other managers may have none
    if context is not None and remove_file is not None:
        for upload in uploads:
            remove_file(session_id=context.session_id, file_id=upload.file_id)


def weights_at_hand() -> dict[str, bool]:
    """Backbone name -> whether its pretrained weights are on this machine."""
    from lib.models.weights import all_weights_status

    return {status.backbone: status.is_cached for status in all_weights_status()}


def run_records() -> "list[RunRecord]":
    """All runs, newest first; read anew when the run store has changed, since thousands of runs take seconds."""
    return _run_records(_store_moment())


@st.cache_data(ttl=60, max_entries=1, show_spinner="Reading the runs …")
def _run_records(moment: tuple[object, ...]) -> "list[RunRecord]":
    from lib.tracking import list_runs

    return list_runs()


def board() -> "Board":
    """All runs as a table, read anew when the run store has changed; shared by all sessions: never change it."""
    return _board(_store_moment())


@st.cache_resource(ttl=60, max_entries=1, show_spinner="Reading the runs …")
def _board(moment: tuple[object, ...]) -> "Board":
    from lib.board import read_board

    return read_board()


@st.cache_resource(max_entries=64, show_spinner=False)
def _record(run_id: str, moment: tuple[object, ...]) -> "RunRecord | None":
    from lib.tracking import get_run

    try:
        return get_run(run_id)
    except UserError:
        return None


def records_of(run_ids: "Iterable[str]") -> "list[RunRecord]":
    """Some runs, whole, in that order; those that are gone are left out."""
    moment = _store_moment()
    return [run for run_id in run_ids if (run := _record(run_id, moment)) is not None]


def _store_moment() -> tuple[object, ...]:
    """What changes with the runs: the store's files and the queue; while something is at work, the time too."""
    from lib.jobs import active_runs

    is_at_work = bool(active_runs())  # first: a worker that died since then must not be shown as running
    changed = []
    for name in ("mlflow.db", "mlflow.db-wal", "jobs.sqlite", WAITING_FILE):
        path = runs_dir() / name
        changed.append((path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None)
    is_here = changed[0] is not None and tracking_uri() == f"sqlite:///{runs_dir() / 'mlflow.db'}"
    is_quiet = is_here and not is_at_work
    return (str(runs_dir()), *changed, None if is_quiet else time.monotonic() // 2)


@dataclass(frozen=True)
class BestResult:
    """A finished run with what it is judged by, and how many were tested on the same images."""

    run_id: str
    label: str
    dataset_version: str
    score: Score
    num_compared: int = 1

    @property
    def compared_words(self) -> str:
        """Among how many it is the best."""
        if self.num_compared < 2:
            return f"The only run on these {self.score.num} test images."
        return f"The best of {self.num_compared} runs on the same {self.score.num} test images."


@st.cache_resource(ttl=5, max_entries=32, show_spinner=False)
def scored_results(dataset: str) -> list[BestResult]:
    """The finished runs on a data set, newest first, read from the run folders alone: MLflow takes seconds."""
    results = []
    for state in stored_states():
        path = state.folder / SUMMARY_FILE
        if state.state == "finished" and path.is_file():
            summary = read_json(path)
            score = folder_score(state.folder, summary) if summary.get("dataset") == dataset else None
            if score is not None:
                version = str(summary.get("dataset_version") or "")
                results.append(BestResult(state.run_id, state.name or state.run_id[:8], version, score))
    return results


def best_result(dataset: str) -> BestResult | None:
    """The best finished run on a data set among those that were tested on the same images; see `best_of`."""
    results, summary = {result.run_id: result for result in scored_results(dataset)}, find_summary(dataset)
    version = summary.version if summary is not None else None
    current = [run_id for run_id, result in results.items() if result.dataset_version == version]
    best = best_of({run_id: result.score for run_id, result in results.items()}, preferred=current)
    return replace(results[best[0]], num_compared=best[1]) if best else None


def best_beside(run_id: str, dataset: str, *, number: int) -> list[str]:
    """The ids of the best finished runs to compare a run with: tested on the same images, best first."""
    scores = {result.run_id: result.score for result in scored_results(dataset)}
    if run_id not in scores or not scores[run_id].test_set:
        return []
    own = (scores[run_id].test_set, scores[run_id].metric)
    ordered = [name for name in in_order(scores) if (scores[name].test_set, scores[name].metric) == own]
    return [name for name in ordered if name != run_id][:number]


def forget_results() -> None:
    """After trainings that this server did not start itself: read data sets and runs afresh."""
    forget_dataset()
    _run_records.clear()
    _board.clear()
    _record.clear()
    scored_results.clear()


@st.cache_data(max_entries=64, show_spinner=False)
def cached_history(run_id: str, ended_s: float | None, age: int) -> "pd.DataFrame":
    """The logged values of a run; `ended_s` and, while it runs, a growing `age` make a new entry of newer values."""
    from lib.tracking import metric_history

    return metric_history(run_id)


@st.cache_data(max_entries=32, show_spinner=False)
def cached_predictions(run_id: str, ended_s: float | None) -> "pd.DataFrame":
    """The stored predictions of a finished run."""
    from lib.tracking import predictions

    return predictions(run_id)
