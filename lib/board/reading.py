"""All runs as one table: who they are from the run store, what they reached from the table of summaries."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from lib.board.rows import describe_run, is_outdated, made_of, summarise_run
from lib.data.library import descriptions
from lib.data.target_map import TARGET_MAPS
from lib.errors import UserError
from lib.evaluation.metric_table import METRICS
from lib.models.backbones import BACKBONES
from lib.progress import Progress, ignore_progress
from lib.recipes import RECIPES, published_line
from lib.settings import runs_dir
from lib.tracking import RunRecord, get_run, list_runs
from lib.tracking.marks import MARK_TAGS, Marks
from lib.tracking.records import PresentState, present_state
from lib.tracking.state import GROUP_TAG, default_name
from lib.tracking.store import client, experiment_id, is_store_empty
from lib.tracking.summary_table import keep_summaries, read_summaries
from lib.training.strategies import STRATEGIES

_TAGS = ("state", "message", "ending", "host", "recorded_on", GROUP_TAG, *MARK_TAGS)
AT_ONCE_S = 0.5  # so long one waits for figures that are not worked out yet
_KEPT_AT_ONCE = 20
_FEW = 24  # so many runs are read one by one sooner than all of the store
_NUMBERS = (
    "learning_rate", "seed", "num_train", "num_test", "seconds_total", "seconds_features", "seconds_training",
    "num_trained", "num_parameters", "test_baseline_accuracy", "test_referable_auroc", "epochs_asked",
    "external_value", "external_delta",
    *(f"test_{key}{end}" for key in METRICS for end in ("", "_low", "_high")),
)  # fmt: skip
_WORDS = ("dataset", "dataset_version", "backbone", "strategy", "recipe", "target_map", "headline", "test_set")


@dataclass(frozen=True, eq=False)
class Board:
    """`table` has one row a run, newest first (see `COLUMNS` in columns.py, and run_id, label, headline, test_set).

    `pending` are finished runs whose figures are not worked out yet: they show those that they have kept themselves.
    """

    table: pd.DataFrame
    pending: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = field(default=())

    def row_of(self, run_id: str) -> int | None:
        """The number of a run's row; None for one that is not here."""
        return self._rows.get(run_id)

    def __post_init__(self) -> None:
        object.__setattr__(self, "run_ids", tuple(self.table["run_id"]))
        object.__setattr__(self, "_rows", {run_id: row for row, run_id in enumerate(self.run_ids)})

    _rows: dict[str, int] = field(default_factory=dict, init=False)


def read_board(*, at_once_s: float = AT_ONCE_S) -> Board:
    """Read all runs that are not deleted.

    Figures that were not worked out yet are worked out for `at_once_s` seconds; of the runs that remain, the oldest,
    only what they say themselves is shown, and `summarise_pending` works out the rest.
    """
    if is_store_empty():
        return Board(_table([], {}))
    runs = client().brief_runs(experiment_id(), _TAGS)
    states = {run.info.run_id: present_state(run, is_brief=True) for run in runs}
    folder, titles = str(runs_dir()), _dataset_titles()
    keys = {run_id: made_of(f"{folder}/{run_id}") for run_id, state in states.items() if not state.is_active}
    known = read_summaries(keys)
    missing = [run_id for run_id in states if run_id not in known or is_outdated(known[run_id], titles)]
    records = _records(missing)
    known |= {run_id: describe_run(record) for run_id, record in records.items()}
    finished = [run_id for run_id, record in records.items() if record.state == "finished"]
    broken_off = [run_id for run_id, record in records.items() if run_id in keys and record.state != "finished"]
    keep_summaries({run_id: (keys[run_id], known[run_id]) for run_id in broken_off})
    done = _summarised([records[run_id] for run_id in finished], until_s=time.monotonic() + at_once_s)
    known |= done
    kept = [run for run in runs if run.info.run_id in known]  # one may be deleted meanwhile
    rows = [_row(run.info.run_id, run.data.tags, states[run.info.run_id], known[run.info.run_id]) for run in kept]
    return Board(_table(rows, titles), tuple(run_id for run_id in finished if run_id not in done))


