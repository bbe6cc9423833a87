import numpy as np

from lib.data.grades import LesionKind
from lib.data.mask_overlay import (
    MASK_COLORS,
    MaskFamily,
    mask_color,
    mask_families,
    number_families,
    outline_mask,
)


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


def test_families_of_lesions_are_three_and_of_other_marks_the_first_kinds():
    lesions = mask_families(tuple(kind.title for kind in LesionKind))
    assert [family.values for family in lesions] == [(1, 2, 3, 4, 10), (5, 6), (7, 8, 9)]
    others = mask_families(("nail", "screw", "bolt", "nut"))
    assert [(family.title, family.values) for family in others] == [("nail", (1,)), ("screw", (2,)), ("bolt", (3,))]


def test_the_regions_of_each_family_are_counted_and_ringed_in_its_colour():
    pixels, mask = np.full((96, 96, 3), 50, dtype=np.uint8), np.zeros((96, 96), dtype=np.uint8)
    mask[10:14, 10:14], mask[40:44, 40:44], mask[44:48, 44:48], mask[70:90, 70:90] = 1, 1, 2, 3
    families = (MaskFamily("small", (1, 2)), MaskFamily("none", (9,)), MaskFamily("large", (3,)))
    shown, counts = number_families(pixels, mask, families)
    assert counts == [2, 0, 1]  # 1 and 2 touch at a corner: one place
    assert (shown[9, 10] == (0x00, 0xE5, 0xFF)).all()
    assert (shown[69, 80] == (0xE6, 0x4D, 0xFF)).all()
    assert (pixels == 50).all()
