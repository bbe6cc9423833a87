"""The columns of the board: one entry is a column on the page, a choice in its list, a heading of what is taken away.

`COLUMNS` are in the order of the table. An interval belongs to its metric and comes with it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from lib.evaluation.metric_table import METRICS

TEXT, METRIC, SIGNED, INTERVAL, NUMBER, WHOLE, SECONDS, SHARE, MOMENT = (
    "text", "metric", "signed", "interval", "number", "whole", "seconds", "share", "moment"
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column; `kind` says how its values are written.

    `title` is short enough for a heading, `longer` stands in the list of columns. `belongs_to` names the column that
    brings this one along. `falls` says whether one who sorts by it wants the largest first.
    """

    key: str
    title: str
    help: str
    kind: str = TEXT
    width: int = 90
    longer: str = ""
    belongs_to: str = ""
    falls: bool = False

    @property
    def name(self) -> str:
        """What it is called in the list of columns."""
        return self.longer or self.title


def _metric_columns() -> list[Column]:
    heads = {"quadratic_weighted_kappa": "Kappa", "balanced_accuracy": "Balanced", "calibration_error": "Calibration"}
    found = []
    for key, metric in METRICS.items():
        title = heads.get(key, metric.title)
        found.append(
            Column(f"test_{key}", title, metric.meaning, METRIC, 68, metric.title, falls=not metric.is_lower_better)
        )
        told = "By bootstrap, over patients where the data set has them; Wilson's for accuracy of images by themselves."
        found.append(Column(f"test_{key}_interval", "95 % interval", told, INTERVAL, 108, belongs_to=f"test_{key}"))
    return found


COLUMNS: dict[str, Column] = {
    column.key: column
    for column in (
        Column("own_name", "Name", "As somebody called it.", width=150),
        Column("labels", "Tags", "What somebody marked it with.", width=90),
        Column("note", "Note", "What somebody wrote about it.", width=160),
        Column("study", "Study", "The publication whose experiment it repeats.", width=200),
        Column("recipe", "Recipe", "The published experiment it repeats.", width=150),
        Column("strategy_title", "Strategy", "What is trained, and how.", width=165),
        Column("backbone_title", "Backbone", "The network that it starts from.", width=132),
        Column("dataset_title", "Data set", "What it was trained and tested on.", width=130),
        Column("dataset_version", "Version", "Of the data set, as it read it.", width=80, longer="Data set version"),
        *_metric_columns(),
        Column("published_accuracy", "Published", "Accuracy that its study found, on its own data.", METRIC, 80,
               "Published accuracy", falls=True),
        Column("published_kappa", "Published", "Kappa that its study found, on its own data.", METRIC, 80,
               "Published kappa", falls=True),
        Column("external", "Other data sets", "The same classifier on other data sets, by what it is judged by, with "
               "95 % intervals.", width=230),
        Column("external_value", "Elsewhere", "On the other data set that was evaluated last, by what it is judged by.",
               METRIC, 76, "On the last other data set", falls=True),
        Column("external_delta", "Change", "That minus the result on its own test images.", SIGNED, 66,
               "Change on the last other data set", falls=True),
        Column("test_baseline_accuracy", "Commonest", "Accuracy on the same test images of always answering their "
               "commonest class; its kappa is 0.", METRIC, 82, "Always the commonest class"),
        Column("test_referable_auroc", "Referable", "Area under the ROC curve of moderate and above against the rest, "
               "for five ordered grades.", METRIC, 76, "Referable AUROC", falls=True),
        Column("trained_share", "Trained", "Share of the network's parameters that were trained.", SHARE, 68,
               "Trained share", falls=True),
        Column("num_trained", "Parameters", "How many parameters were trained.", WHOLE, 92, "Trained parameters",
               falls=True),
        Column("epochs", "Epochs", "Passes over the training images; none of a head that is fitted in one go.", WHOLE,
               62, falls=True),
        Column("learning_rate", "Rate", "The highest learning rate.", NUMBER, 72, "Learning rate", falls=True),
        Column("seeds", "Seed", "Of its training; of a series, out of how many.", width=58, longer="Seeds"),
        Column("num_train", "Images", "It was trained on.", WHOLE, 66, "Training images", falls=True),
        Column("num_test", "Test", "Images it was tested on.", WHOLE, 54, "Test images", falls=True),
        Column("seconds_total", "Seconds", "From start to result.", SECONDS, 66),
        Column("state", "State", "Finished, at work, or how it ended.", width=80),
        Column("created", "Started", "When it was started.", MOMENT, 92, falls=True),
    )
}  # fmt: skip
# What a column shows where that is another column of the table than the one that it is sorted by.
SHOWN_AS = {"state": "state_text"}


def choosable() -> list[Column]:
    """The columns that a person chooses; intervals come with their metrics."""
    return [column for column in COLUMNS.values() if not column.belongs_to]


def default_columns(table: pd.DataFrame, *, has_several_datasets: bool = False) -> list[str]:
    """What is shown before anybody has chosen: what these runs are judged by first, what it is held against last."""
    has = {key: bool(table[key].astype(bool).any()) for key in ("own_name", "labels", "recipe", "group_id", "external")}
    judged = set(table.loc[table["headline"] != "", "headline"])
    figures = ["test_quadratic_weighted_kappa", "test_accuracy"]
    if judged != {"quadratic_weighted_kappa"}:
        figures = figures[::-1]
    if not table["test_quadratic_weighted_kappa"].notna().any():
        figures = ["test_accuracy"]
    beside = {"test_accuracy": "published_accuracy", "test_quadratic_weighted_kappa": "published_kappa"}
    published = [beside[key] for key in figures if table[beside[key]].notna().any()]
    return [
        *(key for key in ("own_name", "labels") if has[key]), "strategy_title", "backbone_title",
        *(["dataset_title"] if has_several_datasets else []), *(["seeds"] if has["group_id"] else []), *figures,
        *(["external", "external_delta"] if has["external"] else []), "test_baseline_accuracy",
        *(["test_referable_auroc"] if table["test_referable_auroc"].notna().any() else []),
        *(["recipe", *published] if has["recipe"] else []), "seconds_total", "state", "created",
    ]  # fmt: skip


def parse_columns(text: str | None) -> list[str]:
    """Columns as a link or the settings name them; unknown ones are passed over."""
    asked = (text or "").split(",")
    return [key for key in dict.fromkeys(asked) if key in COLUMNS and not COLUMNS[key].belongs_to]


def with_intervals(keys: Iterable[str]) -> list[str]:
    """The chosen columns, each metric with its interval behind it."""
    found: list[str] = []
    for key in keys:
        found.append(key)
        found += [one.key for one in COLUMNS.values() if one.belongs_to == key]
    return found


def headings(keys: Sequence[str]) -> dict[str, str]:
    """Column -> heading for what is taken away: a file has no tooltips, so an interval says of what it is."""
    return {
        key: f"{COLUMNS[COLUMNS[key].belongs_to].name}, 95 % interval" if COLUMNS[key].belongs_to else COLUMNS[key].name
        for key in keys
    }
