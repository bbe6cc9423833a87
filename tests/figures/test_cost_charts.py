import math

import pytest

from lib.evaluation.resampling import Estimate
from lib.figures.cost_charts import (
    CostPoint,
    SizeSeries,
    cost_figure,
    cost_table,
    pareto_front,
    size_figure,
    size_table,
)
from tests.figures.run_curves import annotations


def point(name, value, cost):
    return CostPoint(name, "linear_probe", Estimate(value, value - 0.1, value + 0.1), cost)


# b is beaten by a at a lower cost, d by c at the same cost; e and f are not known.
POINTS = [point("a", 0.7, 10), point("b", 0.6, 20), point("c", 0.9, 400), point("d", 0.8, 400),
          point("e", 0.99, math.nan), point("f", math.nan, 1)]  # fmt: skip


def test_the_front_is_who_is_beaten_by_none_at_the_same_or_a_lower_cost():
    assert pareto_front(POINTS) == [0, 2]
    # Where less is better: b beats a only at a higher cost, and nobody beats a at 10.
    assert pareto_front(POINTS, is_lower_better=True) == [0, 1]
    assert pareto_front([]) == pareto_front(POINTS[4:]) == []
    table = cost_table(POINTS, "seconds")
    assert table["is_on_front"].tolist() == [True, False, True, False, False, False]
    assert table["seconds"].tolist()[:4] == [10, 20, 400, 400]


@pytest.mark.parametrize("cost_title", ["Seconds", "Trained parameters"])
@pytest.mark.parametrize("number", [0, 1, 2, 6])
def test_points_are_numbered_and_named(cost_title, number):
    figure = cost_figure(POINTS[:number], title="Accuracy", cost_title=cost_title, is_dark=False)
    drawn = min(number, 4)
    marks = [trace for trace in figure.data if trace.error_y.array is not None]
    assert len(marks) == drawn
    written = annotations(figure)
    for place, one in enumerate(POINTS[:drawn], start=1):
        assert any(text.startswith(f"<b>{place}  </b>{one.label}") for text in written)
        assert f"<b>{place}</b>" in written
    fronts = [trace for trace in figure.data if trace.line.dash == "dot"]
    assert [list(trace.y) for trace in fronts] == ([[0.7, 0.9]] if number == 6 else [])


def test_no_trained_parameter_stands_left_of_all_others():
    figure = cost_figure([point("k-NN", 0.5, 0), point("probe", 0.6, 6405)], title="t",
                         cost_title="Trained parameters", is_dark=True)  # fmt: skip
    assert "none" in figure.layout.xaxis.ticktext
    assert any("none trained" in text for text in annotations(figure))


def test_sizes_stand_on_one_axis_with_their_intervals():
    series = [SizeSeries("Probe", "linear_probe", (40, 120, 400), tuple(Estimate(v, v - 0.1, v + 0.1) for v in
                                                                       (0.5, 0.6, 0.7))),
              SizeSeries("Full", "full_finetuning", (40,), (Estimate(0.3, math.nan, math.nan),))]  # fmt: skip
    figure = size_figure(series, title="Accuracy", is_dark=False)
    assert list(figure.layout.xaxis.ticktext) == ["40", "120", "400"]
    first, second = figure.data
    assert list(first.error_y.arrayminus) == pytest.approx([0.1] * 3)
    assert list(second.error_y.array) == [0.0]
    assert any("0.500 → 0.600 → 0.700" in text for text in annotations(figure))
    assert size_table(series)["training_images"].tolist() == [40, 120, 400, 40]
    assert len(size_figure([], title="t", is_dark=False).data) == len(size_table([])) == 0
