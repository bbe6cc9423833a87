"""Which rows of the board are shown and in what order: filters, search, sorting, pins, studies; and what differs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

import numpy as np
import pandas as pd

from lib.board.columns import COLUMNS
from lib.evaluation.metric_table import METRICS
from lib.recipes import RECIPES

_SEARCHED = ("name", "run_id", "dataset", "dataset_title", "strategy", "strategy_title", "backbone", "backbone_title",
             "recipe", "study", "labels", "note", "state")  # fmt: skip


@dataclass(frozen=True)
class Filters:
    """Which runs are shown: of each kind any of the given values, of all kinds together; no value, no filter."""

    dataset: tuple[str, ...] = ()
    strategy: tuple[str, ...] = ()
    backbone: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    search: str = ""
    with_archived: bool = False

    @classmethod
    def parse(cls, text: str | None, search: str | None = None) -> "Filters":
        """Read what `text` wrote; what is not known is passed over."""
        asked = parse_qs(text or "")
        chosen = {kind: tuple(asked.get(kind, ())) for kind in KINDS}
        return cls(**chosen, search=search or "", with_archived="archived" in asked)

    @property
    def text(self) -> str:
        """All but the search, for a link; "" for nothing."""
        chosen = {kind: list(getattr(self, kind)) for kind in KINDS if getattr(self, kind)}
        return urlencode({**chosen, **({"archived": "yes"} if self.with_archived else {})}, doseq=True)

    @property
    def is_any(self) -> bool:
        """Whether anything is filtered or searched for."""
        return bool(self.search or any(getattr(self, kind) for kind in KINDS))

    @property
    def num_chosen(self) -> int:
        """How many kinds are filtered."""
        return sum(bool(getattr(self, kind)) for kind in KINDS) + self.with_archived

    def changed(self, kind: str, values: Sequence[str]) -> "Filters":
        """The same with other values of one kind."""
        return replace(self, **{kind: tuple(values)})  # type: ignore[arg-type]

    def matching(self, table: pd.DataFrame) -> np.ndarray:
        """Which rows are shown, bool (N,)."""
        shown = np.ones(len(table), dtype=bool)
        for kind in KINDS:
            if (wanted := getattr(self, kind)) and kind != "label":
                shown &= table[kind].isin(wanted).to_numpy()
        if self.label:
            asked = {label.casefold() for label in self.label}
            own = [{one.strip().casefold() for one in text.split(",")} if text else set() for text in table["labels"]]
            shown &= np.array([bool(asked & labels) for labels in own], dtype=bool)
        if not self.with_archived:
            shown &= ~table["is_archived"].to_numpy()
        for word in self.search.casefold().split():
            rows = np.flatnonzero(shown)
            found = _texts(table.iloc[rows])
            shown[rows] &= np.array([word in text for text in found], dtype=bool)
        return shown


KINDS = tuple(field.name for field in fields(Filters) if field.name not in ("search", "with_archived"))


def _texts(table: pd.DataFrame) -> list[str]:
    columns = [table[key].tolist() for key in _SEARCHED]
    return ["\n".join(row).casefold() for row in zip(*columns, strict=True)]


def parse_sort(text: str | None) -> tuple[str, bool] | None:
    """Column and whether the largest comes first, of "seconds_total" or "-test_accuracy"; None for the board's own."""
    key = (text or "").removeprefix("-")
    return (key, (text or "").startswith("-")) if key in COLUMNS and not COLUMNS[key].belongs_to else None


