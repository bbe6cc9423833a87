"""A split's own export is read again; what is another's, overlaps, lacks or contradicts is refused in one sentence."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.data.dataset import Dataset
from lib.data.edits import add_edit
from lib.data.importing import import_folder
from lib.data.split_files import COLUMNS, read_split, split_bytes, split_rows
from lib.data.split_plan import SplitPlan, draw_split, keep_split
from lib.errors import UserError
from tests.data.folders import picture, write_classes


@pytest.fixture
def pets(tmp_path: Path) -> Dataset:
    root = write_classes(tmp_path / "pets", {"cat": 10, "=dog": 10})
    for side in ("left", "right"):
        picture(500 + len(side)).save(root / "cat" / f"77_{side}.png")
        picture(600 + len(side)).save(root / "cat" / f"78_{side}.png")
    return import_folder(root)


def changed(dataset: Dataset, change) -> bytes:
    table = split_rows(dataset, dataset.split(0))
    return change(table).to_csv(index=False).encode()


@pytest.mark.parametrize("name", ["split.csv", "SPLIT.CSV", "split.parquet"])
def test_its_own_export_is_read_again(pets: Dataset, name: str):
    split = draw_split(pets, SplitPlan(seed=4))
    content = split_bytes(pets, split, name)
    assert np.array_equal(read_split(pets, content, name), split)
    after = keep_split(pets, read_split(pets, content, name), "from a file")
    assert np.array_equal(after.split(0), split)
    assert np.array_equal(read_split(after, split_bytes(after, after.split(0), name), name), split)
    read = pd.read_parquet(io.BytesIO(content)) if name.endswith("parquet") else pd.read_csv(io.BytesIO(content))
    assert tuple(read.columns) == COLUMNS
    assert read["group"].fillna("").ne("").sum() == 4


def test_an_export_with_excluded_images(pets: Dataset):
    ids = pets.table["image_id"].tolist()
    edited = add_edit("pets", "exclude", ids[:2])
    content = split_bytes(edited, edited.split(0), "split.csv")
    assert b"excluded" in content
    assert np.array_equal(read_split(edited, content, "split.csv"), edited.split(0))
    # An older table gives the excluded a part too; a later one none to what was restored.
    assert (
        read_split(edited, split_bytes(pets, pets.split(0), "split.csv"), "split.csv")[:2].tolist() == ["excluded"] * 2
    )
    with pytest.raises(UserError, match="gives no part to 2 of the 24 images"):
        read_split(add_edit("pets", "restore", ids[:2]), content, "split.csv")


def test_tables_of_other_programs(pets: Dataset):
    table = split_rows(pets, pets.split(0))[["split", "image_id"]]
    table["split"] = table["split"].map({"train": "Training", "val": "validation", "test": "TEST"})
    for content in (
        table.to_csv(index=False, sep=";").encode("utf-8-sig"),
        table.sample(frac=1, random_state=0).to_csv(index=False, sep="\t").encode(),
        pd.concat([table, table]).to_csv(index=False).encode(),  # twice the same contradicts nothing
    ):
        assert np.array_equal(read_split(pets, content, "x.csv"), pets.split(0))


def crossing(table: pd.DataFrame) -> pd.DataFrame:
    rows = table.index[table["group"] == table["group"].max()]
    parts = ["train", "test"]
    return table.assign(split=[parts[list(rows).index(i)] if i in rows else s for i, s in table["split"].items()])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.assign(image_id="x" + t["image_id"]),
            r"split of another data set: 24 of its 24 images, such as 'x",
        ),
        (lambda t: t.assign(content_version="beef"), r"other images or labels \(content version beef\) than 'pets'"),
        (lambda t: t.iloc[1:], r"gives no part to 1 of the 24 images of 'pets', such as"),
        (
            lambda t: t.assign(split=["holdout", *t["split"][1:]]),
            r"Unknown part 'holdout' in 1 row; a part is train, val",
        ),
        (lambda t: pd.concat([t, t.head(1).assign(split="val" if t["split"][0] != "val" else "test")]), "listed twice"),
        (crossing, r"1 group \(patient\) would be in more than one part"),
        (
            lambda t: t.assign(group="all", split=t["split"]),
            r"group \(patient\) would be in more than one part \('all'",
        ),
        (lambda t: t.assign(split="train"), "no image to validate on"),
        (lambda t: t.drop(columns="split"), r"has no column 'split'; a split has image_id and split \(found: image_id"),
        (lambda t: t.head(0), "has no row"),
    ],
)
def test_what_will_not_do_is_one_sentence_and_changes_nothing(pets: Dataset, change, message: str):
    with pytest.raises(UserError, match=message) as refused:
        read_split(pets, changed(pets, change), "split.csv")
    assert str(refused.value).count("\n") == 0


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b"PAR1nothing", b'image_id,split\n"open,train\n'])
def test_a_file_that_is_no_table(pets: Dataset, content: bytes):
    with pytest.raises(UserError):
        read_split(pets, content, "split.csv")


def test_near_duplicates_in_two_parts(pets: Dataset):
    split = pets.split(0)
    copies = np.full(24, -1)
    copies[[np.flatnonzero(split == "train")[0], np.flatnonzero(split == "test")[0]]] = 3
    content = split_bytes(pets, split, "split.csv")
    with pytest.raises(UserError, match="1 set of near duplicates would be in more than one part"):
        read_split(pets, content, "split.csv", copies=copies)


def test_only_two_kinds_of_files(pets: Dataset):
    with pytest.raises(UserError, match=r"written as \.csv or \.parquet, not as 'split\.xls'"):
        split_bytes(pets, pets.split(0), "split.xls")
