"""The answers of a run on its test images: as they are read, cut to some rows, and laid beside those of others."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from lib.atomic import write_json
from lib.errors import UserError
from lib.evaluation.metric_table import ACCURACY
from lib.tracking.tested import class_names_by_dataset, comparable_runs, on_shared_images, read_tested
from tests.features.tiny_dataset import TinyDataset
from tests.tracking.test_comparison import NAMES, NUM, TARGETS, answers_of, run


def table(**changes):
    """Four test images of three classes, and one of validation."""
    columns = {
        "image_id": list("abcde"), "split": ["test"] * 4 + ["val"], "target": [0, 1, 2, 2, 0],
        "probability_0": [0.7, 0.1, 0.1, 0.8, 0.6], "probability_1": [0.2, 0.8, 0.1, 0.1, 0.2],
        "probability_2": [0.1, 0.1, 0.8, 0.1, 0.2],
    }  # fmt: skip
    return pd.DataFrame(columns | changes)


def read(frame, one=None):
    return read_tested(one or run("a"), "A", lambda _: frame)


def test_only_test_images_are_read_and_each_of_them_once():
    twice = pd.concat([table(), table().iloc[[0]].assign(target=2)], ignore_index=True)
    found = read(twice)
    assert found.image_ids.tolist() == list("abcd")
    assert (found.targets.tolist(), found.answers.tolist()) == ([0, 1, 2, 2], [0, 1, 2, 0])
    assert found.matrix.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert (found.groups, found.folds) == (None, None)


@pytest.mark.parametrize(("folds", "expected"), [([0, 1, 0, 1, 0], [0, 1, 0, 1]), ([0, 0, 0, 0, 1], None)])
def test_a_run_has_folds_where_several_of_them_tested(folds, expected):
    found = read(table(fold=folds)).folds
    assert (None if found is None else found.tolist()) == expected


def test_a_run_that_was_tested_on_nothing_is_refused():
    with pytest.raises(UserError, match="The run a was tested on no image"):
        read(table(split="val"))


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["x", "y", "z"], (["x", "y", "z"], True)),  # as the bundle has them
        (["x", "y"], (["class 0", "class 1", "class 2"], False)),  # another classifier's
        (None, (["class 0", "class 1", "class 2"], False)),
    ],
)
def test_classes_are_those_of_the_classifier_itself_where_their_number_fits(tmp_path, classes, expected):
    if classes:
        (tmp_path / "bundle").mkdir()
        write_json(tmp_path / "bundle" / "manifest.json", {"classes": classes, "dataset": {"is_ordinal": True}})
    found = read(table(), dataclasses.replace(run("a"), folder=tmp_path))
    assert (found.class_names, found.is_ordinal) == expected


def test_classes_by_the_data_set_are_capped_and_merged_as_in_the_training(monkeypatch):
    dataset = TinyDataset(num_images=8, num_classes=4)
    versions = []
    monkeypatch.setattr("lib.data.library.open_dataset", lambda name, version: versions.append(version) or dataset)
    config = {"dataset": "tiny", "dataset_version": "v0", "max_classes": 3, "target_map": "0,1,1"}
    names, is_ordinal = class_names_by_dataset(config, 2)
    assert (len(names), names[0], is_ordinal) == (2, "a", False)
    assert "b" in names[1] and "c" in names[1] and "d" not in names[1]
    assert class_names_by_dataset({**config, "target_map": None}, 3)[0] == ["a", "b", "c"]
    assert class_names_by_dataset(config, 4)[0] == ["class 0", "class 1", "class 2", "class 3"]
    assert versions == ["v0"] * 3


def test_rows_are_taken_in_their_order_of_all_that_there_is():
    found = answers_of("a", folds=np.arange(NUM) % 4)
    part = found.taking(np.array([90, 5]))
    assert (part.image_ids.tolist(), part.targets.tolist(), part.folds.tolist()) == (["090", "005"], [2, 0], [2, 1])
    assert part.groups is None


def test_an_interval_is_computed_once_and_anew_for_some_rows():
    found = answers_of("a", wrong=30)
    whole = found.interval(ACCURACY)
    assert found.interval(ACCURACY) is whole
    assert found.taking(np.arange(30)).interval(ACCURACY).value == 0.0 < whole.value


def test_shared_images_stand_in_the_order_of_the_first_run():
    first = answers_of("a", wrong=NUM).taking(np.array([7, 3, 50, 9]))
    second = answers_of("b").taking(np.array([9, 50, 7, 100]))
    found = on_shared_images([first, second])
    assert [one.image_ids.tolist() for one in found] == [["007", "050", "009"]] * 2
    assert [one.answers.tolist() for one in found] == [[1, 2, 1], [0, 1, 0]]


def test_other_labels_of_an_image_name_the_versions_of_the_data_set():
    old, new = (
        dataclasses.replace(run(name), config={"dataset": "eyes", "dataset_version": version * 20})
        for name, version in (("a", "1"), ("b", "2"))
    )
    relabelled = TARGETS.copy()
    relabelled[3] = 2
    first, second = answers_of("a", run=old), answers_of("b", run=new, targets=relabelled)
    with pytest.raises(UserError, match=r"a and b know other labels .* \(versions 111111111111 and 222222222222 of"):
        on_shared_images([first, second])
    second = dataclasses.replace(second, run=run("b"), targets=TARGETS, class_names=NAMES[::-1])
    with pytest.raises(UserError, match=r"different classes apart \(versions 111111111111 and unknown of the data"):
        on_shared_images([first, second])


def test_each_run_must_share_images_with_all_that_were_kept_before_it():
    first = answers_of("a").taking(np.arange(20))
    half, rest = answers_of("b").taking(np.arange(10)), answers_of("c").taking(np.arange(10, 20))
    kept, said = comparable_runs([first, half, rest])
    assert [(one.label, len(one.targets)) for one in kept] == [("a", 10), ("b", 10)]
    assert said[0] == "Compared on the 10 test images that all of them share, of 20 at most."
    assert said[1].startswith("c is left out: a and c share no test images")
    alone, said = comparable_runs([first])
    assert (alone, said) == ([first], [])
