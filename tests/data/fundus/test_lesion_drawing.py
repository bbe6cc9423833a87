"""Lesions on an even retina: where they lie, what colour they give, and what the mask says where they meet."""

from typing import Any

import numpy as np
import pytest

from lib.data.fundus.lesion_drawing import paint_lesions, with_beading
from lib.data.fundus.lesion_plan import BEADED_POINTS, Lesion
from lib.data.fundus.vessels import Vessel
from lib.data.grades import LesionKind
from tests.data.fundus.frames import camera_of, eye_of

CAMERA, EYE = camera_of(), eye_of()
SPOTS = [kind for kind in LesionKind if kind is not LesionKind.VENOUS_BEADING]
PALE = (LesionKind.HARD_EXUDATE, LesionKind.COTTON_WOOL_SPOT)


def lesion_of(kind: LesionKind, *, radius: float = 0.2, x: float = 0.0, y: float = 0.0, **others: Any) -> Lesion:
    return Lesion(kind, x, y, radius, 0, **{"seed": 1, **others})


def paint(*lesions: Lesion, vessels: tuple[Vessel, ...] = (), visibility: float = 1.0, **frame: Any):
    """Planes and mask of lesions on a retina of reflectance 1."""
    camera = camera_of(**frame)
    planes = np.ones((3, *camera.shape), dtype=np.float32)
    mask = paint_lesions(planes, lesions, vessels, eye=EYE, camera=camera, visibility=visibility)
    return planes, mask


def vein(length: int = 60) -> Vessel:
    points = np.stack([np.linspace(-0.4, 0.38, length), np.full(length, 0.2)], axis=1)
    return Vessel(points, np.full(length, 0.024), True, 0)


@pytest.mark.parametrize("kind", SPOTS)
def test_each_kind_is_in_the_mask_where_it_lies_and_darkens_or_brightens_green(kind: LesionKind):
    planes, mask = paint(lesion_of(kind, x=0.25, y=-0.25))
    assert set(np.unique(mask)) == {0, kind}
    rows, columns = np.nonzero(mask)
    reach = 8 * 1.7 + 4  # 0.2 radii of 40 px, as far as the farthest reaches
    assert np.hypot(columns + 0.5 - 60, rows + 0.5 - 40).max() <= reach
    covered = planes[1, mask > 0]
    assert covered.mean() > 1.02 if kind in PALE else covered.mean() < 0.95
    x, y = np.arange(100) + 0.5 - 60, np.arange(100) + 0.5 - 40
    far = np.maximum(abs(x)[None], abs(y)[:, None]) > reach
    assert (planes[:, far] == 1).all()


@pytest.mark.parametrize("kind", SPOTS)
def test_what_lies_beyond_the_frame_is_left_out_and_at_its_edge_cut_off(kind: LesionKind):
    planes, mask = paint(lesion_of(kind, x=3.0))
    assert not mask.any()
    assert (planes == 1).all()
    whole, cut = (paint(lesion_of(kind, x=x, radius=0.3), width=width)[1] for x, width in ((0.0, 100), (0.0, 52)))
    assert 0 < (cut > 0).sum() < (whole > 0).sum()


def test_visibility_scales_the_contrast_and_not_the_mask():
    lesion = lesion_of(LesionKind.BLOT_HAEMORRHAGE)
    (clear, seen), (faint, same), (none, hidden) = (paint(lesion, visibility=share) for share in (1.0, 0.5, 0.0))
    assert np.array_equal(seen, same)
    assert np.array_equal(seen, hidden)
    assert 1 - faint == pytest.approx((1 - clear) / 2, abs=1e-6)
    assert (none == 1).all()


def test_blood_before_the_retina_hides_what_lies_below_and_small_lesions_are_drawn_over_large_ones():
    before = lesion_of(LesionKind.PRERETINAL_HAEMORRHAGE, radius=0.4, y=-0.1)
    below = lesion_of(LesionKind.HARD_EXUDATE, radius=0.1, y=0.05)
    alone = paint(before)[1]
    for order in ((before, below), (below, before)):
        _, mask = paint(*order)
        assert (mask[alone > 0] == LesionKind.PRERETINAL_HAEMORRHAGE).all()
    large, small = (
        lesion_of(LesionKind.COTTON_WOOL_SPOT, radius=0.3),
        lesion_of(LesionKind.DOT_HAEMORRHAGE, radius=0.06),
    )
    for order in ((large, small), (small, large)):
        _, mask = paint(*order)
        assert mask[50, 50] == LesionKind.DOT_HAEMORRHAGE


def test_a_boats_upper_edge_is_level_and_a_flame_lies_along_the_nerve_fibres():
    uneven = []
    for seed in range(8):
        _, boat = paint(lesion_of(LesionKind.PRERETINAL_HAEMORRHAGE, radius=0.8, seed=seed))
        columns = np.flatnonzero(boat.any(axis=0))
        uneven.append([np.std(edge[:, columns].argmax(axis=0)) for edge in (boat > 0, boat[::-1] > 0)])
    above, below = np.mean(uneven, axis=0)
    assert above < 0.6 * below
    for place in ((-0.3, -0.1), (0.4, 0.5)):  # to the left of the disc and below it
        _, flame = paint(lesion_of(LesionKind.FLAME_HAEMORRHAGE, x=place[0], y=place[1]))
        rows, columns = np.nonzero(flame)
        wide, high = np.ptp(columns), np.ptp(rows)
        assert (wide > 1.5 * high) == (place[1] == EYE.disc[1])
        assert (high > 1.5 * wide) == (place[0] == EYE.disc[0])


def test_beading_changes_the_widths_of_its_vein_along_its_stretch_alone():
    lesion = lesion_of(LesionKind.VENOUS_BEADING, radius=0.0, vein=1, first_point=10)
    plain = [vein(), vein()]
    beaded = with_beading(plain, [lesion, lesion_of(LesionKind.DOT_HAEMORRHAGE)])
    assert beaded[0] is plain[0]
    assert plain[1].beading is None
    factors = beaded[1].seen_widths / plain[1].widths
    stretch = slice(10, 10 + BEADED_POINTS)
    assert (np.delete(factors, np.arange(60)[stretch]) == 1).all()
    assert factors[stretch].min() < 0.85
    assert factors[stretch].max() > 1.3
    # Where two stretches of one vein meet, both count.
    later = lesion_of(LesionKind.VENOUS_BEADING, radius=0.0, vein=1, first_point=25, seed=2)
    both = with_beading(plain, [lesion, later])[1].seen_widths
    each = [with_beading(plain, [one])[1].seen_widths / 0.024 for one in (lesion, later)]
    assert both == pytest.approx(0.024 * each[0] * each[1])


def test_beading_is_marked_along_its_stretch_and_changes_no_colour():
    lesion = lesion_of(LesionKind.VENOUS_BEADING, radius=0.0, vein=0, first_point=10)
    planes, mask = paint(lesion, vessels=tuple(with_beading([vein()], [lesion])))
    assert (planes == 1).all()
    rows, columns = np.nonzero(mask)
    assert set(np.unique(mask)) == {0, LesionKind.VENOUS_BEADING}
    first, last = CAMERA.to_pixels(vein().points[[10, 10 + BEADED_POINTS - 1]])
    assert (columns.min(), columns.max()) == pytest.approx((first[0], last[0]), abs=3)
    assert rows + 0.5 == pytest.approx(np.full(len(rows), first[1]), abs=3)
    assert not paint(lesion, vessels=(vein(),), center_x=500.0)[1].any()