def summarise_pending(run_ids: Sequence[str], progress: Progress = ignore_progress) -> int:
    """Work out and keep the summaries of those runs; returns how many. `progress` may raise to stop it."""
    return len(_summarised(_each(run_ids), num_runs=len(run_ids), progress=progress))


def _records(run_ids: Sequence[str]) -> dict[str, RunRecord]:
    """The runs of those ids, whole; those that are gone are left out."""
    if len(run_ids) <= _FEW:
        return {run.run_id: run for run in _each(run_ids)}
    wanted = set(run_ids)
    return {run.run_id: run for run in list_runs() if run.run_id in wanted}


def _each(run_ids: Sequence[str]) -> Iterator[RunRecord]:
    for run_id in run_ids:
        with suppress(UserError):  # deleted meanwhile
            yield get_run(run_id)


def _summarised(
    runs: Iterable[RunRecord], *, num_runs: int = 0, until_s: float = math.inf, progress: Progress = ignore_progress
) -> dict[str, dict[str, Any]]:
    """Work out rows and keep them, one after the other until a moment of the monotonic clock."""
    done: dict[str, dict[str, Any]] = {}
    waiting: dict[str, tuple[str, dict[str, Any]]] = {}
    try:
        for run in runs:
            if time.monotonic() > until_s:
                break
            progress(len(done), num_runs, "working out figures")
            key = made_of(str(run.folder))  # before it is read
            done[run.run_id] = summarise_run(run)
            waiting[run.run_id] = (key, done[run.run_id])
            if len(waiting) == _KEPT_AT_ONCE:
                keep_summaries(waiting)
                waiting = {}
    finally:
        keep_summaries(waiting)
    return done


def _row(run_id: str, tags: Mapping[str, str], state: PresentState, row: Mapping[str, Any]) -> dict[str, Any]:
    """One run: its summary, and what is known of it at this moment."""
    progress = state.live.progress if state.live else {}
    found = {
        **row, "run_id": run_id, "name": state.name or default_name(row), "state": state.state,
        "state_text": _state_text(state, progress), "is_active": state.is_active, "created_s": state.created_s,
        "ended_s": state.ended_s, "recorded_on": state.recorded_on, "group_id": tags.get(GROUP_TAG, ""),
        "epoch": progress.get("epoch"),
    }  # fmt: skip
    if not any(tags.get(tag) for tag in MARK_TAGS):
        return found
    marks = Marks.of(tags)
    return found | {"labels": ", ".join(marks.labels), "note": marks.note, "is_pinned": marks.is_pinned,
                    "is_archived": marks.is_archived}  # fmt: skip


def _state_text(state: PresentState, progress: Mapping[str, Any]) -> str:
    """The state with what explains it: how far it is while it runs, the reason after it broke off."""
    if state.is_active:
        share = progress["done"] / progress["total"] if progress.get("total") else None
        return state.state if share is None else f"{state.state}, {100 * share:.0f} % of {progress.get('phase', '')}"
    if state.message and state.state != "finished":
        return f"{state.state}: {' '.join(state.message.split())[:200]}"
    return f"{state.state}, recorded" if state.recorded_on else state.state


def _dataset_titles() -> dict[str, str]:
    return {one["spec"]["name"]: str(one["spec"]["title"] or one["spec"]["name"]) for one in descriptions()}


