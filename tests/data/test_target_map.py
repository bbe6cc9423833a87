import numpy as np
import pytest

from lib.data.subset import take_part
from lib.data.target_map import TARGET_MAPS, map_targets, mapped_class_names
from lib.errors import UserError
from lib.training.config import TrainConfig
from tests.features.tiny_dataset import TinyDataset

GRADES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")


@pytest.mark.parametrize("name", TARGET_MAPS.names)
def test_named_maps_are_for_five_grades_and_name_every_class(name: str) -> None:
    names = mapped_class_names(GRADES, name, is_ordinal=True)
    assert len(names) == len(set(TARGET_MAPS.get(name).targets)) == len(set(names))


def test_names_of_merged_classes_say_what_was_merged() -> None:
    assert mapped_class_names(GRADES, "four_classes", is_ordinal=True)[3] == "Severe or Proliferative"
    assert mapped_class_names(GRADES, "0,1,1,1,1", is_ordinal=True) == ("No DR", "Mild to Proliferative")
    assert mapped_class_names(("ant", "bee", "cat", "dog"), "0,0,0,1") == ("ant, bee or cat", "dog")


def test_targets_change_and_splits_stay() -> None:
    dataset = TinyDataset(num_images=40, num_classes=5)
    mapped = map_targets(dataset, "referable")
    assert mapped.table["target"].tolist() == [[0, 0, 1, 1, 1][target] for target in dataset.table["target"]]
    assert np.array_equal(mapped.split(0), dataset.split(0))
    assert np.array_equal(mapped.split(0, num_folds=3, fold=1), dataset.split(0, num_folds=3, fold=1))
    assert mapped.version == dataset.version
    assert mapped.spec.num_classes == 2
    assert dataset.spec.num_classes == 5


def test_order_is_kept_only_by_a_map_that_keeps_it() -> None:
    import dataclasses

    dataset = TinyDataset(num_images=20, num_classes=4)
    dataset.spec = dataclasses.replace(dataset.spec, is_ordinal=True)
    assert map_targets(dataset, "0,0,1,2").spec.is_ordinal
    assert not map_targets(dataset, "0,1,0,2").spec.is_ordinal


def test_map_applies_to_the_part_that_a_config_takes() -> None:
    dataset = TinyDataset(num_images=60, num_classes=5)
    taken = take_part(dataset, TrainConfig(dataset="tiny", target_map="any_dr", max_per_class=6))
    assert np.bincount(taken.table["target"]).tolist() == [6, 24]
    assert taken.class_names == ("No DR", "Any DR")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("refferable", "target_map must be any_dr, referable, four_classes, or one number"),
        ("0,2,2", "without a gap"),
        ("0,0,0", "at least two merged classes"),
        ("0,,1", "one number for each class"),
    ],
)
def test_a_map_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainConfig(dataset="tiny", target_map=text)


def test_a_map_for_another_number_of_classes_is_refused() -> None:
    with pytest.raises(UserError, match="is for 5 classes, this data set has 2"):
        take_part(TinyDataset(), TrainConfig(dataset="tiny", target_map="any_dr"))
