"""What runs are called and in what order they stand, and the published figures beside them."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from lib.data.target_map import TARGET_MAPS
from lib.evaluation.headline import in_order
from lib.models.backbones import BACKBONES
from lib.recipes import RECIPES, fits_subject, published_line
from lib.tracking import RunRecord
from lib.tracking.scores import run_score
from lib.tracking.state import default_name
from lib.training.strategies import STRATEGIES
from pages.common import resources
from pages.common.text import plain


def ranked(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Runs without a result first, then test set by test set, the best first in each."""
    by_id = {run.run_id: run for run in runs}
    return [by_id[run_id] for run_id in in_order({run.run_id: run_score(run) for run in runs})]


def recorded_words(runs: Sequence[RunRecord]) -> str:
    """Which of these runs came with the program, when they were made and on what machine; empty for none."""
    recorded = [run for run in runs if run.recorded_words]
    if not recorded:
        return ""
    whose = "All" if len(recorded) == len(runs) else ", ".join(short_labels(recorded).values())
    return f"{whose} {recorded[0].recorded_words}: they came with the program, nothing was trained here for them."


def own_name(run: RunRecord) -> str:
    """The name that a person gave a run; empty where it has the title that every run gets."""
    first = recipe_of(run) or _title("strategy", str(run.config.get("strategy", "")))
    has_title = run.label.startswith(f"{first} · ") or run.label == default_name(run.config)
    return "" if has_title else run.label


def distinct_labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """run_id -> label; runs of the same label get their split seed or short id behind it."""
    labels = {run.run_id: run.label for run in runs}
    seen: dict[str, list[RunRecord]] = {}
    for run in runs:
        seen.setdefault(run.label, []).append(run)
    for label, same in seen.items():
        if len(same) > 1:
            seeds = {run.config.get("split_seed") for run in same}
            for run in same:
                mark = f"split {run.config.get('split_seed')}" if len(seeds) == len(same) else run.run_id[:6]
                labels[run.run_id] = f"{label} ({mark})"
    return labels


def short_labels(runs: Sequence[RunRecord]) -> dict[str, str]:
    """run_id -> what differs between the runs: strategy or recipe, and backbone, data set or seed where not the same.

    A run that a person has named keeps its name.
    """
    named = ("backbone", "dataset", "target_map", "seed")
    keys = ["strategy"] + [key for key in named if len({run.config.get(key) for run in runs}) > 1]
    texts = {}
    for run in runs:
        if name := own_name(run):
            texts[run.run_id] = name
            continue
        first = recipe_of(run) or _title("strategy", str(run.config.get("strategy", "")))
        texts[run.run_id] = " · ".join([first, *(_title(key, str(run.config.get(key, ""))) for key in keys[1:])])
    duplicated = {text for text, number in Counter(texts.values()).items() if number > 1}
    return {run_id: f"{text} ({run_id[:6]})" if text in duplicated else text for run_id, text in texts.items()}


def _title(key: str, name: str) -> str:
    if key == "seed":
        return f"seed {name}"
    if key == "target_map" and name in ("None", ""):
        return "all classes"
    table: Any = {"strategy": STRATEGIES, "backbone": BACKBONES, "target_map": TARGET_MAPS}.get(key, ())
    return str(table.get(name).title) if name in table else name


def recipe_of(run: RunRecord) -> str:
    """The name of the run's recipe; empty for a run of nobody's recipe."""
    return str(run.config.get("recipe") or "")


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
