"""Which of the selected runs is better, by how much, and is the difference more than chance?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from lib.evaluation.comparison import PairedComparison
from lib.evaluation.headline import Score, best_of, in_order
from lib.evaluation.metric_table import KAPPA
from lib.figures.result_charts import difference_figure, interval_figure
from lib.tracking import RunRecord
from lib.tracking.scores import RunComparison, compare_runs, run_score
from pages.common import controls, resources, results
from pages.common.errors import show_errors
from pages.common.results import METRICS, headline_key, ranked, results_table, short_labels
from pages.common.run_view import version_note
from pages.common.text import joined, plain
from pages.compare.scene import Scene

_MOST_NAMED = 3  # runs by name in one sentence


def draw(scene: Scene) -> None:
    """The values with their intervals, and what can be said of their differences."""
    picture, reading = st.columns([2, 1], gap="large")
    with picture:
        show_intervals(scene.runs)
    with reading:
        st.subheader("Is the difference real?", anchor=False)
        show_paired(scene)
        show_baseline(scene.runs)


def show_intervals(runs: Sequence[RunRecord]) -> None:
    """The chosen metric of every selected run with its 95 % interval."""
    runs = ranked(runs)  # as in the table above, whichever metric is shown
    titles = {key: title for key, title in METRICS.items() if results_table(runs)[key].notna().any()}
    if not titles:
        st.markdown("None of the selected runs has a test result yet.")
        return
    metric = st.segmented_control(
        "Metric", list(titles), default=headline_key(runs) if headline_key(runs) in titles else next(iter(titles)),
        format_func=titles.get, required=True, key="compare_interval_metric",
    )  # fmt: skip
    table = results.mark_published(results_table(runs).dropna(subset=[metric]), runs, str(metric))
    labels = short_labels(runs)
    shown = pd.DataFrame(
        {
            "label": [labels[run_id] for run_id in table["run_id"]],
            "strategy": table["strategy"].tolist(),
            "value": table[metric].tolist(),
            "low": table[f"{metric}_low"].tolist(),
            "high": table[f"{metric}_high"].tolist(),
            "published": table["published"].tolist(),
            "published_source": table["published_source"].tolist(),
        }
    )
    images = sorted({int(number) for number in table["num_test"].dropna()})
    on_images = f" on {' or '.join(str(number) for number in images)} images" if images else ""
    title = f"{titles[metric]}{on_images}, 95 % intervals"
    figure = interval_figure(shown, title=title, is_dark=controls.is_dark(), chance=_baseline(table, str(metric)))
    controls.show_figure(figure, alt=f"Dot plot: {title}, one row a run", key="intervals", data=shown)
    results.explain_published(runs, str(metric))


def _baseline(table: pd.DataFrame, metric: str) -> float | None:
    """Where always the commonest class stands, if the runs were tested on the same images."""
    if table["test_set"].nunique() != 1 or not table["test_set"].iloc[0]:
        return None
    value = 0.0 if metric.endswith(KAPPA.key) else float(table["test_baseline_accuracy"].iloc[0])
    return value if np.isfinite(value) else None


def show_versions(runs: Sequence[RunRecord]) -> None:
    """Which of the selected runs read an earlier version of their data set."""
    labels = short_labels(runs)
    notes = {labels[run.run_id]: version_note(run.config) for run in runs}
    for label, note in notes.items():
        if note:
            st.caption(f"{plain(label)}: {plain(note)}")


def show_paired(scene: Scene) -> None:
    """Is the best run really better? One sentence, and a picture of how far each other run lies behind it."""
    labels, scored = scene.labels, [one.run for one in scene.tested()]
    if len(scored) < 2:
        st.markdown("Select two finished runs for a paired comparison on the same images.")
        return
    by_id = {run.run_id: run for run in scored}
    scores = {run.run_id: run_score(run) for run in scored}
    ordered, leader = in_order(scores), best_of(scores)
    best = by_id[leader[0] if leader else ordered[0]]
    found: list[tuple[RunRecord, RunComparison]] = []
    for other in (by_id[run_id] for run_id in ordered if run_id != best.run_id):
        with show_errors("compare the runs"):
            names = labels[best.run_id], labels[other.run_id]
            found.append((other, _compared(_key(best), _key(other), names, _runs=(best, other))))
    measured = [(other, one.paired) for other, one in found if one.paired is not None]
    if len(found) == 1 or not measured:
        for _, one in found:
            st.markdown(plain(one.sentence, 700))
    else:
        st.markdown(plain(summary_sentence(labels, best.run_id, [(run.run_id, one) for run, one in measured]), 900))
    if measured:
        _draw_differences(labels, best, measured)
    if len(found) > 1 and measured:
        with st.expander("Each comparison in words", key="compare_words"):
            for _, one in found:
                st.markdown(plain(one.sentence, 700))


def summary_sentence(labels: Mapping[str, str], best: str, others: Sequence[tuple[str, PairedComparison]]) -> str:
    """Whom the best run is ahead of beyond chance, and whom not, in one sentence."""
    beaten = [labels[run_id] for run_id, one in others if one.is_significant]
    close = [labels[run_id] for run_id, one in others if not one.is_significant]

    def named(some: list[str]) -> str:
        return joined(some) if len(some) <= _MOST_NAMED else f"{len(some)} of {len(others)} others"

    parts = [f"is ahead of {named(beaten)}, more than by chance"] if beaten else []
    if close:
        lead = "its lead over" if beaten else "leads, but its lead over"
        parts.append(f"{lead} {named(close)} could be chance")
    numbers = sorted({one.n for _, one in others})
    images = f"n = {' or '.join(map(str, numbers))}"
    return f"{labels[best]} {'; '.join(parts)} ({images}, the same images)."


def _draw_differences(
    labels: Mapping[str, str], best: RunRecord, measured: Sequence[tuple[RunRecord, PairedComparison]]
) -> None:
    rows = [
        {
            "label": labels[run.run_id],
            "strategy": str(run.config.get("strategy", "")),
            # How far it lies behind, so that the best run is the line at zero.
            "difference": -one.difference,
            "low": -one.high,
            "high": -one.low,
            "is_shown": one.is_significant,
        }
        for run, one in measured
        if math.isfinite(one.difference)
    ]
    if not rows:
        return
    metrics = {one.metric for _, one in measured}
    word = "Kappa" if metrics == {KAPPA.key} else "Accuracy" if KAPPA.key not in metrics else "Metric"
    title = f"{word} minus that of the best"
    table = pd.DataFrame(rows)
    figure = difference_figure(table, title=title, is_dark=controls.is_dark())
    alt = f"Dot plot: {title}, {labels[best.run_id]}, one row a run, with 95 % intervals; hollow dots could be chance"
    controls.show_figure(figure, alt=alt, key="differences", data=table)
    st.caption("Filled: more than chance. Hollow: could be chance. Lines: 95 % intervals of the paired difference.")


def show_baseline(runs: Sequence[RunRecord]) -> None:
    """What always the commonest class would reach on the same test images."""
    baselines: dict[tuple[str, str], Score] = {}
    for run in runs:
        score = run_score(run)
        if score is not None and score.baseline_words:
            baselines.setdefault((score.test_set, score.baseline_words), score)
    for score in baselines.values():
        words = f"{score.baseline_words[:1].upper()}{score.baseline_words[1:]}"
        kappa = ", kappa 0" if score.metric is KAPPA else ""
        st.caption(plain(f"{words}{kappa}, on the same {score.num} test images.", 300))


def _key(run: RunRecord) -> tuple[Any, ...]:
    return (run.run_id, run.ended_s, run.config.get("dataset"))


@st.cache_data(max_entries=256, show_spinner=False)
def _compared(
    first: tuple[Any, ...], second: tuple[Any, ...], names: tuple[str, str], *, _runs: tuple[RunRecord, RunRecord]
) -> RunComparison:
    """A paired comparison, drawn once a pair."""
    return compare_runs(*_runs, names, read=lambda run: resources.cached_predictions(run.run_id, run.ended_s))
