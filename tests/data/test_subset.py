import numpy as np
import pytest

from lib.data.splits import assign_splits, group_numbers
from lib.data.subset import DataProtocol, DatasetSubset, apply_protocol, choose_groups, choose_rows, choose_share
from lib.errors import UserError
from lib.training.config import TrainConfig
from tests.features.tiny_dataset import TinyDataset


def test_choice_does_not_depend_on_the_order_and_grows_with_the_cap():
    targets, ids = np.repeat([0, 1], 20), np.array([f"i{k}" for k in range(40)])
    few, more = (choose_rows(targets, ids, cap, seed=3) for cap in (5, 9))
    assert np.bincount(targets[few]).tolist() == [5, 5]
    assert set(few) < set(more)
    turned = choose_rows(targets[::-1], ids[::-1], 5, seed=3)
    assert set(ids[::-1][turned]) == set(ids[few])
    assert set(choose_rows(targets, ids, 5, seed=4)) != set(few)
    assert set(choose_rows(targets, ids, 5, seed=3, what="test")) != set(few)


@pytest.mark.parametrize(("test", "val", "counts"), [(0.3, 0.1, (126, 14, 60)), (0.08, 0.15, (156, 28, 16))])
def test_shares_are_met_and_stratified(test, val, counts):
    targets = np.repeat([0, 1], 100)
    split = assign_splits(targets, None, None, split_seed=0, test_fraction=test, val_fraction=val)
    assert [int((split == part).sum()) for part in ("train", "val", "test")] == pytest.approx(counts, abs=1)
    assert abs(int((split[targets == 0] == "test").sum()) - int((split[targets == 1] == "test").sum())) <= 1


def test_groups_never_cross_an_asked_share():
    groups = np.repeat([f"p{k}" for k in range(60)], 2)
    targets = np.repeat(np.arange(60) % 3, 2)
    split = assign_splits(targets, groups, None, split_seed=1, test_fraction=0.3, val_fraction=0.1)
    assert all(len(set(split[groups == group])) == 1 for group in set(groups))
    assert 0.2 < (split == "test").mean() < 0.4


def test_a_share_that_cannot_be_met_gives_way_to_one_that_can():
    split = assign_splits(np.repeat([0, 1], 4), None, None, split_seed=0, test_fraction=0.3, val_fraction=0.1)
    assert set(split) == {"train", "val", "test"}


def test_subset_reads_rows_of_the_same_store():
    whole = TinyDataset(num_images=60, num_classes=3)
    subset = DatasetSubset(whole, DataProtocol(max_per_class=8, max_classes=2), split_seed=5)
    assert subset.num_images == len(subset.table) == len(subset.pixels) == 16
    assert subset.class_names == ("a", "b")
    assert np.array_equal(subset.pixels[2:5], whole.pixels[subset.rows[2:5]])
    assert subset.table["image_id"].tolist() == whole.table["image_id"].to_numpy()[subset.rows].tolist()
    assert subset.indices([subset.table["image_id"].iloc[7]]).tolist() == [7]
    assert subset.version == whole.version
    assert subset.content_version != DatasetSubset(whole, DataProtocol(max_per_class=9, max_classes=2)).content_version


def test_balanced_undersampling_caps_each_part():
    whole = TinyDataset(counts=(60, 30))
    subset = DatasetSubset(whole, DataProtocol(max_train_per_class=10, max_test_per_class=4))
    split, targets = subset.split(0), subset.table["target"].to_numpy()
    assert set(split) == {"train", "val", "test"}
    assert np.bincount(targets[split == "train"]).tolist() == [10, 10]
    assert np.bincount(targets[split == "test"]).tolist() == [4, 4]
    folds = DatasetSubset(whole, DataProtocol(max_train_per_class=10), num_folds=3)
    tests = [folds.split(0, num_folds=3, fold=fold) == "test" for fold in range(3)]
    assert np.sum(tests, axis=0).tolist() == [1] * 90