def _table(rows: list[dict[str, Any]], dataset_titles: Mapping[str, str]) -> pd.DataFrame:
    """The rows as columns of one kind each, with titles in place of names."""
    columns: dict[str, Any] = {key: [row.get(key) for row in rows] for key in (
        "run_id", "name", "state", "state_text", "created_s", "ended_s", "recorded_on", "group_id"
    )}  # fmt: skip
    columns |= {key: np.array([row.get(key) for row in rows], dtype=np.float64) for key in (*_NUMBERS, "epoch")}
    columns |= {key: [str(row.get(key) or "") for row in rows] for key in (*_WORDS, "labels", "note")}
    columns |= {key: np.array([bool(row.get(key)) for row in rows], dtype=bool)
                for key in ("is_active", "is_pinned", "is_archived")}  # fmt: skip
    table = pd.DataFrame(columns)
    table["created"] = pd.to_datetime(table["created_s"].astype(np.float64), unit="s", utc=True)
    table["dataset_title"] = [dataset_titles.get(name, name) for name in table["dataset"]]
    table["strategy_title"] = [_title("strategy", name) for name in table["strategy"]]
    table["backbone_title"] = [_title("backbone", name) for name in table["backbone"]]
    table["study"] = [_title("study", name) for name in table["recipe"]]
    with np.errstate(invalid="ignore", divide="ignore"):
        table["trained_share"] = table["num_trained"] / table["num_parameters"]
    finished = table["epoch"].where(table["epoch"] > 0, table["epochs_asked"])
    table["epochs"] = finished.where(table["epochs_asked"].notna())
    for key in METRICS:
        reasons = [row.get(f"test_{key}_reason") or "" for row in rows]
        table[f"test_{key}_interval"] = _interval_texts(table[f"test_{key}_low"], table[f"test_{key}_high"], reasons)
    sizes = table["group_id"].map(table["group_id"].value_counts())
    table["seeds"] = [
        "" if np.isnan(seed) else f"{seed:.0f} of {size}" if group else f"{seed:.0f}"
        for seed, group, size in zip(table["seed"], table["group_id"], sizes, strict=True)
    ]
    for key, column in (("test_accuracy", "published_accuracy"), ("test_quadratic_weighted_kappa", "published_kappa")):
        table[column] = np.array([_published(name, key) for name in table["recipe"]], dtype=np.float64)
    table["external"] = [_external(row) for row in rows]
    table["own_name"] = _own_names(table)
    return table


def _interval_texts(low: pd.Series, high: pd.Series, reasons: Sequence[str]) -> list[str]:
    """Such as "0.710 to 0.842", or why there is none."""
    ends = zip(low.tolist(), high.tolist(), (low.notna() & high.notna()).tolist(), reasons, strict=True)
    return [f"{a:.3f} to {b:.3f}" if is_known else reason for a, b, is_known, reason in ends]


def _external(row: Mapping[str, Any]) -> str:
    """The run on other data sets, such as "Other eyes: kappa 0.55 (0.48 to 0.62)"."""
    return "; ".join(row.get("external") or ())


def _own_names(table: pd.DataFrame) -> list[str]:
    """The names that a person gave; empty where it is the title that every run gets."""
    found = []
    columns = (table[key].tolist() for key in ("name", "recipe", "strategy_title", "strategy", "backbone", "dataset"))
    for name, recipe, title, *config in zip(*columns, strict=True):
        plain = default_name(dict(zip(("strategy", "backbone", "dataset"), config, strict=True)))
        found.append("" if name.startswith(f"{recipe or title} · ") or name == plain else str(name))
    return found


@lru_cache(maxsize=1024)
def _published(recipe: str, metric: str) -> float:
    line = published_line(recipe, metric) if recipe else None
    return line.value if line else float("nan")


@lru_cache(maxsize=4096)
def _title(key: str, name: str) -> str:
    """The title of a name in its table; the name itself of one that is in none."""
    if key == "study":
        return RECIPES.get(name).study.title if name in RECIPES else ""
    table: Any = {"strategy": STRATEGIES, "backbone": BACKBONES, "target_map": TARGET_MAPS}[key]
    return str(table.get(name).title) if name in table else name
