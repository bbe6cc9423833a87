from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lib.data.dataset import Dataset
from lib.data.importing import import_folder
from lib.data.statistics import class_counts, measure_picture, quality_ranges, quality_words, size_table


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (64 + number, 64), colour).save(tmp_path / "set" / name / f"{number}.png")
    return import_folder(tmp_path / "set")


def test_class_counts_by_split(dataset: Dataset):
    counts = class_counts(dataset, dataset.split(0))
    assert counts["count"].tolist() == [3, 1, 1, 3, 1, 1]
    assert counts["split"].tolist() == ["train", "val", "test"] * 2
    assert counts["class_name"].tolist() == ["blue"] * 3 + ["red"] * 3


def test_size_table_holds_the_originals(dataset: Dataset):
    sizes = size_table(dataset)
    assert sizes["width"].tolist() == [64, 65, 66, 67, 68] * 2
    assert set(sizes["height"]) == {64}
    assert sizes["class_name"].tolist() == ["blue"] * 5 + ["red"] * 5


def picture(seed, light=1.0):
    noise = np.random.default_rng(seed).normal(120, 30, (64, 64, 1)).clip(20, 235)
    return np.repeat(noise * light, 3, axis=2).astype(np.uint8)


def blurred(pixels):
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(6)))


def test_a_ramp_has_a_quarter_of_the_step_between_blocks():
    ramp = np.repeat(np.tile(np.arange(20, 84, dtype=np.uint8), (64, 1))[:, :, None], 3, axis=2)
    measured = measure_picture(ramp)
    assert measured["sharpness"] == pytest.approx(0.25, abs=1e-3)
    assert measured["brightness"] == pytest.approx(51.5, abs=0.1)
    assert measure_picture(ramp // 2 + 20)["sharpness"] == pytest.approx(0.25, abs=0.05)  # whatever the light


def test_black_around_a_retina_does_not_count():
    framed = np.zeros((96, 96, 3), np.uint8)
    framed[16:80, 16:80] = picture(0)
    inside = measure_picture(picture(0))["brightness"]
    assert measure_picture(framed)["brightness"] == pytest.approx(inside, abs=0.5)
    assert measure_picture(np.zeros((16, 16, 3), np.uint8)) == {"brightness": 0.0, "sharpness": 0.0}


def test_what_lies_outside_nearly_all_is_said():
    ranges = quality_ranges(picture(seed) for seed in range(20))
    assert quality_words(picture(30), ranges) == ""
    assert quality_words(picture(30, light=0.5), ranges) == "darker"
    assert quality_words(picture(30, light=1.8), ranges) == "brighter"
    assert quality_words(blurred(picture(30, light=0.5)), ranges) == "darker and more blurred"
    assert quality_words(picture(30), None) == quality_words(picture(30), {"brightness": ["x", 1]}) == ""
    assert quality_ranges([]) == {}
