"""Which images of a data set are asked for, and in what order: by class, split, flag, a run's answer, and any measure.

`image_table` says of every image what may be asked for; an `ImageQuery` picks rows of it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lib.data.dataset import Dataset
from lib.data.image_measures import MEASURES, Measure, file_measures
from lib.data.splits import EXCLUDED

if TYPE_CHECKING:
    import pandas as pd

RIGHT, WRONG = "right", "wrong"
ANY_FLAG, NO_FLAG = "any", "none"
_MOST_FLAGS = 30
# What a run says of an image; the columns `image_table` takes from its answers, with `predicted` and `outcome`.
ANSWER_MEASURES = {
    measure.name: measure
    for measure in (
        Measure("confidence", "Confidence", "probability, 0 to 1", "", "The run's probability of its own answer.",
                "are answered less surely", "are answered more surely"),
        Measure("error", "Error", "1 - probability of the true class", "", "How little the run gives the true class: "
                "0 is right and sure, 1 is wrong and sure.", "are answered better", "are answered worse"),
    )
}  # fmt: skip
ORDER_MEASURES = {**MEASURES, **ANSWER_MEASURES}


def image_table(
    dataset: Dataset,
    split: np.ndarray,
    measures: "pd.DataFrame | None" = None,
    answers: "pd.DataFrame | None" = None,
) -> "pd.DataFrame":
    """One row an image in the order of the data set: image_id, path, class_name, split, group_id, flags, and measures.

    Args:
        dataset: the data set.
        split: the part of each image (N,).
        measures: of `image_measures`; without them only those of the original files are there.
        answers: of a run, with image_id, predicted (its class name), outcome ("right" or "wrong"), confidence and
            error; an image without an answer gets "" and NaN.
    """
    table = dataset.table[["image_id", "path", "group_id", "flags"]].reset_index(drop=True)
    table.insert(2, "class_name", dataset.class_labels)
    table.insert(3, "split", split)
    found = file_measures(dataset) if measures is None else measures
    for name in found.columns.drop("image_id", errors="ignore"):
        table[name] = found[name].to_numpy()
    if answers is not None:
        own = answers.drop_duplicates("image_id").set_index("image_id").reindex(table["image_id"])
        for name in ("predicted", "outcome"):
            table[name] = own[name].fillna("").to_numpy(dtype=object)
        for name in ANSWER_MEASURES:
            table[name] = own[name].to_numpy(dtype=np.float64)
    return table


def flags_of(table: "pd.DataFrame") -> list[str]:
    """The flags that images have, the most frequent first; at most 30."""
    from collections import Counter

    found: Counter[str] = Counter()
    for flags, number in table["flags"].value_counts(sort=False).items():
        found.update(dict.fromkeys(_parts(str(flags)), int(number)))
    return [flag for flag, _ in found.most_common(_MOST_FLAGS)]


@dataclass(frozen=True, kw_only=True)
class ImageQuery:
    """What is asked for; "" asks for nothing.

    `flag` may be `ANY_FLAG` or `NO_FLAG`; `between` is a range of `measure`, both ends included; `measure` orders the
    images too, the smallest first, or the largest where it `falls`. What a table has no column for leaves no image,
    except that an order then is that of the table. Excluded images are among those of the split "excluded" alone, as
    long as any other takes part.
    """

    class_name: str = ""
    split: str = ""
    flag: str = ""
    predicted: str = ""
    outcome: str = ""
    measure: str = ""
    between: tuple[float, float] | None = None
    falls: bool = False

    def rows(self, table: "pd.DataFrame") -> np.ndarray:
        """The rows (n,) of an `image_table` that fit, int64, in their order."""
        takes_part = table["split"].to_numpy() != EXCLUDED
        fits = takes_part.copy() if takes_part.any() and self.split != EXCLUDED else np.ones(len(table), dtype=bool)
        for column in ("class_name", "split", "predicted", "outcome"):
            if wanted := getattr(self, column):
                fits &= table[column].to_numpy() == wanted if column in table else False
        if self.flag:
            has = {flags: _has_flag(flags, self.flag) for flags in table["flags"].unique()}
            fits &= table["flags"].map(has).to_numpy(dtype=bool)
        if self.measure not in table:
            return np.flatnonzero(fits & (not self.between))
        values = table[self.measure].to_numpy(dtype=np.float64)
        if self.between is not None:
            fits &= (values >= self.between[0]) & (values <= self.between[1])
        rows = np.flatnonzero(fits)
        # NaN goes last in both directions.
        return rows[np.argsort(-values[rows] if self.falls else values[rows], kind="stable")]


def read_range(text: str | None) -> tuple[float, float] | None:
    """A range from a link, "12,80.5"; None for what is none."""
    parts = (text or "").split(",")
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        return None
    return (low, high) if np.isfinite([low, high]).all() and low <= high else None


def range_text(between: tuple[float, float]) -> str:
    """A range for a link, so exact that no image at its ends is lost."""
    return f"{between[0]!r},{between[1]!r}"


def _has_flag(flags: str, wanted: str) -> bool:
    own = _parts(flags)
    return bool(own) if wanted == ANY_FLAG else not own if wanted == NO_FLAG else wanted in own


def _parts(flags: str) -> list[str]:
    return [part.strip() for part in str(flags).split(";") if part.strip()]