def test_a_config_without_a_protocol_takes_the_data_set_itself():
    whole = TinyDataset()
    assert apply_protocol(whole, TrainConfig(dataset="tiny")) is whole
    assert apply_protocol(whole, TrainConfig(dataset="tiny", max_per_class=4)).num_images == 8
    with pytest.raises(UserError, match="max_classes must lie between 2"):
        TrainConfig(dataset="tiny", max_classes=1)


def shares(targets, groups, fraction, *, seed=0):
    ids = np.array([f"i{k:04d}" for k in range(len(targets))])
    units = group_numbers(np.array(groups), len(targets))
    return choose_share(np.asarray(targets), ids, units, fraction, seed=seed)


def test_smaller_shares_are_parts_of_larger_ones_with_every_class_and_whole_groups():
    generator = np.random.default_rng(0)
    groups = np.repeat([f"p{k}" for k in range(100)], 3)
    targets = generator.choice(4, p=(0.6, 0.3, 0.08, 0.02), size=300)
    targets[:4] = range(4)
    before = set()
    for fraction in (0.01, 0.05, 0.1, 0.3, 0.7, 1.0):
        rows = shares(targets, groups, fraction)
        assert before <= set(rows)
        assert set(targets[rows]) == {0, 1, 2, 3}
        assert all(len(set(np.flatnonzero(groups == name)) - set(rows)) == 0 for name in groups[rows])
        if fraction >= 0.3:
            assert len(rows) / 300 == pytest.approx(fraction, abs=0.06)
        before = set(rows)
    assert len(before) == 300


def test_shares_of_images_that_stand_alone_are_stratified_and_do_not_depend_on_the_order():
    targets, ids = np.repeat([0, 1], [80, 20]), np.array([f"i{k}" for k in range(100)])
    alone = np.arange(100)
    rows = choose_share(targets, ids, alone, 0.1, seed=3)
    assert np.bincount(targets[rows]).tolist() == [8, 2]
    turned = choose_share(targets[::-1], ids[::-1], alone, 0.1, seed=3)
    assert set(ids[::-1][turned]) == set(ids[rows])
    assert set(choose_share(targets, ids, alone, 0.1, seed=4)) != set(rows)


def test_a_share_to_learn_from_leaves_the_test_images_as_they_are():
    whole = TinyDataset(counts=(60, 30))
    split = whole.split(0)
    ids = whole.table["image_id"].to_numpy()
    before = {"train": set(), "val": set()}
    for fraction in (0.1, 0.3):
        subset = DatasetSubset(whole, DataProtocol(train_fraction=fraction))
        parts, own = subset.split(0), subset.table["image_id"].to_numpy()
        assert set(own[parts == "test"]) == set(ids[split == "test"])
        for part in ("train", "val"):
            assert before[part] < set(own[parts == part]) < set(ids[split == part])
            assert len(own[parts == part]) == pytest.approx(fraction * (split == part).sum(), abs=2)
            before[part] = set(own[parts == part])
    assert DataProtocol(train_fraction=0.1).describe() == "10 % of the images to learn from"
    with pytest.raises(UserError, match="leave out one of the two"):
        TrainConfig(dataset="tiny", train_fraction=0.1, num_folds=3)


def test_groups_are_taken_whole_up_to_a_number_of_each_class():
    #          patients:  p       q       r       s    alone
    targets = np.array([0, 0, 0, 1, 0, 0, 1, 1, 0, 1])
    units = np.array([1, 1, 2, 2, 3, 3, 4, 4, 5, 6])
    image_ids = np.array([f"i{n}" for n in range(10)], dtype=object)
    for seed in range(8):
        rows = choose_groups(targets, image_ids, units, np.array([3, 2]), seed=seed)
        assert (np.bincount(targets[rows]) <= [3, 2]).all()
        assert all(np.isin(np.flatnonzero(units == unit), rows).all() for unit in np.unique(units[rows]))
        assert (
            np.bincount(targets[rows])[1] == 2
        )  # the rarer class goes first and is filled by two of q, s and the last
    alone = choose_groups(targets, image_ids, np.arange(10), np.array([3, 2]), seed=5)
    assert alone.tolist() == choose_rows(targets, image_ids, np.array([3, 2]), seed=5).tolist()