def arranged(table: pd.DataFrame, sort: tuple[str, bool] | None = None) -> pd.DataFrame:
    """The rows in order: pinned ones on top, then by a column, or test set by test set with the best first.

    In the board's own order runs without a result come first, newest first, then one test set after the other as they
    come; an undefined value is the last of its test set. By a column, what is missing comes last.
    """
    if sort is not None:
        key, is_falling = sort
        values = table["seed"] if key == "seeds" else table[key]
        if values.dtype == object or values.dtype.name.startswith("str"):
            values = values.str.casefold().where(values.astype(bool))
        order = values.reset_index(drop=True).sort_values(ascending=not is_falling, kind="stable", na_position="last")
        ordered = table.iloc[order.index.to_numpy()]
    else:
        ordered = table.iloc[_by_result(table)]
    is_pinned = ordered["is_pinned"].to_numpy()
    return ordered.iloc[np.argsort(~is_pinned, kind="stable")].reset_index(drop=True)


def _by_result(table: pd.DataFrame) -> np.ndarray:
    worth, has_result = judged_worth(table)
    place = np.arange(len(table))
    # Where the images are not known, a result stands by itself.
    sets = [
        (tested, judged) if tested else (str(row),)
        for row, (tested, judged) in enumerate(zip(table["test_set"], table["headline"], strict=True))
    ]
    first: dict[Any, int] = {}
    for row, one in enumerate(sets):
        if has_result[row]:
            first.setdefault(one, row)
    begins = np.array([first.get(one, -1) if known else -1 for one, known in zip(sets, has_result, strict=True)])
    missing = np.isnan(worth)
    return np.lexsort((place, np.where(missing | ~has_result, 0.0, -worth), missing & has_result, begins))


def judged_worth(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """What each run is judged by, larger being better, NaN where undefined (N,); and whether it has a result (N,)."""
    worth = np.full(len(table), np.nan)
    for judged in set(table["headline"]):
        metric = METRICS.get(judged, METRICS["accuracy"])
        rows = (table["headline"] == judged).to_numpy()
        worth[rows] = table[f"test_{metric.key}"].to_numpy()[rows] * (-1 if metric.is_lower_better else 1)
    has_result = ~np.isnan(worth) | ~np.isnan(table["test_accuracy"].to_numpy())
    return worth, has_result


def by_study(table: pd.DataFrame) -> pd.DataFrame:
    """The runs of recipes as their studies show them: study by study and row by row, the published figure beside ours.

    A published experiment that nobody has repeated has a row of its own, without a run (run_id ""). Only studies of
    which there is a run are shown.
    """
    studies = list(dict.fromkeys(RECIPES.get(name).study.title for name in table["recipe"] if name in RECIPES))
    rows: list[pd.DataFrame] = []
    ours = {name: own for name, own in table.groupby("recipe", sort=False) if name in RECIPES}
    for recipe in RECIPES:
        if recipe.study.title not in studies:
            continue
        rows.append(ours[recipe.name] if recipe.name in ours else _unrepeated(recipe, table))
    if not rows:
        return table.iloc[:0]
    return pd.concat(rows, ignore_index=True)


def _unrepeated(recipe: Any, table: pd.DataFrame) -> pd.DataFrame:
    row = table.iloc[:1].copy()
    for key in row.columns:
        kind = row[key].dtype.kind
        row[key] = np.nan if kind == "f" else pd.NaT if kind == "M" else False if kind == "b" else ""
    published = recipe.published
    row["recipe"], row["study"], row["state_text"] = recipe.name, recipe.study.title, "not repeated here"
    row["published_accuracy"] = np.nan if published.accuracy is None else published.accuracy
    kappa = published.quadratic_weighted_kappa
    row["published_kappa"] = np.nan if kappa is None else kappa
    return row


def differences(configs: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Only the settings that differ between runs (label -> config): a row a setting, a column a run."""
    keys = list(dict.fromkeys(key for config in configs.values() for key in config))
    found = {key: [_setting(config.get(key)) for config in configs.values()] for key in keys if key != "format_version"}
    rows = [{"setting": key, **dict(zip(configs, values, strict=True))} for key, values in found.items()
            if len(set(values)) > 1]  # fmt: skip
    return pd.DataFrame(rows, columns=["setting", *configs], dtype=str)


def _setting(value: Any) -> str:
    return "–" if value is None or value == "" else f"{value:g}" if isinstance(value, float) else str(value)
