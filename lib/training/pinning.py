"""Which images a training is watched by: a few that stay the same while the network changes. Imports no torch."""

from typing import Any

import numpy as np

from lib.errors import UserError

AUTO = "auto"
MAX_PINNED = 8


def resolve_pinned(asked: str | None, dataset: Any, split_seed: int) -> str | None:
    """Image ids joined by commas, as a config keeps them; "auto" becomes one validation image of each class.

    Args:
        asked: None or "" for no images, "auto", or image ids joined by commas.
        dataset: has `table` with image_id, target and flags, and `split`.
        split_seed: of the split whose validation images are chosen from.

    Raises:
        UserError: an id that the data set lacks, an image to train on, or more than `MAX_PINNED` images.
    """
    if not asked:
        return None
    if asked == AUTO:
        return ",".join(_one_of_each_class(dataset, split_seed))
    ids = list(dict.fromkeys(part.strip() for part in asked.split(",") if part.strip()))
    if len(ids) > MAX_PINNED:
        raise UserError(f"At most {MAX_PINNED} images can be pinned, received {len(ids)}.")
    table = dataset.table["image_id"].tolist()
    for image_id in ids:
        if image_id not in table:
            raise UserError(
                f"The data set has no image {image_id!r} to pin; give ids of its images, or pinned_images=auto."
            )
    is_trained_on = dataset.split(split_seed)[pinned_rows(",".join(ids), dataset)] == "train"
    if is_trained_on.any():
        raise UserError(
            f"The image {ids[int(is_trained_on.argmax())]!r} is one to train on; pin validation or test images."
        )
    return ",".join(ids)


def pinned_rows(pinned: str, dataset: Any) -> np.ndarray:
    """The rows (n,) of pinned images in the data set's table, in their own order."""
    rows = {image_id: row for row, image_id in enumerate(dataset.table["image_id"])}
    return np.array([rows[image_id] for image_id in pinned.split(",")], dtype=np.int64)


def _one_of_each_class(dataset: Any, split_seed: int) -> list[str]:
    table = dataset.table[dataset.split(split_seed) == "val"]
    if "flags" in table:  # an image that is marked, such as a blurred one, says little of the network
        table = table.assign(is_marked=table["flags"].fillna("").astype(str).str.len() > 0)
        table = table.sort_values(["is_marked"], kind="stable")
    chosen = table.drop_duplicates("target").sort_values("target")
    return [str(image_id) for image_id in chosen["image_id"].head(MAX_PINNED)]
