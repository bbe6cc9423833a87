import numpy as np
import pandas as pd
import pytest

from lib.figures.result_charts import difference_figure, interval_figure, probability_figure
from lib.figures.style import palette, strategy_style
from lib.figures.training_charts import learning_curves_figure
from tests.figures.run_curves import annotations, curves


def test_intervals_are_written_out_and_missing_ones_left_out():
    results = pd.DataFrame(
        {"label": ["a", "b"], "strategy": ["linear_probe", "from_scratch"], "value": [0.9, 0.5], "low": [0.8, np.nan],
         "high": [0.95, np.nan]}
    )  # fmt: skip
    figure = interval_figure(results, title="Accuracy", is_dark=False, chance=0.5)
    assert "0.900 (0.800 to 0.950)" in annotations(figure)
    assert "0.500" in annotations(figure)
    assert len(figure.data) == 3  # one line, two dots


LONG = [f"{'a' * 197}{number:03d}" for number in range(120)]


def test_probabilities_of_many_classes_are_the_likeliest_and_one_bar_for_the_others():
    values = np.full(120, 0.5 / 119)
    values[100] = 0.5
    figure = probability_figure(values, LONG, False)
    assert len(figure.data[0].x) == 12
    assert figure.data[0].x[0] == 0.5
    assert sum(figure.data[0].x) == pytest.approx(1.0)
    assert figure.layout.yaxis.ticktext[-1] == "109 others"
    given = probability_figure(values, LONG, False, given=3)
    assert given.data[0].x[:2] == pytest.approx((0.5 / 119, 0.5))
    assert given.data[0].marker.color[0] != given.data[0].marker.color[1]


def test_intervals_and_curves_of_very_many_runs_stay_readable():
    results = pd.DataFrame({"label": LONG * 20, "strategy": "linear_probe", "value": 0.5, "low": 0.4, "high": 0.6})
    figure = interval_figure(results, title="Accuracy", is_dark=False)
    assert figure.layout.height <= 1000
    assert max(len(text) for text in annotations(figure)) <= 44
    figure = learning_curves_figure([curves(name) for name in LONG], "loss", is_dark=False)
    assert len(figure.data) == 20


def test_probabilities_mark_the_largest():
    figure = probability_figure([0.1, 0.7, 0.2], ["a", "b", "c"], False)
    colors = figure.data[0].marker.color
    assert colors[1] != colors[0] == colors[2]
    assert list(figure.data[0].text) == ["10.0%", "70.0%", "20.0%"]
    assert list(probability_figure([0.9999, 0.0001], ["a", "b"], False).data[0].text) == ["> 99.9%", "0.0%"]
    assert figure.layout.xaxis.range[1] >= 1.3  # room for "100.0%" behind a full bar


def test_a_published_figure_is_a_dashed_line_with_its_source():
    results = pd.DataFrame(
        {"label": ["a", "b"], "strategy": ["linear_probe"] * 2, "value": [0.9, 0.5], "low": [np.nan] * 2,
         "high": [np.nan] * 2, "published": [0.7, np.nan], "published_source": ["published 0.700: talk", ""]}
    )  # fmt: skip
    figure = interval_figure(results, title="Accuracy", is_dark=True)
    dashed = [trace for trace in figure.data if trace.mode == "lines"]
    assert [list(trace.x) for trace in dashed] == [[0.7, 0.7]]
    assert dashed[0].line.dash == "5px,3px"
    assert "published 0.700: talk" in annotations(figure)


def test_differences_are_hollow_where_they_could_be_chance_and_signs_follow_the_strategy():
    table = pd.DataFrame(
        {
            "label": ["Probe", "Scratch"],
            "strategy": ["linear_probe", "from_scratch"],
            "difference": [-0.01, -0.4],
            "low": [-0.06, -0.5],
            "high": [0.04, -0.3],
            "is_shown": [False, True],
        }
    )
    figure = difference_figure(table, title="Kappa minus that of MLP", is_dark=False)
    dots = [trace for trace in figure.data if trace.mode == "markers"]
    colors = strategy_style("from_scratch", False).color
    assert [dot.marker.color for dot in dots] == [palette(is_dark=False).background, colors]
    assert [dot.marker.symbol for dot in dots] == ["diamond", "x"]
    low, high = figure.layout.xaxis.range
    assert low < -0.5
    assert high > 0.04
    turned = difference_figure(table.iloc[::-1], title="x", is_dark=True)
    assert [trace.marker.symbol for trace in turned.data if trace.mode == "markers"] == ["x", "diamond"]


def test_long_names_of_seeds_stay_apart():
    labels = [f"Nearest neighbours · EfficientNet-Lite0 · seed {seed}, once more" for seed in (0, 1)]
    rows = pd.DataFrame(
        {"label": labels, "strategy": "nearest_neighbors", "value": [0.5, 0.6], "low": [0.4, 0.5], "high": [0.6, 0.7]}
    )
    texts = [one.text for one in interval_figure(rows, title="Accuracy", is_dark=False).layout.annotations]
    assert len({text for text in texts if text.startswith("Nearest")}) == 2
    assert all(text.endswith("once more") for text in texts if text.startswith("Nearest"))
