from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.errors import UserError
from lib.training.pinning import MAX_PINNED, pinned_rows, resolve_pinned

SPLIT = np.array(["train", "val", "val", "test", "val", "train"])
TABLE = pd.DataFrame(
    {
        "image_id": list("abcdef"),
        "target": [0, 1, 0, 0, 1, 1],
        "flags": ["", "ungradable: blurred", "", "", "", ""],
    }
)


@pytest.fixture
def dataset():
    return SimpleNamespace(table=TABLE, split=lambda seed: SPLIT)


def test_auto_is_one_unmarked_validation_image_of_each_class(dataset):
    assert resolve_pinned("auto", dataset, 0) == "c,e"
    assert pinned_rows("c,e", dataset).tolist() == [2, 4]


def test_nothing_asked_is_nothing_pinned(dataset):
    assert resolve_pinned(None, dataset, 0) is None
    assert resolve_pinned("", dataset, 0) is None


def test_named_images_keep_their_order(dataset):
    assert resolve_pinned(" d, c,d ", dataset, 0) == "d,c"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("c,z", "no image 'z' to pin"),
        ("c,f", "'f' is one to train on"),
        (",".join(f"i{k}" for k in range(MAX_PINNED + 1)), f"At most {MAX_PINNED} images .* received {MAX_PINNED + 1}"),
    ],
)
def test_what_cannot_be_pinned_is_refused(dataset, asked, message):
    with pytest.raises(UserError, match=message):
        resolve_pinned(asked, dataset, 0)
