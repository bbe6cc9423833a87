import numpy as np
import pytest

from lib.data.subset import apply_protocol
from lib.data.target_map import TARGET_MAPS, map_targets, mapped_class_names, merge_classes, merged_words
from lib.errors import UserError
from lib.training.config import TrainConfig
from tests.features.tiny_dataset import TinyDataset

GRADES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
FLOWERS = ("daisy", "dandelion", "rose", "sunflower", "tulip")
ALPHABET = ("mild", "moderate", "no_dr", "proliferative", "severe")  # as folders stand: not the order of the grades


@pytest.mark.parametrize("name", TARGET_MAPS.names)
def test_named_maps_are_for_five_grades_and_name_every_class(name: str) -> None:
    names = mapped_class_names(GRADES, name, is_ordinal=True)
    assert len(names) == len(set(TARGET_MAPS.get(name).targets)) == len(set(names))


def test_names_of_merged_classes_say_what_was_merged() -> None:
    assert mapped_class_names(GRADES, "four_classes", is_ordinal=True)[3] == "Severe or Proliferative"
    assert mapped_class_names(GRADES, "0,1,1,1,1", is_ordinal=True) == ("No DR", "Mild to Proliferative")
    assert mapped_class_names(("ant", "bee", "cat", "dog"), "0,0,0,1") == ("ant, bee or cat", "dog")


def test_targets_change_and_splits_stay() -> None:
    dataset = TinyDataset(num_images=40, num_classes=5, names=GRADES)
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
    dataset = TinyDataset(num_images=60, num_classes=5, names=GRADES)
    taken = apply_protocol(dataset, TrainConfig(dataset="tiny", target_map="any_dr", max_per_class=6))
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
    with pytest.raises(UserError, match="is for 3 classes, this data set has 2"):
        apply_protocol(TinyDataset(), TrainConfig(dataset="tiny", target_map="0,1,1"))


@pytest.mark.parametrize("name", TARGET_MAPS.names)
@pytest.mark.parametrize("class_names", [FLOWERS, ("0", "1", "2"), ("a", "b"), (*GRADES, "ungradable"), GRADES[:4]])
def test_a_named_map_is_for_the_five_grades_and_refused_for_other_classes(name, class_names) -> None:
    with pytest.raises(
        UserError, match=rf"{name} is for the five grades of retinopathy .* not for the classes"
    ) as found:
        merge_classes(class_names, name)
    assert "\n" not in str(found.value)
    assert class_names[0] in str(found.value)


def test_a_named_map_finds_classes_by_their_grade_whatever_their_place() -> None:
    assert merge_classes(ALPHABET, "any_dr").targets == (1, 1, 0, 1, 1)
    assert merge_classes(ALPHABET, "referable").targets == (0, 1, 0, 1, 1)
    assert merge_classes(ALPHABET, "four_classes").targets == (1, 2, 0, 3, 3)
    assert merge_classes(("4", "3", "2", "1", "0"), "referable").targets == (1, 1, 1, 0, 0)
    dataset = TinyDataset(num_images=10, num_classes=5, names=ALPHABET)
    assert map_targets(dataset, "any_dr").table["target"].tolist() == [1, 1, 0, 1, 1] * 2


def test_merged_grades_stay_ordered_only_as_three_or_more() -> None:
    assert merge_classes(ALPHABET, "four_classes").is_ordinal  # by grade, whatever the folders' order says
    assert not merge_classes(GRADES, "any_dr", is_ordinal=True).is_ordinal
    assert not merge_classes(GRADES, "0,0,1,1,1", is_ordinal=True).is_ordinal
    assert merge_classes(GRADES, "0,0,1,1,2", is_ordinal=True).is_ordinal
    assert not merge_classes(FLOWERS, "0,0,1,1,2").is_ordinal


def test_pairs_merge_classes_by_name() -> None:
    merged = merge_classes(("lily", "rose", "tulip"), "rose=red, tulip=red,lily=white")
    assert (merged.targets, merged.names) == ((0, 1, 1), ("white", "red"))
    assert merge_classes(("a=b", "c"), "a=b=x,c=y").names == ("x", "y")  # the last sign of equality parts them
    ordered = merge_classes(
        GRADES, "No DR=none,Mild=some,Moderate=some,Severe=much,Proliferative=much", is_ordinal=True
    )
    assert (ordered.targets, ordered.is_ordinal) == ((0, 1, 1, 2, 2), True)


def test_class_and_merged_class_are_said() -> None:
    assert merged_words(("lily", "rose", "tulip"), "rose=red,tulip=red,lily=white") == (
        "Classes merged: lily -> white; rose, tulip -> red."
    )
    assert merged_words(FLOWERS, "0,0,1,1,1") == (
        "Classes merged: daisy, dandelion -> daisy or dandelion; rose, sunflower, tulip -> rose, sunflower or tulip."
    )
    assert merged_words(FLOWERS, None) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rose=red,tulip=white", "leaves out the class 'lily'"),
        ("rose=red,tulip=red,lily=white,iris=white", "names the class 'iris'"),
        ("rose=red,rose=white", "names the class 'rose' twice"),
        ("rose=red,tulip=red,lily=red", "at least two merged classes"),
        ("rose=red,tulip", "needs class=group for each class"),
        ("rose=,tulip=red", "needs class=group for each class"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        merge_classes(("lily", "rose", "tulip"), text)


def test_a_data_set_to_evaluate_on_may_lack_classes() -> None:
    assert merge_classes(("severe", "no_dr"), "any_dr", may_lack=True).targets == (1, 0)
    with pytest.raises(UserError, match="not for the classes severe, rose"):
        merge_classes(("severe", "rose"), "any_dr", may_lack=True)
    lacking = merge_classes(("lily", "tulip"), "rose=red,tulip=red,lily=white", may_lack=True)
    assert (lacking.targets, lacking.names) == ((1, 0), ("red", "white"))  # counted as the map counts
