import pytest

from lib.errors import UserError
from lib.grading.class_mapping import map_classes
from lib.grading.manifest import merged_as_trained
from tests.features.tiny_dataset import TinyDataset

ALPHABET = ("mild", "moderate", "no_dr", "proliferative", "severe")
CLASS_MAP = {"daisy": "white", "rose": "red", "tulip": "red"}


def manifest(target_map, **content):
    return {"config": {"target_map": target_map}, "dataset": {"name": "gone", "version": "v0"}, **content}


def targets_of(dataset, class_names):
    return map_classes(dataset.name, dataset.class_names, class_names).targets(dataset).tolist()


def test_a_named_map_merges_another_data_set_by_its_own_grades():
    dataset = TinyDataset(num_images=5, num_classes=5, names=ALPHABET)
    mapped = merged_as_trained(dataset, manifest("any_dr"), ("No DR", "Any DR"))
    assert targets_of(mapped, ("No DR", "Any DR")) == [1, 1, 0, 1, 1]


def test_numbers_of_the_training_are_never_places_in_another_data_set():
    # The training had daisy, rose, tulip; here another first class and another order.
    dataset = TinyDataset(num_images=4, num_classes=2, names=("tulip", "daisy"))
    known = manifest("0,1,1", class_map=CLASS_MAP)
    mapped = merged_as_trained(dataset, known, ("white", "red"))
    assert targets_of(mapped, ("white", "red")) == [1, 0, 1, 0]
    other = TinyDataset(num_images=3, num_classes=3, names=("x", "y", "z"))
    with pytest.raises(UserError, match="leaves out the class 'x'"):
        merged_as_trained(other, known, ("white", "red"))


def test_numbers_of_an_old_bundle_without_its_data_set_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(tmp_path))
    dataset = TinyDataset(num_images=3, num_classes=3, names=("x", "y", "z"))
    with pytest.raises(UserError, match=r"by their numbers \(0,1,1\) and its data set is gone.* white, red"):
        merged_as_trained(dataset, manifest("0,1,1", classes=["white", "red"]), ("white", "red"))


def test_pairs_merge_another_data_set_by_name():
    dataset = TinyDataset(num_images=2, num_classes=2, names=("tulip", "daisy"))
    mapped = merged_as_trained(dataset, manifest("daisy=white,rose=red,tulip=red"), ("white", "red"))
    assert targets_of(mapped, ("white", "red")) == [1, 0]


def test_a_data_set_that_has_the_merged_classes_is_taken_as_it_is():
    dataset = TinyDataset(names=("red", "white"))
    assert merged_as_trained(dataset, manifest("0,1,1", class_map=CLASS_MAP), ("white", "red")) is dataset
