"""The published figure beside a run that repeats a published experiment, marked where the data are others."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from lib.recipes import RECIPES, fits_subject, published_line
from lib.tracking import RunRecord
from pages.common import resources
from pages.common.text import plain

COLUMNS = {"test_accuracy": "published_accuracy", "test_quadratic_weighted_kappa": "published_kappa"}


def recipe_of(run: RunRecord) -> str:
    """The name of the run's recipe; empty for a run of nobody's recipe."""
    return str(run.config.get("recipe") or "")


def published_values(run: RunRecord) -> dict[str, float]:
    """Column of the results table -> published value, NaN where none was published."""
    lines = {column: published_line(recipe_of(run), metric) for metric, column in COLUMNS.items()}
    return {column: line.value if line else float("nan") for column, line in lines.items()}


def used_other_data(run: RunRecord) -> bool:
    """Whether a run was made on images of another kind than its recipe's study used."""
    recipe, summary = recipe_of(run), resources.find_summary(str(run.config.get("dataset", "")))
    if recipe not in RECIPES or summary is None:
        return True
    return not fits_subject(RECIPES.get(recipe).subject, resources.cached_dataset(summary.name, summary.version).spec)


def mark_published(table: pd.DataFrame, runs: Sequence[RunRecord], metric: str) -> pd.DataFrame:
    """Add columns `published` (NaN where none) and `published_source` to a table with one row a run_id."""
    by_id = {run.run_id: run for run in runs}
    lines: list[tuple[float, str]] = []
    for run_id in table["run_id"]:
        line = published_line(recipe_of(by_id[run_id]), metric)
        if line is None:
            lines.append((float("nan"), ""))
            continue
        other = " on other data" if used_other_data(by_id[run_id]) else ""
        lines.append((line.value, f"published {line.value:.3f}{other}: {line.source}"))
    return table.assign(published=[value for value, _ in lines], published_source=[source for _, source in lines])


def explain_published(runs: Sequence[RunRecord], metric: str) -> None:
    """Under the picture: what each published line was measured on."""
    said: list[str] = []
    for run in runs:
        line = published_line(recipe_of(run), metric)
        if line is not None:
            said.append(f"{line.recipe} {line.value:.3f} on {line.measured_on}, {line.published_data} ({line.source})")
    if not said:
        return
    text = f"Dashed grey: published figures. {'; '.join(dict.fromkeys(said))}."
    if any(used_other_data(run) for run in runs if published_line(recipe_of(run), metric)):
        text += " Runs on other data than those cannot be held against them number by number."
    st.caption(plain(text, 1200))


def style_columns() -> dict[str, Any]:
    """How the results table shows the published columns."""
    about = "What the study found that this run repeats, on its own data."
    return {
        "published_accuracy": st.column_config.NumberColumn("Published", format="%.3f", help=f"Accuracy. {about}"),
        "published_kappa": st.column_config.NumberColumn("Published", format="%.3f", help=f"Kappa. {about}"),
    }
