import numpy as np
import pytest

from lib.evaluation.operating_point import read_at
from lib.evaluation.reliability import reliability
from lib.evaluation.roc import ranking_curves
from lib.figures.roc_charts import (
    HEIGHT_PX,
    MAX_RUNS,
    MarkedPoint,
    RankedRun,
    ReliableRun,
    curve_table,
    operating_point_figure,
    precision_recall_figure,
    reliability_figure,
    reliability_table,
    roc_figure,
)
from tests.figures.run_curves import annotations

STRATEGIES = ("linear_probe", "full_finetuning", "from_scratch")


def ranked(number, *, name="Run"):
    generator = np.random.default_rng(number)
    truth = np.arange(60) % 3 == 0
    score = generator.random(60) + 0.4 * truth
    return RankedRun(f"{name} {number}", STRATEGIES[number % 3], ranking_curves(truth, score, num_draws=100))


@pytest.mark.parametrize("number", [1, 2, 8])
@pytest.mark.parametrize("draw", [roc_figure, precision_recall_figure])
def test_every_line_is_numbered_and_named(number, draw):
    runs = [ranked(k) for k in range(number)]
    figure = draw(runs, title="Ill", is_dark=number == 2)
    assert len(figure.data) == number + 1  # and chance
    written = annotations(figure)
    for place, run in enumerate(runs, start=1):
        assert any(run.label in text for text in written)
        # Its number stands at the line and in the key; one run alone needs none.
        assert sum(text.startswith(f"<b>{place}") for text in written) == (2 if number > 1 else 0)
    bottom = min(one.y for one in figure.layout.annotations if one.yref == "paper")
    assert bottom * (HEIGHT_PX - 96) >= 16  # the last entry lies within the picture


def test_more_runs_than_can_be_told_apart_are_in_the_data_alone():
    runs = [ranked(k) for k in range(10)]
    assert len(roc_figure(runs, title="Ill", is_dark=False).data) == MAX_RUNS + 1
    assert curve_table(runs)["run"].nunique() == 10
    assert list(curve_table([]).columns) == ["run", "curve", "x", "y"]


def test_names_of_people_are_no_markup():
    figure = roc_figure([ranked(0, name="<b>$x$")], title="<i>", is_dark=False)
    assert not [text for text in annotations(figure) if "$x$" in text]
    assert figure.layout.title.text == "&lt;i&gt;"


def test_bins_stand_where_they_were_counted():
    stated = np.repeat([0.6, 0.9], 20)
    truth = np.r_[np.ones(10), np.zeros(10), np.ones(18), np.zeros(2)]
    runs = [ReliableRun(f"Run {k}", "linear_probe", reliability(truth, stated, num_draws=50)) for k in range(2)]
    figure = reliability_figure(runs, title="t", is_dark=True)
    line = figure.data[1]
    np.testing.assert_allclose(line.y, [0.5, 0.9])
    np.testing.assert_allclose(line.y - line.error_y.arrayminus, runs[0].reliability.low)
    assert any("error 5.0" in text for text in annotations(figure))
    table = reliability_table(runs)
    assert table["images"].tolist() == [20] * 4
    assert list(reliability_table([]).columns) == list(table.columns)


def test_the_chosen_point_is_a_cross_of_its_intervals_and_published_ones_are_lettered():
    truth, score = np.repeat([True, False], 20), np.r_[np.linspace(0.4, 1, 20), np.linspace(0, 0.6, 20)]
    run = RankedRun("Run", "linear_probe", ranking_curves(truth, score, num_draws=50))
    reading = read_at(truth, score, 0.5, prevalence=0.1)
    marks = [MarkedPoint("A study", "other images", 0.9, 0.8), MarkedPoint("Another", "others", 0.95, 0.7)]
    figure = operating_point_figure(run, reading, marks, title="t", is_dark=False)
    upright, level, point = figure.data[2:5]
    assert (list(point.x), list(point.y)) == ([1 - reading.specificity.value], [reading.sensitivity.value])
    assert list(upright.y) == [reading.sensitivity.low, reading.sensitivity.high]
    assert list(level.x) == [1 - reading.specificity.high, 1 - reading.specificity.low]
    written = annotations(figure)
    assert written.count("A") == written.count("B") == 1
    assert any("<b>A  </b>A study" in text for text in written)
