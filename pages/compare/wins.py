"""The heat map of wins: every two of the selected runs by the metric on screen, corrected as in the verdict."""

import math

import pandas as pd
import streamlit as st

from lib.figures.wins_chart import MAX_RUNS, wins_figure, wins_of
from lib.tracking.comparison import Comparison
from pages.common import controls
from pages.common.text import count, plain
from pages.compare.scene import Scene
from pages.compare.verdict import compared


def draw(scene: Scene) -> None:
    """The heat map, and in words what could not be compared."""
    metric = scene.choose_metric()
    found = compared(scene, metric)
    rows = [row for row in found.rows if math.isfinite(row.value.value)]
    if len(rows) < 2:
        st.markdown(
            f"Wins need two finished runs, or series of seeds, with {metric.word}; "
            f"the selection has {count(len(rows), 'such row') if rows else 'none'}."
        )
        return
    wins = wins_of(found)
    places = {row.key: place for place, row in enumerate(rows)}
    by_place = {(places[a], places[b]): win for (a, b), win in wins.items() if a in places and b in places}
    figure = wins_figure([row.label for row in rows], by_place, word=metric.word, is_dark=controls.is_dark())
    table = [
        {"row": rows[a].label, "column": rows[b].label, "lead": win.lead, "is_shown": win.is_shown,
         "num_alone": win.num_alone, "sentence": win.sentence}
        for (a, b), win in by_place.items()
    ]  # fmt: skip
    alt = f"Heat map of wins: every two of {min(len(rows), MAX_RUNS)} runs by {metric.word}"
    controls.show_figure(figure, alt=alt, key="wins", data=pd.DataFrame(table))
    num_tests = max((getattr(pair.found, "num_tests", 1) for pair in found.pairs), default=1)
    holm = f" Corrected for {num_tests} tests at once (Holm), as in the verdict." if num_tests > 1 else ""
    less = ", where less is better" if metric.is_lower_better else ""
    st.caption(
        "Each row against each column. Blue: ahead, orange: behind, both more than chance; grey: could be chance. "
        f"Upper number: lead in {metric.word}{less}; lower: images that the row alone got right.{holm}"
    )
    if len(rows) > MAX_RUNS:
        st.caption(f"The first {MAX_RUNS} of {len(rows)} runs are drawn; the data hold all.")
    for sentence in not_tested(found):
        st.caption(plain(sentence, 300))


def not_tested(found: Comparison) -> list[str]:
    """Why pairs were not compared; what holds for every pair of a series and a single run is said once."""
    series = {row.key for row in found.rows if row.is_series}
    mixed = [
        pair for pair in found.pairs if pair.note.startswith("Not tested") and (pair.a in series) != (pair.b in series)
    ]
    if len(mixed) < 2:
        mixed = []
    said = ["Not tested (–): a series of seeds against a single run."] if mixed else []
    others = [pair.note for pair in found.pairs if pair.found is None and pair.note and pair not in mixed]
    return [*said, *dict.fromkeys(others)]
