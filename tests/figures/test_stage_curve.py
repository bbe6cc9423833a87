import base64
import dataclasses
import re

import pytest

from lib.figures.stage_curve import SECOND_COLOR, StageTile, curve_html
from lib.figures.style import DARK, LIGHT, strategy_style
from tests.explain.test_stage_worth import make_worth

TILES = [
    StageTile(f"tile {number}", "data:image/png;base64,AA", f"picture {number}", f"?at={number}") for number in range(4)
]


def places(shown: str, name: str) -> list[tuple[float, float]]:
    """Left and bottom, in per cent of the plot, of the points of a line."""
    found = re.findall(
        rf'data-point="{re.escape(name)}" style="position:absolute;left:([\d.]+)%;bottom:([\d.]+)%', shown
    )
    return [(float(left), float(bottom)) for left, bottom in found]


def behind(shown: str) -> str:
    """The SVG of lines and areas."""
    longest = max(re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", shown), key=len)
    return base64.b64decode(longest).decode()


def test_each_point_lies_under_the_middle_of_its_tile():
    shown = curve_html(make_worth([60, 90, 80], [50, 55, 60]), TILES, is_dark=False)
    assert [left for left, _ in places(shown, "pretrained")] == pytest.approx([100 / 6, 50, 500 / 6], abs=0.001)
    assert "repeat(4,minmax(0,1fr))" in shown  # the image and three stages
    assert [f"grid-column:{column};grid-row:1" in shown for column in (3, 4, 5, 6)] == [True, True, True, False]
    assert "gap" not in shown.split(">")[0]  # a gap between columns would move the tiles off the points
    # The line goes through the same places.
    assert re.search(r'd="M0\.500 [\d.]+ L1\.500 [\d.]+ L2\.500 [\d.]+" stroke="#0F766E"', behind(shown))


def test_heights_are_the_scores_on_one_scale():
    worth = make_worth([60, 90, 80], [50, 55, 60])
    shown = curve_html(worth, TILES, is_dark=False)
    first, second, third = (bottom for _, bottom in places(shown, "pretrained"))
    assert (second - third) / (third - first) == pytest.approx(0.5, abs=0.01)
    assert places(shown, "random weights")[2][1] == pytest.approx(first, abs=0.01)  # both 60 of 100
    assert ">0.5<" in shown
    assert ">1<" in shown
    assert ">accuracy<" in shown


def test_what_is_between_is_borrowed_and_the_best_is_named():
    shown = curve_html(make_worth([60, 90, 80], [50, 55, 60]), TILES, is_dark=False)
    assert ">borrowed</span>" in shown
    assert "fill-opacity" in behind(shown)
    assert "best 90.0" in shown
    near = curve_html(make_worth([60, 90, 80], [60, 89, 79]), TILES, is_dark=False)
    assert ">borrowed</span>" not in near  # no room for a word between the curves


def test_before_the_random_curve_is_there_nothing_is_shaded():
    shown = curve_html(make_worth([60, 90, 80]), TILES, is_dark=False)
    assert "borrowed" not in shown
    assert "fill-opacity" not in behind(shown)


def test_before_anything_is_measured_the_strip_stands_alone():
    shown = curve_html(None, TILES, is_dark=True)
    assert "Not measured for these images yet." in shown
    assert shown.count("picture") >= 4
    assert "data-point" not in shown


def test_the_cut_lies_between_two_tiles_and_fills_what_is_frozen():
    shown = curve_html(make_worth([60, 90, 80]), TILES, cut=0, is_dark=False)
    assert 'data-cut="" style="position:absolute;left:33.3333%' in shown
    assert (shown.count('title="frozen and borrowed"'), shown.count('title="new"')) == (1, 2)
    last = curve_html(make_worth([60, 90, 80]), TILES, cut=2, is_dark=False)
    assert "left:100.0000%" in last
    assert ">new<" not in last


def test_a_second_data_set_of_another_metric_is_seen_as_the_way_from_chance():
    kappa = make_worth([60, 90, 80], [50, 55, 60], chance=0.0, metric="quadratic_weighted_kappa", dataset_title="Eyes")
    shown = curve_html(kappa, TILES, second=make_worth([60, 90, 80], [50, 55, 60]), is_dark=False)
    assert ">above chance<" in shown
    eyes, pets = places(shown, "Eyes"), places(shown, "Pets")
    # Kappa 0.9 is nine tenths of the way, accuracy 0.9 with chance 0.5 is eight.
    assert eyes[1][1] > pets[1][1]
    assert SECOND_COLOR[False] in shown
    same = curve_html(make_worth([60, 90, 80]), TILES, second=make_worth([60, 90, 80]), is_dark=False)
    assert ">accuracy<" in same


def test_a_run_has_the_colour_of_its_strategy_and_may_end_earlier():
    worth = make_worth([60, 90, 80], [50, 55, 60], [60, 95], run_label="mine")
    shown = curve_html(worth, TILES, run_strategy="full_finetuning", is_dark=True)
    assert len(places(shown, "mine")) == 2
    assert strategy_style("full_finetuning", True).color in shown
    assert DARK.accent in shown
    assert LIGHT.accent not in shown


def test_names_are_shown_literally():
    worth = dataclasses.replace(make_worth([60, 90, 80], [50, 55, 60], [60, 95, 80]), run_label='<b>"run"</b>')
    shown = curve_html(worth, [StageTile("<i>x</i>", "", "<u>alt</u>"), *TILES[1:]], is_dark=False)
    assert not re.search(r"<(b|i|u)>", shown)
    assert "&lt;b&gt;" in shown


def test_a_pointer_on_a_column_is_told_everything_and_a_click_leads_on():
    shown = curve_html(make_worth([60, 90, 80], [50, 55, 60]), TILES, is_dark=False)
    assert 'title="tile 2: pretrained 90.0' in shown
    assert "random weights 55.0" in shown
    assert shown.count('data-view-link="" href="?at=2"') == 2  # the tile and the column under it
