"""Two runs side by side on the test images that both answered: one function for the command and the page."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.catalog import image_groups
from lib.errors import UserError
from lib.evaluation.comparison import PairedComparison, compare_paired
from lib.evaluation.headline import ACCURACY
from lib.tracking.records import RunRecord, predictions
from lib.tracking.scores import probability_columns, run_score

if TYPE_CHECKING:
    import pandas as pd

Reader = Callable[[RunRecord], "pd.DataFrame"]


@dataclass(frozen=True)
class RunComparison:
    """What comes of two runs: a sentence in any case, and the paired comparison where there is one."""

    sentence: str
    paired: PairedComparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """What the command prints; `n` is 0 where nothing was compared."""
        if self.paired is None:
            return {"n": 0, "sentence": self.sentence}
        keys = ("metric", "difference", "low", "high", "p_value", "n")
        return {**{key: getattr(self.paired, key) for key in keys}, "sentence": self.sentence}


def compare_runs(
    first: RunRecord, second: RunRecord, names: tuple[str, str], read: Reader | None = None
) -> RunComparison:
    """Compare two runs by the metric that both are judged by, image by image, whole patients at a time.

    Args:
        first: one run.
        second: another run.
        names: what to call them in the sentence.
        read: gives a run's predictions; from its folder by default.

    Returns:
        The comparison, or the sentence that says why there is none: other data sets, other classes, no test image in
        common, or no predictions.
    """
    a, b = names
    if first.config.get("dataset") != second.config.get("dataset"):
        return RunComparison(f"Not compared: {a} and {b} were tested on different data sets.")
    maps = [run.config.get("target_map") or "none" for run in (first, second)]
    if maps[0] != maps[1]:
        told = f"(target_map {maps[0]} and {maps[1]})"
        return RunComparison(f"Not compared: {a} and {b} tell different classes apart {told}.")
    try:
        tables = [_tested((read or _read)(run)) for run in (first, second)]
    except UserError as error:
        return RunComparison(f"Not compared: {error}")
    shared = tables[0].index.intersection(tables[1].index)
    if not len(shared):
        return RunComparison(f"Not compared: {a} and {b} share no test images (use one --split-seed).")
    targets, answers = [], []
    for table in tables:
        rows = table.loc[shared]
        targets.append(rows["target"].to_numpy(np.int64))
        answers.append(rows[probability_columns(table)].to_numpy(np.float64))
    if answers[0].shape != answers[1].shape or not np.array_equal(targets[0], targets[1]):
        versions = " and ".join(str(run.config.get("dataset_version"))[:12] for run in (first, second))
        return RunComparison(
            f"Not compared: {a} and {b} tell different classes apart (versions {versions} of the data set)."
        )
    scores = [run_score(run) for run in (first, second)]
    metrics = {score.metric for score in scores if score is not None}
    groups = image_groups(str(first.config.get("dataset")), list(shared))
    metric = metrics.pop() if len(metrics) == 1 else ACCURACY
    paired = compare_paired(targets[0], *answers, name_a=a, name_b=b, groups=groups, metric=metric)
    is_part = not len(shared) == len(tables[0]) == len(tables[1])
    partial = f" (On the {len(shared)} test images that they share.)" if is_part else ""
    # The figures of a run with folds are means over the folds.
    folds = " (All folds counted together.)" if first.config.get("num_folds") or second.config.get("num_folds") else ""
    return RunComparison(f"{paired.sentence}{partial}{folds}", paired)


def _read(run: RunRecord) -> "pd.DataFrame":
    return predictions(run.run_id)


def _tested(table: "pd.DataFrame") -> "pd.DataFrame":
    return table[table["split"] == "test"].drop_duplicates("image_id").set_index("image_id")
