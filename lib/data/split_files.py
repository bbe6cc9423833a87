"""A split as a table in a file, CSV or parquet: written for others, and read back with everything checked.

Columns: image_id, path, split ("train", "val", "test"; "excluded" where an image takes no part), class, group, and
content_version, which says of which images the table is. Reading needs image_id and split alone.
"""

import io
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from lib.csv_text import csv_of_table
from lib.data.dataset import Dataset
from lib.data.sources.files import split_of
from lib.data.split_plan import PARTS, check_split
from lib.data.splits import EXCLUDED
from lib.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("image_id", "path", "split", "class", "group", "content_version")
MAX_BYTES = 200 * 2**20


def split_rows(dataset: Dataset, split: np.ndarray) -> "pd.DataFrame":
    """One row an image, with `COLUMNS`, of a split (N,)."""
    import pandas as pd

    table = dataset.table
    columns = (
        table["image_id"], table["path"], split, dataset.class_labels, table["group_id"],
        [dataset.content_version] * len(table),
    )  # fmt: skip
    content = {name: np.asarray(column, dtype=object) for name, column in zip(COLUMNS, columns, strict=True)}
    return pd.DataFrame(content).astype(str)


def split_bytes(dataset: Dataset, split: np.ndarray, file_name: str) -> bytes:
    """The file of a split (N,): parquet or CSV, as its name ends; raises UserError on another ending."""
    rows = split_rows(dataset, split)
    if file_name.lower().endswith(".csv"):
        return csv_of_table(rows).encode()
    if file_name.lower().endswith(".parquet"):
        written = io.BytesIO()
        rows.to_parquet(written, index=False)
        return written.getvalue()
    raise UserError(f"A split is written as .csv or .parquet, not as {file_name!r}.")


def read_split(dataset: Dataset, content: bytes, file_name: str, *, copies: np.ndarray | None = None) -> np.ndarray:
    """The part of each image (N,) as a file says, "excluded" for an image that takes no part now.

    Raises UserError, in one sentence, on a file that is no such table, parts of another name, an image that is unknown,
    missing or in two parts, a table of other images, and a group or near duplicates (`copies`) in two parts.
    """
    table = _read(content, file_name)
    part_of = _parts_by_image(table)
    known = set(dataset.table["image_id"])
    unknown = [image_id for image_id in part_of if image_id not in known]
    if unknown:
        raise UserError(
            f"{file_name} is a split of another data set: {len(unknown):,} of its {len(part_of):,} images, such as "
            f"{unknown[0]!r}, are not in {dataset.name!r}."
        )
    versions = set(table["content_version"]) - {""} if "content_version" in table else set()
    if versions - {dataset.content_version}:
        raise UserError(
            f"{file_name} is a split of other images or labels (content version {min(versions)}) than {dataset.name!r} "
            f"has ({dataset.content_version}); to take it all the same, remove its column content_version."
        )
    split = np.array([part_of.get(image_id, "") for image_id in dataset.table["image_id"]], dtype="<U8")
    split[dataset.is_excluded] = EXCLUDED
    missing = np.flatnonzero(~np.isin(split, (*PARTS, EXCLUDED)) | ((split == EXCLUDED) & ~dataset.is_excluded))
    if len(missing):
        first = dataset.table.iloc[int(missing[0])]
        raise UserError(
            f"{file_name} gives no part to {len(missing):,} of the {int((~dataset.is_excluded).sum()):,} images of "
            f"{dataset.name!r}, such as {first['path']} ({first['image_id']})."
        )
    check_split(dataset, split, groups=_groups(table, dataset), copies=copies)
    return split


def _read(content: bytes, file_name: str) -> "pd.DataFrame":
    import pandas as pd

    if len(content) > MAX_BYTES:
        raise UserError(f"{file_name} is larger than {MAX_BYTES // 2**20} MiB, which no table of a split is.")
    try:
        if content[:4] == b"PAR1":
            table = pd.read_parquet(io.BytesIO(content)).astype(str)
        else:
            text = content.decode("utf-8-sig")
            heading = text.partition("\n")[0]
            mark = max(",;\t", key=heading.count)
            table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False, sep=mark, index_col=False)
    except Exception as error:  # noqa: BLE001  (pandas and pyarrow raise a dozen kinds on a stranger's file)
        raise UserError(
            f"{file_name} cannot be read as a table ({type(error).__name__}); give a CSV (UTF-8) or parquet file."
        ) from None
    table.columns = [str(column).strip().lstrip("'") for column in table.columns]
    for column in ("image_id", "split"):
        if column not in table:
            raise UserError(
                f"{file_name} has no column {column!r}; a split has image_id and split (found: "
                f"{', '.join(table.columns[:8]) or 'none'})."
            )
    if not len(table):
        raise UserError(f"{file_name} has no row.")
    return table


def _parts_by_image(table: "pd.DataFrame") -> dict[str, str]:
    """Image id -> part; raises UserError on a part of another name, and on an image in two parts."""
    part_of: dict[str, str] = {}
    said = [word.strip().lower() for word in table["split"]]
    parts = {word: word if word == EXCLUDED else split_of(word) for word in set(said)}
    if unknown := [word for word in said if not parts[word]]:
        rows, word = f"{len(unknown):,} row{'s' if len(unknown) != 1 else ''}", Counter(unknown).most_common(1)[0][0]
        raise UserError(f"Unknown part {word!r} in {rows}; a part is {', '.join(PARTS)}.")
    for image_id, word in zip(table["image_id"], said, strict=True):
        part = parts[word]
        if part_of.setdefault(image_id.strip(), part) != part:
            raise UserError(
                f"The image {image_id.strip()!r} is listed twice, as {part_of[image_id.strip()]} and as {part}; keep "
                "one row of it."
            )
    return part_of


def _groups(table: "pd.DataFrame", dataset: Dataset) -> np.ndarray | None:
    """The groups that the table itself names (N,), "" where it names none."""
    if "group" not in table:
        return None
    group_of = dict(zip((one.strip() for one in table["image_id"]), table["group"], strict=True))
    return np.array([group_of.get(image_id, "") for image_id in dataset.table["image_id"]], dtype=object)
