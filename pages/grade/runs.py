"""Which runs can grade, and what is known of one before its network is loaded."""

from typing import Any

import streamlit as st

from lib.atomic import read_json
from lib.evaluation.headline import Score
from lib.grading import manifest
from lib.grading.imported import list_bundles
from lib.grading.model_card import card_sentences
from lib.grading.operating_point import OperatingPoint, read_operating_point
from lib.tracking.scores import run_score
from lib.tracking.state import PREDICTIONS_FILE
from pages.common import resources, state
from pages.common.results import distinct_labels, ranked


def gradable_runs() -> dict[str, str]:
    """run_id -> label of the runs that have a classifier: the current data set's first, its best one foremost.

    Bundles that were imported from elsewhere come last, by their own ids.
    """
    runs = ranked([run for run in resources.run_records() if (run.folder / "bundle" / "manifest.json").is_file()])
    best = resources.best_result(state.current_dataset() or "")
    runs.sort(
        key=lambda run: (
            run.config.get("dataset") != state.current_dataset(),
            best is None or run.run_id != best.run_id,
        )
    )
    labels = distinct_labels(runs)
    known = {run.run_id: _with_score(labels[run.run_id], run_score(run)) for run in runs}
    return known | {kept.bundle_id: f"{kept.name} · imported" for kept in list_bundles()}


def _with_score(label: str, score: Score | None) -> str:
    return label if score is None else f"{label} · {score.metric.word} {score.metric.text(score.value)}"


@st.cache_data(max_entries=64, show_spinner=False)
def manifest_of(run_id: str) -> dict[str, Any]:
    """What a run's classifier says of itself (without torch)."""
    return dict(read_json(manifest.find_bundle(run_id)[0] / "manifest.json"))


def card_words(run_id: str, coverage: float) -> tuple[str, ...]:
    """What a classifier's calibration is worth, a sentence each, without loading its network."""
    folder = manifest.find_bundle(run_id)[0]
    return _card_words(run_id, coverage, (folder / "manifest.json").stat().st_mtime_ns)


@st.cache_data(max_entries=64, show_spinner=False)
def _card_words(run_id: str, coverage: float, changed: int) -> tuple[str, ...]:
    folder, run = manifest.find_bundle(run_id)
    content = dict(read_json(folder / "manifest.json"))
    number = len(content.get("classes") or content.get("class_names") or ())
    predictions = folder.parent / PREDICTIONS_FILE if run else None
    return card_sentences(content, number, coverage=coverage, predictions=predictions)


def stored_point(run_id: str) -> OperatingPoint | None:
    """The operating point that is kept with a run."""
    return read_operating_point(manifest.find_bundle(run_id)[0])


def is_medical(run_id: str) -> bool:
    """Whether a run was trained on images that are said to be medical, then or since."""
    return manifest.is_medical(manifest_of(run_id))


def has_decision(run_id: str) -> bool:
    """Whether it says what to do next: its classes are grades in their order, or it has an operating point."""
    dataset = manifest_of(run_id).get("dataset")
    return (isinstance(dataset, dict) and bool(dataset.get("is_ordinal"))) or stored_point(run_id) is not None
