"""Rows of an image table by class, split, flag, answer and measure, in order; old sets have no answers and no flags."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.data.image_measures import image_measures
from lib.data.image_query import (
    ANY_FLAG,
    NO_FLAG,
    RIGHT,
    WRONG,
    ImageQuery,
    flags_of,
    image_table,
    range_text,
    read_range,
)
from lib.data.importing import import_folder
from tests.data.folders import write_classes

TABLE = pd.DataFrame(
    {
        "image_id": list("uvwxyz"),
        "class_name": ["cat", "cat", "dog", "dog", "cat", "dog"],
        "split": ["train", "test", "train", "test", "excluded", "val"],
        "flags": ["", "blurred", "blurred; 16 bits", "", "16 bits", "blurred"],
        "predicted": ["", "dog", "", "dog", "", ""],
        "outcome": ["", WRONG, "", RIGHT, "", ""],
        "brightness": [3.0, 1.0, 2.0, np.nan, 5.0, 4.0],
        "error": [np.nan, 0.9, np.nan, 0.2, np.nan, np.nan],
    }
)


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        ({}, [0, 1, 2, 3, 5]),
        ({"class_name": "dog"}, [2, 3, 5]),
        ({"class_name": "cat", "split": "test"}, [1]),
        ({"split": "excluded"}, [4]),
        ({"flag": "blurred"}, [1, 2, 5]),
        ({"flag": "16 bits"}, [2]),
        ({"flag": ANY_FLAG}, [1, 2, 5]),
        ({"flag": NO_FLAG}, [0, 3]),
        ({"predicted": "dog", "outcome": WRONG}, [1]),
        ({"measure": "brightness"}, [1, 2, 0, 5, 3]),
        ({"measure": "brightness", "falls": True}, [5, 0, 2, 1, 3]),
        ({"measure": "brightness", "between": (2.0, 4.0)}, [2, 0, 5]),
        ({"measure": "error", "falls": True, "split": "test"}, [1, 3]),
        ({"measure": "sharpness"}, [0, 1, 2, 3, 5]),  # not measured yet
        ({"measure": "sharpness", "between": (0.0, 1.0)}, []),
        ({"class_name": "cow"}, []),
    ],
)
def test_rows_that_fit_in_order(asked: dict[str, object], rows: list[int]):
    assert ImageQuery(**asked).rows(TABLE).tolist() == rows


def test_flags_by_frequency():
    assert flags_of(TABLE) == ["blurred", "16 bits"]


def test_without_a_run_nothing_was_answered():
    bare = TABLE.drop(columns=["predicted", "outcome", "error"])
    assert ImageQuery(outcome=WRONG).rows(bare).tolist() == []


def test_a_table_of_a_data_set_its_measures_and_answers(tmp_path: Path):
    dataset = import_folder(write_classes(tmp_path / "set", {"a": 5, "b": 5}), name="tiny")
    split = dataset.split(0)
    bare = image_table(dataset, split)
    assert {"aspect", "megapixels", "kilobytes"} < set(bare.columns)
    assert "brightness" not in bare
    answers = pd.DataFrame(
        {"image_id": [bare["image_id"][7], "gone"], "predicted": "a", "outcome": WRONG, "confidence": 0.7, "error": 0.6}
    )
    full = image_table(dataset, split, image_measures(dataset), answers)
    assert full["image_id"].tolist() == dataset.table["image_id"].tolist()
    assert full["split"].tolist() == split.tolist()
    assert ImageQuery(predicted="a", class_name="b").rows(full).tolist() == [7]
    assert full["confidence"].notna().sum() == 1
    assert full["predicted"].tolist().count("") == 9


def test_ranges_of_links():
    assert read_range(range_text((0.1, 1 / 3))) == (0.1, 1 / 3)
    for none in (None, "", "1", "1,2,3", "a,b", "nan,1", "2,1"):
        assert read_range(none) is None
