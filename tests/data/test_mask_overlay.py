import numpy as np

from lib.data.mask_overlay import MASK_COLORS, mask_color, outline_mask


def test_a_ring_lies_round_the_region_and_the_region_stays():
    pixels = np.full((20, 20, 3), 50, np.uint8)
    mask = np.zeros((20, 20), np.uint8)
    mask[8:11, 8:11] = 2
    outlined = outline_mask(pixels, mask)
    assert (outlined[8:11, 8:11] == 50).all()
    assert (outlined[7, 7:12] == (0x3D, 0x7B, 0xFF)).all()
    assert (outlined != 50).any(axis=2).sum() == 5 * 5 - 3 * 3
    assert (pixels == 50).all()


def test_colours_differ_and_begin_again():
    assert len(set(MASK_COLORS)) == len(MASK_COLORS)
    assert mask_color(1) == mask_color(1 + len(MASK_COLORS)) == MASK_COLORS[0]
