import numpy as np
import pytest

from lib.data.splits import assign_splits, refuse_crossing
from lib.errors import UserError


def _count(splits: np.ndarray, chosen: np.ndarray | None = None) -> dict[str, int]:
    names, counts = np.unique(splits if chosen is None else splits[chosen], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def test_shares_are_those_promised_in_every_class():
    targets = np.repeat([0, 1], [100, 50])
    splits = assign_splits(targets, None, None, split_seed=0)
    assert _count(splits, targets == 0) == {"test": 20, "val": 16, "train": 64}
    assert _count(splits, targets == 1) == {"test": 10, "val": 8, "train": 32}


def test_same_seed_same_split_and_another_seed_another():
    targets = np.repeat([0, 1], 50)
    first = assign_splits(targets, None, None, split_seed=3)
    assert np.array_equal(first, assign_splits(targets, None, None, split_seed=3))
    assert not np.array_equal(first, assign_splits(targets, None, None, split_seed=4))


def test_groups_never_cross_and_every_class_is_everywhere():
    rng = np.random.default_rng(0)
    groups = np.array([f"p{number}" for number in rng.integers(0, 60, 300)], dtype=object)
    targets = rng.choice(3, 300, p=[0.7, 0.2, 0.1])
    splits = assign_splits(targets, groups, None, split_seed=0)
    for group in set(groups):
        assert len(set(splits[groups == group])) == 1
    for target in range(3):
        assert set(splits[targets == target]) == {"train", "val", "test"}
    assert 0.15 < (splits == "test").mean() < 0.25


@pytest.mark.parametrize("num_classes", [2, 30])
def test_three_images_a_class_go_one_each_way(num_classes: int):
    targets = np.repeat(np.arange(num_classes), 3)
    splits = assign_splits(targets, None, None, split_seed=0)
    for target in range(num_classes):
        assert sorted(splits[targets == target]) == ["test", "train", "val"]


def test_a_rare_class_beside_a_common_one_is_in_every_split():
    targets = np.repeat([0, 1], [200, 3])
    splits = assign_splits(targets, None, None, split_seed=0)
    assert sorted(splits[targets == 1]) == ["test", "train", "val"]
    assert 0.15 < (splits == "test").mean() < 0.26


def test_images_without_a_group_stand_alone():
    targets = np.repeat([0, 1], 6)
    groups = np.array(["a", "a", "", "", "", "", "b", "b", "", "", "", ""], dtype=object)
    splits = assign_splits(targets, groups, None, split_seed=0)
    assert splits[0] == splits[1]
    assert splits[6] == splits[7]


@pytest.mark.parametrize(
    ("targets", "groups", "message"),
    [
        ([0] * 9 + [1], None, "Class 'rare' has 1 image; at least 3 are needed"),
        ([0] * 9 + [1, 1], None, "Class 'rare' has 2 images"),
        ([0] * 9 + [1] * 4, [*"abcdefghi", "p", "p", "p", "p"], "Class 'rare' has 1 group;"),
        ([0] * 9, None, "Class 'rare' has 0 images"),
    ],
)
def test_too_few_is_a_clear_error(targets: list, groups: list | None, message: str):
    given = None if groups is None else np.array(groups, dtype=object)
    with pytest.raises(UserError, match=message):
        assign_splits(np.array(targets), given, None, split_seed=0, class_names=("common", "rare"))


def _fixed(*parts: tuple[str, int]) -> np.ndarray:
    return np.repeat([name for name, _ in parts], [count for _, count in parts]).astype(object)


def test_val_without_test_becomes_the_test_set():
    targets = np.tile([0, 1], 50)
    fixed = _fixed(("train", 80), ("val", 20))
    splits = assign_splits(targets, None, fixed, split_seed=0)
    assert (splits[80:] == "test").all()
    assert _count(splits[:80]) == {"train": 64, "val": 16}


def test_train_and_test_get_their_validation_from_train():
    fixed = _fixed(("train", 80), ("test", 20))
    splits = assign_splits(np.tile([0, 1], 50), None, fixed, split_seed=0)
    assert (splits[80:] == "test").all()
    assert _count(splits[:80]) == {"train": 64, "val": 16}


def test_all_three_stay_as_they_are():
    fixed = _fixed(("train", 60), ("val", 20), ("test", 20))
    assert np.array_equal(assign_splits(np.tile([0, 1], 50), None, fixed, split_seed=0), fixed)


def test_a_lone_split_folder_says_nothing():
    splits = assign_splits(np.tile([0, 1], 50), None, _fixed(("test", 100)), split_seed=0)
    assert _count(splits) == {"test": 20, "val": 16, "train": 64}


def test_val_and_test_without_train_is_an_error():
    with pytest.raises(UserError, match="no train/"):
        assign_splits(np.tile([0, 1], 50), None, _fixed(("val", 50), ("test", 50)), split_seed=0)


def test_a_class_that_is_missing_from_train_is_an_error():
    with pytest.raises(UserError, match="Class 'rare' has 0 images in train/"):
        assign_splits(
            np.array([0] * 10 + [1] * 5),
            None,
            _fixed(("train", 10), ("val", 5)),
            split_seed=0,
            class_names=("common", "rare"),
        )


def test_a_patient_in_train_and_test_is_an_error():
    groups = np.array([f"p{number % 20}" for number in range(100)], dtype=object)
    with pytest.raises(UserError, match="20 groups"):
        assign_splits(np.tile([0, 1], 50), groups, _fixed(("train", 80), ("test", 20)), split_seed=0)


@pytest.mark.parametrize("is_grouped", [False, True])
def test_folds_cover_every_image_once(is_grouped: bool):
    targets = np.repeat([0, 1], 26)
    groups = np.array([f"p{number // 2}" for number in range(52)], dtype=object) if is_grouped else None
    tested = np.zeros(52, dtype=int)
    for fold in range(4):
        splits = assign_splits(targets, groups, None, split_seed=0, num_folds=4, fold=fold)
        tested += splits == "test"
        for target in (0, 1):
            assert set(splits[targets == target]) == {"train", "val", "test"}
        if groups is not None:
            assert all(len(set(splits[groups == group])) == 1 for group in set(groups))
    assert (tested == 1).all()


def test_more_folds_than_images_of_a_class_is_an_error():
    with pytest.raises(UserError, match="has 4 images; at least 5"):
        assign_splits(np.repeat([0, 1], [20, 4]), None, None, split_seed=0, num_folds=5, fold=0)
    with pytest.raises(UserError, match="no fold 5"):
        assign_splits(np.repeat([0, 1], 20), None, None, split_seed=0, num_folds=5, fold=5)


def test_groups_that_cross_are_refused_before_any_image_is_read():
    refuse_crossing(["p", "p", "q", ""], ["train", "train", "test", "test"], [1, 2, 3, 4])
    refuse_crossing(["p", "p"], ["train", "test"], [7, 7])  # perhaps copies, of which the one to train falls away
    refuse_crossing(["p", "p", "p"], ["train", "test", "test"], [7, 7, 8])
    refuse_crossing(["p", "p"], ["train", ""], [1, 2])
    with pytest.raises(UserError, match=r"1 groups \(patients\) have images in more than one"):
        refuse_crossing(["p", "p", "q"], ["train", "test", "test"], [1, 2, 3])
    with pytest.raises(UserError, match="1 groups"):
        refuse_crossing(["p"] * 4, ["train", "train", "test", "test"], [7, 8, 7, 9])
