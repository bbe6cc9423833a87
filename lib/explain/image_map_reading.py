"""What can be said of the maps of a data set's images: how far classes come apart from stage to stage."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.splits import EXCLUDED
from lib.explain.class_separation import Separation, kept_neighbors, separation
from lib.explain.image_map import METHODS, PCA, ImageMap, MapQuestion

if TYPE_CHECKING:
    import pandas as pd


def stage_separations(question: MapQuestion, found: ImageMap, split: np.ndarray) -> list[Separation | None]:
    """Of each stage that is ready, by the classes as they are now; `split` (of all rows) says who is excluded."""
    dataset = question.dataset
    targets = dataset.table["target"].to_numpy()[found.rows].astype(np.int64)
    is_counted = (split[found.rows] != EXCLUDED) & (targets >= 0)
    return [
        separation(
            one.neighbors, targets, num_classes=len(dataset.spec.class_names), groups=question.groups,
            is_counted=is_counted,
        )
        for one in found.stages
    ]  # fmt: skip


def map_table(found: ImageMap, separations: Sequence[Separation | None]) -> list[dict[str, Any]]:
    """One row a stage, as JSON holds it."""
    rows = []
    for one, apart in zip(found.stages, separations, strict=True):
        row: dict[str, Any] = {
            "stage": one.stage.name, "title": one.stage.title, "num_features": one.stage.num_channels,
            "purity": None, "low": None, "high": None, "chance": None, "apart": None, "word": None,
            "kept_in_map": kept_neighbors(one.neighbors, one.points), "spread_in_map": one.spread,
        }  # fmt: skip
        if apart is not None:
            names = ("purity", "low", "high", "chance", "apart", "word")
            row.update({name: getattr(apart, name) for name in names})
        rows.append(row)
    return rows


def point_table(question: MapQuestion, found: ImageMap, split: np.ndarray) -> "pd.DataFrame":
    """One row an image: id, path, class, split, then x and y of each stage that is ready."""
    import pandas as pd

    dataset = question.dataset
    table = dataset.table.iloc[found.rows]
    names = np.array([*dataset.spec.class_names, ""], dtype=object)  # the last one of -1: without a class
    columns: dict[str, Any] = {
        "image_id": table["image_id"].to_numpy(), "path": table["path"].to_numpy(),
        "class": names[table["target"].to_numpy()], "split": split[found.rows],
    }  # fmt: skip
    for one in found.stages:
        columns[f"{one.stage.name}_x"], columns[f"{one.stage.name}_y"] = one.points.T
    return pd.DataFrame(columns)


def reading(found: ImageMap, separations: Sequence[Separation | None]) -> str:
    """From generic to specific, in two or three sentences."""
    known = [(one.stage, apart) for one, apart in zip(found.stages, separations, strict=True) if apart is not None]
    if not known:
        return "How far classes lie apart cannot be said: that takes two classes, and images that are not of one group."
    first, last = known[0], known[-1]
    best = max(known, key=lambda pair: pair[1].purity)
    number = last[1].num_neighbors
    said = [f"At {last[0].title} {stage_sentence(last[1])}"]
    if len(known) > 1:
        said = [
            f"Of an image's {number} nearest, {_percent(first[1].purity)} are of its own class at {first[0].title} and "
            f"{_percent(last[1].purity)} at {last[0].title}; mixed by chance it would be {_percent(last[1].chance)}."
        ]
        said.append(f"The classes go from {first[1].word} to {last[1].word}.")
        if best[1].low > last[1].high:
            said.append(
                f"They are furthest apart before the end, at {best[0].title} ({_percent(best[1].purity)}); behind it "
                "they come closer again."
            )
    return " ".join(said)


def stage_sentence(apart: Separation) -> str:
    """One stage in a sentence, with its interval."""
    return (
        f"{_percent(apart.purity)} ({_percent(apart.low)} to {_percent(apart.high)}) of an image's "
        f"{apart.num_neighbors} nearest are of its own class, where chance gives {_percent(apart.chance)}: "
        f"{apart.word}."
    )


def method_words(question: MapQuestion) -> str:
    """How the maps were made and what they can be believed for."""
    number, whole = len(question.rows), question.dataset.num_images
    sample = "" if number == whole else f", a sample of {whole:,} with each class's share"
    shown = "the two directions of the largest spread"
    if question.method != PCA:
        shown = (
            f"the places that {METHODS[question.method]} gives (seed {question.seed}), where small distances mean "
            "likeness, and the sizes of clusters and the gaps between them mean nothing"
        )
    groups = ""
    if question.groups is not None:
        groups = " Images of one group (patient) are not counted as each other's neighbours."
    return (
        f"{number:,} images{sample}. Features: the pooled output of the stage, standardised, 50 principal components; "
        f"shown are {shown}. Each stage's map is turned onto the next one's. Nearest are measured in the features, "
        f"not in the picture; the interval is 95 %.{groups}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
