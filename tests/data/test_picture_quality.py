import numpy as np
import pytest
from PIL import Image, ImageFilter

from lib.data.picture_quality import measure_picture, quality_ranges, quality_words


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
