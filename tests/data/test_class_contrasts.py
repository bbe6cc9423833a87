"""What classes and splits differ by: sizes by hand, in words, patients once, chance and mirrors left out."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.data.class_contrasts import Contrast, find_contrasts, superiority, superiority_interval, what_stands_out
from lib.data.image_measures import MEASURES


def test_superiority_by_hand():
    # 3 beats 1, ties with 3, loses to 4: 1.5 of 3; 5 beats all three.
    assert superiority(np.array([3.0, 5.0]), np.array([1.0, 3.0, 4.0])) == pytest.approx(4.5 / 6)


def test_the_interval_holds_the_share_and_is_no_point_where_two_sides_are_apart():
    low, high = superiority_interval(0.75, 20, 30)
    assert 0.5 < low < 0.75 < high < 1
    # At its lower end the share is 1.96 of that end's errors away (by the formula, theta = low).
    spread = 1 + 24 * ((1 - low) / (2 - low) + low / (1 + low))
    assert 0.75 - low == pytest.approx(1.959964 * np.sqrt(low * (1 - low) * spread / 600), rel=1e-6)
    low, high = superiority_interval(1.0, 5, 5)
    assert high == 1
    assert 0.5 < low < 0.9
    assert superiority_interval(0.0, 5, 5) == pytest.approx((0.0, 1 - low))


def invented(
    num: int, *, names: tuple[str, ...] = ("a", "b"), groups: Any = "", **shifts: float
) -> tuple[Any, np.ndarray, pd.DataFrame]:
    """Classes in turn, every fifth image tested; of class 0, a measure is shifted by so many standard deviations."""
    generator, targets = np.random.default_rng(0), np.arange(num) % len(names)
    table = pd.DataFrame({"target": targets, "group_id": groups})
    values = {name: generator.normal(100, 10, num) for name in MEASURES}
    for name, shift in shifts.items():
        values[name][targets == 0] += 10 * shift
    split = np.where(np.arange(num) % 5 == 0, "test", "train")
    return SimpleNamespace(table=table, class_names=names), split, pd.DataFrame(values)


def standing_out(*invention: Any) -> list[Contrast]:
    return what_stands_out(find_contrasts(*invention))


def test_a_brighter_class_is_said_once_with_its_size():
    found = standing_out(*invented(400, brightness=1.0))
    assert [(one.measure, one.is_split) for one in found] == [("brightness", False)]
    (one,) = found
    assert one.superiority == pytest.approx(0.76, abs=0.04) or one.superiority == pytest.approx(0.24, abs=0.04)
    assert "brighter than the others in 7" in one.sentence or "darker than the others in 7" in one.sentence
    assert "of 100 pairs (" in one.sentence
    assert (one.num, one.num_others) == (200, 200)


def test_of_three_classes_the_odd_one_is_named():
    found = standing_out(*invented(600, names=("no", "mild", "severe"), sharpness=-2.0))
    assert (found[0].who, found[0].measure) == ("no", "sharpness")
    assert found[0].sentence.startswith("Images of 'no' are more blurred than the others in 9")


def test_chance_stands_out_nowhere():
    assert standing_out(*invented(400)) == []
    assert standing_out(*invented(8, brightness=0.5)) == []  # however large it looks


def test_a_test_set_from_another_camera_is_told():
    dataset, split, measures = invented(400)
    measures.loc[split == "test", "blue"] += 20
    (one,) = standing_out(dataset, split, measures)
    assert (one.who, one.is_split) == ("test", True)
    assert one.sentence.startswith("Test images have more blue than the training images in 9")


def test_many_images_of_one_patient_are_one_case():
    dataset, split, measures = invented(40, groups=[f"p{number % 4}" for number in range(40)], brightness=3.0)
    brightness = next(one for one in find_contrasts(dataset, split, measures) if one.measure == "brightness")
    assert (brightness.num, brightness.num_others) == (2, 2)
    assert what_stands_out(find_contrasts(dataset, split, measures)) == []


def test_excluded_images_and_empty_classes_do_not_count():
    dataset, split, measures = invented(100, names=("a", "b", "c"))
    measures.loc[::7, "aspect"] = 1e9
    split[::7] = "excluded"
    split[dataset.table["target"] == 2] = "excluded"
    found = find_contrasts(dataset, split, measures)
    assert {one.who for one in found} == {"a", "b", "test"}
    assert max(one.other_median for one in found) < 1e6


def test_numbers_are_read_with_as_many_digits_as_say_something():
    assert MEASURES["brightness"].text(112.345) == "112"
    assert MEASURES["sharpness"].text(0.4567) == "0.46"
    assert MEASURES["kilobytes"].text(12.34) == "12.3 kB"
