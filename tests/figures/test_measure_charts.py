import numpy as np
import pytest

from lib.data.image_measures import MEASURES
from lib.figures.measure_charts import MAX_ROWS, MeasureRow, bin_edges, distribution_figure, most_telling, rows_of

TARGETS, SPLIT = np.array([0, 0, 1, 1, 1]), np.array(["train", "test", "train", "test", "excluded"])
VALUES = np.array([1.0, 2.0, 3.0, 4.0, 100.0])


def test_rows_by_class_and_split_leave_out_what_is_excluded():
    by_class = rows_of(VALUES, TARGETS, SPLIT, ["cat", "dog"], by="class")
    assert [(row.label, row.values.tolist()) for row in by_class] == [("cat", [1, 2]), ("dog", [3, 4])]
    assert [row.split for row in rows_of(VALUES, TARGETS, SPLIT, ["cat", "dog"], by="split")] == ["train", "test"]
    both = rows_of(VALUES, TARGETS, SPLIT, ["cat", "dog"], by="both")
    assert [row.label for row in both] == ["cat, training", "cat, test", "dog, training", "dog, test"]


def test_every_image_is_in_a_bar_and_a_bar_knows_its_range():
    rows = [MeasureRow("a", np.arange(100.0)), MeasureRow("none", np.empty(0)), MeasureRow("b", np.full(7, 50.0))]
    figure = distribution_figure(rows, MEASURES["brightness"], is_dark=False, between=(10, 20))
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [sum(cell[2] for cell in trace.customdata) for trace in bars] == [100, 7]
    assert [trace.base for trace in bars] == [1.0, 0.0]  # the first row on top
    low, high, count = next(cell for cell in bars[1].customdata if cell[2])
    assert low <= 50 <= high
    assert count == 7
    assert [line.x for line in figure.data if line.type == "scatter"] == [(49.5, 49.5), (50, 50)]
    assert (figure.layout.shapes[0].x0, figure.layout.shapes[0].x1) == (10, 20)


def test_one_odd_image_does_not_press_the_scale():
    values = np.concatenate([np.linspace(0, 1, 2000), [1000.0]])
    edges = bin_edges(values)
    assert edges[0] == 0
    assert edges[-1] < 1.1
    assert bin_edges(np.linspace(0, 1, 100))[[0, -1]].tolist() == [0, 1]
    assert np.all(np.diff(bin_edges(np.full(5, 3.0))) > 0)
    assert len(bin_edges(np.arange(20.0), 4)) == 17


@pytest.mark.parametrize(("number", "shown"), [(MAX_ROWS, MAX_ROWS), (60, MAX_ROWS)])
def test_of_many_classes_the_lowest_and_highest(number: int, shown: int):
    rows = most_telling([MeasureRow(str(k), np.array([float(k)])) for k in reversed(range(number))])
    assert len(rows) == shown
    assert {row.label for row in rows} >= {"0", str(number - 1)}
