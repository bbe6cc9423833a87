import io

import numpy as np
import pytest
from PIL import Image

from lib.errors import UserError
from lib.explain.pictures import (
    Tile,
    balanced_columns,
    colorize,
    enlarge_cells,
    magnitude_picture,
    overlay,
    sheet_png,
    signed_picture,
    to_jpeg,
    to_png,
)


def test_ends_and_middle_of_the_palettes() -> None:
    # The published first and last colours of viridis; RdBu runs from blue over near white to red.
    assert colorize(np.array([[0.0, 1.0]])).tolist() == [[[0x44, 0x01, 0x54], [0xFD, 0xE7, 0x25]]]
    assert colorize(np.array([[0.5]])).tolist() == [[[0x21, 0x91, 0x8C]]]
    blue, white, red = colorize(np.array([[0.0, 0.5, 1.0]]), palette="RdBu")[0].astype(int)
    assert blue[2] > blue[0]
    assert white.min() > 240
    assert red[0] > red[2]
    with pytest.raises(UserError, match="jet"):
        colorize(np.zeros((1, 1)), palette="jet")


def test_between_two_stops_the_colour_is_their_mean() -> None:
    # Stops 0 and 1 of 17 lie at 0 and 1/16. Half way: (68 + 72) / 2 = 70, (1 + 24) / 2 = 12.5, (84 + 106) / 2 = 95.
    assert colorize(np.array([[1 / 32]]))[0, 0].tolist() == [70, 12, 95]


def test_values_outside_the_range_and_nan_do_not_wrap() -> None:
    coloured = colorize(np.array([[-3.0, 0.0, np.nan, 1.0, 7.0]]))
    assert coloured[0, 0].tolist() == coloured[0, 1].tolist() == coloured[0, 2].tolist()
    assert coloured[0, 3].tolist() == coloured[0, 4].tolist()


def test_lightness_rises_with_the_value() -> None:
    colours = colorize(np.linspace(0, 1, 64)[None])[0] @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(colours) > 0).all()


def test_overlay_mixes_grey_and_colour() -> None:
    pixels = np.full((4, 4, 3), (200, 100, 0), dtype=np.uint8)
    # Luma 0.299 * 200 + 0.587 * 100 = 118.5. A value of 0 takes half of alpha: 3/4 of it and 1/4 of (68, 1, 84).
    mixed = overlay(pixels, np.zeros((2, 2)), alpha=0.5)
    np.testing.assert_allclose(mixed[0, 0], [105.875, 89.125, 109.875], atol=0.5)
    # A value of 1 takes 3/4 of viridis(1) = (253, 231, 37) and 1/4 of the grey.
    mixed = overlay(pixels, np.ones((2, 2)), alpha=0.5)
    np.testing.assert_allclose(mixed[0, 0], [219.375, 202.875, 57.375], atol=0.5)
    assert overlay(pixels, np.zeros((2, 2)), alpha=0.0)[1, 1].tolist() == [118, 118, 118]
    assert overlay(pixels, np.ones((1, 1)), alpha=1.0)[3, 3].tolist() == [0xFD, 0xE7, 0x25]


def test_overlay_keeps_places() -> None:
    heatmap = np.zeros((7, 7), dtype=np.float32)
    heatmap[1, 5] = 1.0  # row 1, column 5: centre at (1.5, 5.5) * 8 pixels
    mixed = overlay(np.zeros((56, 56, 3), dtype=np.uint8), heatmap, alpha=2.0).astype(int)
    row, column = np.unravel_index(mixed[..., 1].argmax(), (56, 56))
    assert (row // 8, column // 8) == (1, 5)


def test_cells_stay_cells() -> None:
    cells = np.array([[[0, 0, 0], [255, 0, 0]]], dtype=np.uint8)
    grown = enlarge_cells(cells, 64)
    assert grown.shape == (32, 64, 3)
    assert set(map(tuple, grown.reshape(-1, 3).tolist())) == {(0, 0, 0), (255, 0, 0)}
    assert enlarge_cells(np.zeros((100, 50, 3), dtype=np.uint8), 20).shape == (20, 10, 3)


def test_magnitude_and_signed_pictures_share_a_given_scale() -> None:
    values = np.array([[0.0, 2.0]])
    assert magnitude_picture(values, 2)[0, 1].tolist() == [0xFD, 0xE7, 0x25]
    assert magnitude_picture(values, 2, high=4.0)[0, 1].tolist() == [0x21, 0x91, 0x8C]
    assert magnitude_picture(np.array([[5.0, 7.0]]), 2, low=3.0)[0, 0].tolist() == [0x21, 0x91, 0x8C]
    assert not np.ptp(magnitude_picture(np.zeros((2, 2)), 2), axis=(0, 1)).any()
    signed = signed_picture(np.array([[-1.0, 0.0, 1.0]]), 3)[0]
    assert signed[1].tolist() == [247, 246, 246]
    assert signed[0, 2] > signed[0, 0]
    assert signed_picture(np.zeros((1, 1)), 1)[0, 0].tolist() == [247, 246, 246]


def test_sent_pictures_are_small() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (600, 900, 3), dtype=np.uint8)
    for content, kind in ((to_jpeg(pixels), "JPEG"), (to_png(pixels), "PNG")):
        image = Image.open(io.BytesIO(content))
        assert image.format == kind
        assert image.size == (384, 256)
    assert Image.open(io.BytesIO(to_png(pixels, None))).size == (900, 600)
    assert Image.open(io.BytesIO(to_jpeg(pixels[:20, :30]))).size == (30, 20)


def test_sheet_wraps_rows_and_survives_odd_names() -> None:
    tile = Tile("A very long stage name that does not fit <b>", "7 × 7 cells\n中", np.zeros((7, 7, 3), dtype=np.uint8))
    assert [balanced_columns(n) for n in (1, 6, 7, 8, 10, 14, 15)] == [1, 6, 7, 4, 5, 7, 5]
    one_row, two_rows = (
        Image.open(io.BytesIO(content))
        for content in (
            sheet_png([tile] * 7, title="Größe"),
            sheet_png([tile] * 14, title="Größe", notes=["word " * 80]),
        )
    )
    assert one_row.width == two_rows.width
    assert two_rows.height > one_row.height + 224
