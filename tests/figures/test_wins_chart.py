"""The heat map of wins: coloured where a lead is more than chance, with its sign and the images in the cell."""

import math

import numpy as np
import pytest

from lib.figures.wins_chart import MAX_RUNS, Win, wins_figure
from tests.figures.run_curves import annotations

SHOWN, CLOSE = (
    Win(0.25, is_shown=True, num_alone=12, sentence="A is 25 points ahead."),
    Win(0.0125, False, 3, "Not shown"),
)
LOST = Win(-0.25, is_shown=True, num_alone=2, sentence="A is 25 points ahead.")


def test_cells_are_coloured_only_where_the_lead_is_more_than_chance():
    figure = wins_figure(
        ["a", "b", "c <b>"], {(0, 1): SHOWN, (1, 0): LOST, (0, 2): CLOSE}, word="accuracy", is_dark=False
    )
    heat = figure.data[0]
    np.testing.assert_array_equal(heat.z[0], [np.nan, 1.0, 0.0])
    np.testing.assert_array_equal(heat.z[1], [-1.0, np.nan, np.nan])
    assert annotations(figure) == ["+0.250<br>12", "+0.013<br>3", "\u22120.250<br>2"]
    assert list(figure.layout.yaxis.ticktext) == ["1 a", "2 b", "3 c &lt;b&gt;"]
    assert "A is 25 points ahead." in heat.hovertext[0][1]


def test_what_was_not_compared_has_a_dash_and_series_no_images():
    wins = {(0, 1): Win(math.nan, False, sentence="Not compared: other data sets."), (1, 0): Win(0.1, True)}
    figure = wins_figure(["a", "b"], wins, word="kappa", is_dark=True)
    assert annotations(figure) == ["–", "+0.100"]
    assert figure.data[0].z[0][1] == 0


@pytest.mark.parametrize("num", [2, 8, 30])
def test_any_number_of_runs_has_room(num):
    wins = {(a, b): CLOSE for a in range(num) for b in range(num) if a != b}
    figure = wins_figure([f"run {'x' * 100} {number}" for number in range(num)], wins, word="AUROC", is_dark=False)
    drawn = min(num, MAX_RUNS)
    assert len(annotations(figure)) == drawn * (drawn - 1)
    assert max(len(text) for text in figure.layout.yaxis.ticktext) <= 40
    assert figure.layout.height <= 800
