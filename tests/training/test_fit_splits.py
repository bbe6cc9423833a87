"""Which images a fitted head learns from, and how each is held out."""

import numpy as np
import pandas as pd
import pytest

from lib.data.splits import assign_splits
from lib.training.config import TrainConfig
from lib.training.fit_splits import Development, development_apart, development_of, development_within

CONFIG = TrainConfig(dataset="d")


def table(groups):
    return pd.DataFrame({"group_id": groups})


def checked(development: Development, targets: np.ndarray) -> Development:
    """No row twice, none in its own fit, groups whole, every class in every fit."""
    held = development.held_rows
    assert len(np.unique(held)) == len(held)
    for rows, out in development.folds:
        assert not np.intersect1d(development.units[rows], development.units[out]).size
        assert set(targets[rows]) == set(targets[development.rows])
        assert np.isin(rows, development.rows).all()
    return development


def test_training_and_validation_are_joined_and_each_image_is_held_out_once():
    targets = np.arange(100) % 4
    split = assign_splits(targets, None, None, split_seed=0)
    found = checked(development_of(targets, table([""] * 100), split, CONFIG), targets)
    assert np.array_equal(found.rows, np.flatnonzero(split != "test"))
    assert np.array_equal(np.sort(found.held_rows), found.rows)
    assert len(found.folds) == 5
    assert found.is_out_of_fold
    for _, held in found.folds:
        assert np.bincount(targets[held]).tolist() == [4] * 4  # 80 images, 20 a class, stratified into five
    again = development_of(targets, table([""] * 100), split, CONFIG)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(found.folds, again.folds, strict=True))


def test_patients_stay_together():
    targets = np.repeat(np.arange(2), 40)
    groups = [f"patient {row // 2}" for row in range(80)]
    split = assign_splits(targets, np.array(groups), None, split_seed=3)
    found = checked(development_of(targets, table(groups), split, CONFIG), targets)
    assert len(found.folds) == 5
    assert not np.isin(found.units[found.rows], found.units[split == "test"]).any()


@pytest.mark.parametrize("groups_a_class", [3, 4, 5])
def test_few_patients_a_class_are_all_held_out_all_the_same(groups_a_class):
    targets = np.repeat(np.arange(3), 2 * groups_a_class)
    groups = [f"{row // 2}" for row in range(len(targets))]
    split = assign_splits(targets, np.array(groups), None, split_seed=0)
    found = checked(development_of(targets, table(groups), split, CONFIG), targets)
    assert 2 <= len(found.folds) <= 5
    assert np.array_equal(np.sort(found.held_rows), np.flatnonzero(split != "test"))


def test_a_class_with_a_single_group_falls_back_on_the_split():
    targets = np.array([0, 0, 0, 0, 1, 0, 0, 1])
    split = np.array(["train"] * 5 + ["val"] * 2 + ["test"])
    found = development_of(targets, table([""] * 8), split, CONFIG)
    assert [part.tolist() for part in found.folds[0]] == [[0, 1, 2, 3, 4], [5, 6]]
    assert len(found.folds) == 1
    assert found.rows.tolist() == list(range(7))
    assert found.is_out_of_fold


def test_a_capped_number_of_training_images_stays_what_it_is():
    targets = np.arange(60) % 2
    split = assign_splits(targets, None, None, split_seed=0)
    capped = TrainConfig(dataset="d", max_train_per_class=5)
    found = development_of(targets, table([""] * 60), split, capped)
    assert np.array_equal(found.rows, np.flatnonzero(split == "train"))
    assert np.array_equal(found.held_rows, np.flatnonzero(split == "val"))
    assert not found.is_out_of_fold


def test_a_start_for_further_training_never_looks_at_validation_images():
    targets = np.arange(60) % 2
    split = assign_splits(targets, None, None, split_seed=0)
    found = checked(development_apart(targets, table([""] * 60), split, CONFIG), targets)
    train = np.flatnonzero(split == "train")
    assert np.array_equal(found.rows, train)
    assert np.array_equal(np.sort(found.held_rows), train)


def test_images_that_stand_alone():
    targets = np.arange(20) % 2
    found = checked(development_within(targets, np.arange(10)), targets)
    assert np.array_equal(np.sort(found.held_rows), np.arange(10))
