"""Precision, recall and F1 of each class of the selected runs, with the sentence that names what is confused most."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from lib.evaluation.classes import MEASURES, class_intervals, confusion_sentence
from lib.figures.class_charts import ClassFigures, class_figure, class_table, hardest_classes
from lib.figures.style import short_names
from lib.tracking.tested import TestedRun
from pages.common import controls
from pages.common.text import count, plain, readable
from pages.compare.matrices import of_same_classes
from pages.compare.scene import Scene

_MOST_SENTENCES = 4  # the others fold
_FEW = 10  # images of a class


def draw(scene: Scene) -> None:
    """A picture and a table for each set of classes, and a sentence for each run."""
    tested = scene.tested()
    if not tested:
        st.markdown("Figures of each class come with the predictions of a finished run: no selected run has any.")
        return
    kinds = of_same_classes(tested)
    if len(kinds) > 1:
        st.caption(f"The selected runs tell {len(kinds)} sets of classes apart, so each set has a picture of its own.")
    for number, kind in enumerate(kinds):
        _draw_kind(kind, key=f"classes_{number}")


def _draw_kind(kind: Sequence[TestedRun], *, key: str) -> None:
    names = kind[0].class_names
    for place, one in enumerate(kind[:_MOST_SENTENCES]):
        mark = f"{place + 1} " if len(kind) > 1 else ""
        st.markdown(f"**{mark}{plain(one.label)}**: {plain(confusion_sentence(one.matrix, names), 500)}")
    runs = [ClassFigures(one.label, str(one.run.config.get("strategy", "")), _figures(one)) for one in kind]
    drawn = hardest_classes(runs)
    figure = class_figure(runs, names, is_dark=controls.is_dark(), classes=drawn)
    alt = f"Dot plot: precision, recall and F1 of {len(drawn)} classes of {len(runs)} runs, with 95 % intervals"
    controls.show_figure(figure, alt=alt, key=key, data=class_table(runs))
    st.caption(_caption(kind, len(drawn)))
    if len(kind) > _MOST_SENTENCES:
        with st.expander("What the other runs confuse most", key=f"{key}_others"):
            for place, one in enumerate(kind[_MOST_SENTENCES:], start=_MOST_SENTENCES + 1):
                st.markdown(f"**{place} {plain(one.label)}**: {plain(confusion_sentence(one.matrix, names), 500)}")
    _show_table(runs, key=key)


def _figures(tested: TestedRun) -> pd.DataFrame:
    key = (tested.run.run_id, tested.run.ended_s, tested.groups is not None)
    return _cached_figures(key, _tested=tested)


@st.cache_data(max_entries=128, show_spinner=False)
def _cached_figures(key: tuple[Any, ...], *, _tested: TestedRun) -> pd.DataFrame:
    return class_intervals(_tested.targets, _tested.answers, _tested.class_names, groups=_tested.groups)


def _caption(kind: Sequence[TestedRun], num_drawn: int) -> str:
    first, num_classes = kind[0], len(kind[0].class_names)
    parts = []
    if num_drawn < num_classes:
        parts.append(f"The {num_drawn} classes with the lowest mean F1 of {num_classes}; the table has all.")
    has_groups = any(one.groups is not None for one in kind)
    how = "by patient or group where images share one" if has_groups else "Wilson's"
    parts.append(f"Lines: 95 % intervals, {how}.")
    counts = first.matrix.sum(axis=1)
    if missing := [name for name, num in zip(first.class_names, counts, strict=True) if not num]:
        parts.append(f"Not among the test images: {_some(missing)}.")
    if few := [name for name, num in zip(first.class_names, counts, strict=True) if 0 < num < _FEW]:
        parts.append(f"Fewer than {_FEW} test images: {_some(few)}.")
    if len({len(one.targets) for one in kind}) > 1:
        parts.append(f"The numbers of images are those of {first.label}; the others had another test set.")
    return plain(" ".join(parts), 900)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(readable(name, 40) for name in names[:5])}{more}"


def _show_table(runs: Sequence[ClassFigures], *, key: str) -> None:
    """The figures of one run; the data under the picture have those of all."""
    run = runs[0]
    if len(runs) > 1:
        labels = [run.label for run in runs]
        place = st.selectbox("Table of", list(range(len(runs))), format_func=lambda one: readable(labels[one]),
                             key=f"{key}_run", width=420)  # fmt: skip
        run = runs[place or 0]
    shown = pd.DataFrame({"class_name": [readable(name) for name in short_names(run.table["class_name"].tolist(), 48)]})
    for name in MEASURES:
        shown[name] = run.table[name]
        ends = zip(run.table[f"{name}_low"], run.table[f"{name}_high"], strict=True)
        shown[f"{name}_interval"] = ["" if math.isnan(low) else f"{low:.2f} to {high:.2f}" for low, high in ends]
    shown["count"] = run.table["count"]
    column, text = st.column_config.NumberColumn, st.column_config.TextColumn
    config: dict[str, Any] = {"class_name": "Class", "count": column("Images", help="Test images of the class.")}
    helps = {
        "precision": "Of the images called so, the share that are.",
        "recall": "Of the images that are, the share that were called so.",
        "f1": "The harmonic mean of precision and recall.",
    }
    for name, title in MEASURES.items():
        config[name] = column(title, format="%.2f", help=helps[name])
        config[f"{name}_interval"] = text("95 % interval")
    alt = f"Report per class of {readable(run.label)}, {count(len(shown), 'class', 'classes')}"
    controls.show_table(shown, hide_index=True, alt=alt, column_config=config, placeholder="–")
