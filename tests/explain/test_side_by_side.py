from dataclasses import replace

import numpy as np
import pytest

from lib.errors import UserError
from lib.explain.attribution_map import AttributionMap
from lib.explain.methods import METHODS
from lib.explain.side_by_side import map_tile, side_by_side
from lib.explain.targets import Target

PIXELS = np.full((4, 8, 3), 100, dtype=np.uint8)


def made(raw: list[list[float]], method: str = "grad_cam", stage: str = "last") -> AttributionMap:
    return AttributionMap(
        raw=np.array(raw, dtype=np.float32), method=METHODS.get(method), target=Target("class", 0), target_text="",
        score=1.0, probabilities=np.array([0.5, 0.5], dtype=np.float32), stage=stage,
    )  # fmt: skip


def test_networks_on_one_scale_by_hand():
    maps = {"before": made([[1.0, 3.0]]), "after": made([[4.0, 0.0]])}
    shown = side_by_side(PIXELS, maps)
    # One method at one stage: the numbers mean the same. The largest of all is 4; after - before = [3, -3], 75 % of it.
    assert (shown.unit, shown.full_colour) == ("raw", 4.0)
    assert [tile.title for tile in shown.tiles] == ["before", "after"]
    assert [tile.caption for tile in shown.tiles] == ["last: 1 × 2 cells, up to 3", "last: 1 × 2 cells, up to 4"]
    (difference,) = shown.differences
    assert (difference.title, difference.caption) == ("after − before", "-75 % to +75 % of the full colour")
    left, right = difference.pixels[0, 0].astype(int), difference.pixels[0, -1].astype(int)
    assert left[0] > left[2]  # red: more than before
    assert right[2] > right[0]
    alone = side_by_side(PIXELS, {"before": maps["before"]})
    assert not np.array_equal(alone.tiles[0].pixels, shown.tiles[0].pixels)  # 3 is the full colour there


def test_methods_are_compared_by_their_own_scale_by_hand():
    maps = {"Grad-CAM": made([[1.0, 3.0]]), "LayerCAM": made([[10.0, 30.0]], "layer_cam")}
    shown = side_by_side(PIXELS, maps)
    # Both are [1/3, 1] of their own largest value.
    assert (shown.unit, shown.full_colour) == ("own", 1.0)
    assert np.array_equal(shown.tiles[0].pixels, shown.tiles[1].pixels)
    assert shown.differences[0].caption == "+0 % to +0 % of the full colour"
    assert "a share of each map's own full colour" in shown.note
    # And [0.5, 1.5] in multiples of their own mean.
    by_mean = side_by_side(PIXELS, maps, unit="share")
    assert by_mean.full_colour == 1.5
    assert "multiples of each map's own mean" in by_mean.note
    assert side_by_side(PIXELS, maps, unit="raw").full_colour == 30.0


def test_maps_of_other_sizes_meet_on_the_finer_grid():
    shown = side_by_side(PIXELS, {"coarse": made([[2.0]]), "fine": made([[2.0, 2.0], [2.0, 2.0]], stage="first")})
    assert shown.differences[0].caption == "+0 % to +0 % of the full colour"


def test_no_evidence_is_said_and_nothing_else():
    shown = side_by_side(PIXELS, {"a": made([[0.0, 0.0]]), "b": made([[1.0, 0.0]])})
    assert shown.tiles[0].caption == "no evidence"
    assert np.array_equal(shown.tiles[0].pixels, PIXELS)  # grey already
    assert shown.differences == []
    nothing = side_by_side(PIXELS, {"a": made([[0.0, 0.0]])})
    assert (nothing.note, nothing.full_colour) == ("no evidence", 0.0)


def test_signed_maps_are_red_and_blue():
    tile = map_tile(PIXELS, made([[2.0, -2.0]], "integrated_gradients", ""), "Pixels", alpha=0.5)
    assert tile.caption == "1 × 2 pixels, -2 to 2"
    left, right = tile.pixels[0, 0].astype(int), tile.pixels[0, -1].astype(int)
    assert (left[0] > left[2]) and (right[2] > right[0])
    grey = map_tile(PIXELS, made([[0.0, -2.0]], "integrated_gradients", ""), "Pixels").pixels[0, 0]
    assert len(set(grey.tolist())) == 1  # zero leaves the photograph as it is


def test_what_is_refused():
    with pytest.raises(UserError, match="no map to draw"):
        side_by_side(PIXELS, {})
    with pytest.raises(UserError, match="Unknown unit 'px'"):
        side_by_side(PIXELS, {"a": made([[1.0]])}, unit="px")
    assert replace(made([[1.0]]), stage="first").stage == "first"


def test_maps_of_another_question_have_other_units():
    maps = {"a": made([[1.0, 3.0]]), "b": replace(made([[4.0, 0.0]]), target_text="another class")}
    assert side_by_side(PIXELS, maps).unit == "own"
