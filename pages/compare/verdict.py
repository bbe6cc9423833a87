"""Which of the selected runs is better, by how much, and is the difference more than chance?"""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from lib.errors import UserError
from lib.evaluation.headline import Score
from lib.evaluation.metric_table import ACCURACY, KAPPA, METRICS, Metric
from lib.figures.result_charts import difference_figure, interval_figure
from lib.tracking import RunRecord
from lib.tracking.comparison import Comparison, Row, compare
from lib.tracking.scores import run_score
from lib.tracking.tested import TestedRun
from pages.common import controls, resources, results
from pages.common.results import short_labels
from pages.common.run_view import version_note
from pages.common.text import plain
from pages.compare.scene import Scene, tested_run

_MOST_CAUTIONS = 2  # above the fold; the others in the box of all words


def draw(scene: Scene) -> None:
    """The answer in words, the values with their intervals, and how far each run lies behind the best."""
    metric = scene.choose_metric()
    found = compared(scene, metric)
    if found.verdict:
        st.markdown(f"**{plain(found.verdict, 700)}**")
    elif len(found.rows) < 2:
        st.markdown(nothing_to_compare(len(scene.runs)))
    for caution in found.cautions[:_MOST_CAUTIONS]:
        st.caption(f":material/warning: {plain(caution, 500)}")
    picture, reading = st.columns([3, 2], gap="large")
    with picture:
        _draw_intervals(found, scene.runs)
    with reading:
        if len(found.rows) > 1:
            st.subheader("Is the difference real?", anchor=False)
        _draw_differences(found)
        _say_pairs(found)
        show_baseline(scene.runs)


def nothing_to_compare(num_runs: int) -> str:
    """What to do where the selected runs are one row: a single run, or seeds of one series."""
    if num_runs > 1:
        return f"The {num_runs} selected runs are seeds of one series: select another run to compare them with."
    return "Select a second finished run for a paired comparison on the same images."


def compared(scene: Scene, metric: Metric) -> Comparison:
    """The comparison of the selected runs, computed once: finished runs do not change."""
    key = tuple((run.run_id, run.ended_s, run.state, run.config.get("dataset")) for run in scene.runs)
    labels = tuple(scene.labels[run.run_id] for run in scene.runs)
    sets = resources.board().table["test_set"]
    looks = tuple(sorted(sets[sets != ""].value_counts().items()))
    return _cached_comparison(key, metric.key, labels, looks, _scene=scene)


@st.cache_resource(max_entries=32, show_spinner="Comparing …")
def _cached_comparison(
    key: tuple[Any, ...], metric: str, labels: tuple[str, ...], looks: tuple[tuple[str, int], ...], *, _scene: Scene
) -> Comparison:
    return compare(
        _scene.runs, METRICS[metric], _scene.labels, lambda run: read_answers(run, _scene), num_looks=dict(looks)
    )


def read_answers(run: RunRecord, scene: Scene) -> TestedRun:
    """A run's answers; raises UserError where it has kept none."""
    tested = tested_run(run, scene.labels[run.run_id])
    if tested is None:
        raise UserError(f"the run {scene.labels[run.run_id]} has no predictions; they are written when it finishes.")
    return tested


def _draw_intervals(found: Comparison, runs: Sequence[RunRecord]) -> None:
    """The metric of every run with its 95 % interval, of a series its mean and standard deviation."""
    rows, metric = [row for row in found.rows if math.isfinite(row.value.value)], found.metric
    if not rows:
        st.markdown(f"None of the selected runs has a {metric.word}.")
        return
    table = pd.DataFrame({"run_id": [row.key for row in rows]})
    published = results.mark_published(table, [row.runs[0] for row in rows], f"test_{metric.key}")
    shown = pd.DataFrame(
        {
            "label": [_label(row) for row in rows],
            "strategy": [str(row.runs[0].config.get("strategy", "")) for row in rows],
            "value": [row.value.value for row in rows],
            "low": [row.value.low for row in rows],
            "high": [row.value.high for row in rows],
            "method": [row.value.method for row in rows],
            "published": published["published"].tolist(),
            "published_source": published["published_source"].tolist(),
        }
    )
    images = sorted({row.num_images for row in rows if row.num_images})
    on_images = f" on {' or '.join(map(str, images))} images" if images else ""
    spread = "mean and deviation" if all(row.is_series for row in rows) else "95 % intervals"
    title = f"{metric.title}{on_images}, {spread}"
    chance = _chance([row.runs[0] for row in rows], metric)
    figure = interval_figure(shown, title=title, is_dark=controls.is_dark(), chance=chance)
    controls.show_figure(figure, alt=f"Dot plot: {title}, one row a run", key="intervals", data=shown)
    if any(row.is_series for row in rows):
        st.caption("Of a series of seeds: the mean of its runs, more and less their standard deviation.")
    results.explain_published(runs, f"test_{metric.key}")


def _label(row: Row) -> str:
    """With why there is no interval, where there is none."""
    return row.label if row.value.is_known or not row.value.reason else f"{row.label}: {row.value.reason}"


def _chance(runs: Sequence[RunRecord], metric: Metric) -> float | None:
    """Where always the commonest class stands, if the runs were tested on the same images."""
    scores = [score for score in map(run_score, runs) if score is not None]
    if metric not in (ACCURACY, KAPPA) or len({score.test_set for score in scores}) != 1 or not scores[0].test_set:
        return None
    value = 0.0 if metric is KAPPA else scores[0].baseline_accuracy
    return value if math.isfinite(value) else None


def _draw_differences(found: Comparison) -> None:
    """How far each other run lies behind the best, which is the line at zero."""
    rows = found.behind_best()
    if not rows:
        return
    table = pd.DataFrame(rows)
    title = f"{found.metric.word[0].upper()}{found.metric.word[1:]} minus the best"
    figure = difference_figure(table, title=title, is_dark=controls.is_dark())
    best = next(row.label for row in found.rows if row.key == found.best)
    alt = f"Dot plot: {title}, {best}, one row a run, with 95 % intervals; hollow dots could be chance"
    controls.show_figure(figure, alt=alt, key="differences", data=table)
    lower = " Left of the line would be better." if found.metric.is_lower_better else ""
    st.caption(f"Filled: more than chance. Hollow: could be chance. Lines: 95 % intervals of the difference.{lower}")


def _say_pairs(found: Comparison) -> None:
    """Each comparison in words: of two runs at once, of more in a box; and the cautions that have no room above."""
    ours = [pair for _, pair in found.against_best()]
    said = [pair.sentence for pair in (ours or found.pairs)]
    if len(found.pairs) == 1 and said:
        st.markdown(plain(said[0], 700))
        said = []
    others = [pair.sentence for pair in found.pairs if pair not in ours] if ours else []
    cautions = found.cautions[_MOST_CAUTIONS:]
    if not (said or others or cautions):
        return
    with st.expander("Each comparison in words", key="compare_words"):
        for sentence in (*said, *others):
            st.markdown(plain(sentence, 700))
        for caution in cautions:
            st.markdown(f":material/warning: {plain(caution, 500)}")


def show_versions(runs: Sequence[RunRecord]) -> None:
    """Which of the selected runs read an earlier version of their data set."""
    labels = short_labels(runs)
    notes = {labels[run.run_id]: version_note(run.config) for run in runs}
    for label, note in notes.items():
        if note:
            st.caption(f"{plain(label)}: {plain(note)}")


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
