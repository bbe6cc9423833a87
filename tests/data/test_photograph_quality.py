"""Measures of squares whose light and detail are known, and which of them are eyes."""

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lib.data.photograph_quality import MEASURE_NAMES, WORKING_SIDE_PX, measure_photograph, retina_mask

SIDE = WORKING_SIDE_PX


def disc(
    colour: tuple[int, int, int] = (150, 80, 50), *, side: int = SIDE, radius: float = 0.97, grain: float = 0.0
) -> np.ndarray:
    """A disc of one colour on black, with noise of that deviation in relation to the colour."""
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    is_inside = np.hypot(axis[:, None], axis[None]) < radius
    noise = 1 + grain * np.random.default_rng(0).standard_normal((side, side, 1))
    return (is_inside[..., None] * np.array(colour) * noise).clip(0, 255).astype(np.uint8)


def values(square: np.ndarray) -> dict[str, float]:
    return measure_photograph(square).values


def test_levels_of_an_even_disc_are_those_of_its_colour():
    found = measure_photograph(disc())
    assert found.is_eye
    assert list(found.values) == list(MEASURE_NAMES)
    grey = 0.299 * 150 + 0.587 * 80 + 0.114 * 50
    for name, level in (("red", 150), ("green", 80), ("blue", 50), ("veil", 50), ("brightness", grey)):
        assert found.values[name] == pytest.approx(math.log(level), abs=0.01), name
    assert found.values["red_peak"] == pytest.approx(150 / 255)
    assert found.values["saturation"] == pytest.approx(100 / 150)
    assert found.values["field"] == pytest.approx(0.97**2, abs=0.05)  # specks are smoothed away, and the edge with them
    for name in ("underexposed_share", "overexposed_share", "red_spread", "red_skew"):
        assert found.values[name] == 0, name
    assert found.values["unevenness"] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("colour", "share"), [((20, 15, 10), "underexposed_share"), ((250, 160, 90), "overexposed_share")]
)
def test_too_dark_and_too_bright_are_shares_of_the_retina_without_the_ground(colour: tuple[int, int, int], share: str):
    assert values(disc(colour))[share] == 1
    half = disc((90, 50, 30))
    half[: SIDE // 2] = disc(colour)[: SIDE // 2]
    assert values(half)[share] == pytest.approx(0.5, abs=0.02)


def test_highlights_skew_a_channel_upwards_and_shadows_downwards():
    for rest, few, skew in ((90, 180, 1), (180, 90, -1)):
        square = disc((rest, 80, 50))
        square[: SIDE // 3] = disc((few, 80, 50))[: SIDE // 3]
        found = values(square)
        assert found["red_skew"] == pytest.approx(skew)
        assert found["red_spread"] == pytest.approx(90 / 255)


def test_a_blurred_picture_has_less_detail_the_finer_the_band():
    sharp = disc(grain=0.3)
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(2)))
    before, after = values(sharp), values(blurred)
    lost = [before[f"detail_{band}"] - after[f"detail_{band}"] for band in ("finest", "fine", "middle", "coarse")]
    assert lost[0] > math.log(10)
    assert lost[0] > lost[1] > lost[2] > -0.1
    assert abs(lost[3]) < 0.1  # a coarse pattern is not blurred by so little
    assert before["edges_finest"] - after["edges_finest"] > math.log(10)


def test_detail_is_told_in_relation_to_the_light_around():
    bright, dim = (values(disc(colour, grain=0.2)) for colour in ((160, 120, 80), (80, 60, 40)))
    for name in ("detail_finest", "detail_coarse", "edges_fine", "contrast", "saturation"):
        assert dim[name] == pytest.approx(bright[name], abs=0.05), name
    assert bright["brightness"] - dim["brightness"] == pytest.approx(math.log(2), abs=0.02)


def test_the_rim_of_the_field_is_no_fine_detail_and_no_unevenness():
    found = values(disc())
    assert found["detail_finest"] == found["edges_finest"] == math.log(1e-4)
    assert found["detail_fine"] < math.log(0.01)


def test_light_from_one_side_is_uneven_and_haze_is_a_veil():
    slope = np.linspace(0.5, 1.5, SIDE)[None, :, None]
    tilted = (disc() * slope).clip(0, 255).astype(np.uint8)
    assert values(tilted)["unevenness"] > 0.15
    textured = disc(grain=0.3)
    hazy = np.where(textured.any(axis=2, keepdims=True), 0.5 * textured + 90, 0).astype(np.uint8)
    clear, veiled = values(textured), values(hazy)
    assert veiled["veil"] > clear["veil"] + math.log(2)
    assert veiled["saturation"] < 0.5 * clear["saturation"]
    assert veiled["contrast"] < clear["contrast"] - math.log(2)


def test_one_eye_of_many_pixels_and_of_few_is_measured_alike():
    found = [values(disc((150, 90, 60), side=side)) for side in (SIDE, 300, 2 * SIDE, 3 * SIDE)]
    for other in found[1:]:
        for name in ("brightness", "red", "veil", "saturation", "field", "unevenness", "red_spread"):
            assert other[name] == pytest.approx(found[0][name], abs=0.02), name
    smaller = measure_photograph(disc(side=64))
    assert smaller.is_eye
    assert np.isfinite([*smaller.values.values()]).all()


def test_what_is_black_plain_or_a_landscape_is_no_eye():
    generator = np.random.default_rng(0)
    for square in (
        np.zeros((288, 288, 3), np.uint8),
        np.full((288, 288, 3), 200, np.uint8),
        generator.integers(0, 256, (288, 288, 3)).astype(np.uint8),
    ):
        measured = measure_photograph(square)
        assert not measured.is_eye
        assert np.isfinite([*measured.values.values()]).all()


def _with_corner() -> np.ndarray:
    square = disc()
    square[:40, :40] = (150, 80, 50)
    return square


def _cut(share: float) -> np.ndarray:
    square = disc()
    rows = round(share * SIDE / 2)
    square[:rows] = square[SIDE - rows :] = 0
    return square


@pytest.mark.parametrize(
    ("square", "is_eye"),
    [
        (disc((80, 150, 50)), False), (disc((90, 90, 90)), False), (disc((150, 80, 90)), False),
        (_with_corner(), False), (disc(radius=0.7), False), (_cut(0.35), True), (_cut(0.6), False),
    ],
    ids=["green", "grey", "magenta", "lit corner", "small disc", "cut as cameras do", "cut to a strip"],
)  # fmt: skip
def test_an_eye_is_a_reddish_disc_that_is_whole_but_for_what_cameras_cut_off(square: np.ndarray, is_eye: bool):
    assert measure_photograph(square).is_eye is is_eye


def test_the_mask_is_in_relation_to_the_pictures_own_light():
    for colour in ((150, 80, 50), (15, 8, 5)):
        mask = retina_mask(disc(colour))
        assert mask.mean() == pytest.approx(np.pi / 4 * 0.97**2, abs=0.04)
        assert not mask[:10, :10].any()
    as_floats = disc().astype(np.float32)
    assert np.array_equal(retina_mask(as_floats), retina_mask(disc()))
    assert retina_mask(np.zeros((SIDE, SIDE, 3), np.uint8)).all()  # where hardly anything is lit, all of it counts
    speck = np.zeros((SIDE, SIDE, 3), np.uint8)
    speck[:4, :4] = 255
    assert retina_mask(speck).all()
