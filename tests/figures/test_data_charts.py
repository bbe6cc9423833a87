import pandas as pd
import pytest

from lib.figures.data_charts import class_counts_figure, size_figure


def test_class_counts_stack_the_splits_in_class_order():
    counts = pd.DataFrame(
        {"class_name": ["z", "z", "a", "a"], "split": ["train", "test", "train", "test"], "count": [6, 2, 3, 1]}
    )
    figure = class_counts_figure(counts, False)
    assert [trace.name for trace in figure.data] == ["Training", "Test"]
    assert list(figure.data[0].x) == [6, 3]
    assert list(figure.layout.yaxis.ticktext) == ["z", "a"]


def test_sizes_are_counted():
    figure = size_figure(pd.DataFrame({"width": [10, 10, 30], "height": [20, 20, 5]}), True)
    assert sorted(figure.data[0].customdata) == [1, 2]


LONG = [f"{'a' * 197}{number:03d}" for number in range(120)]


@pytest.mark.parametrize(("num_classes", "num_rows"), [(1, 1), (2, 2), (40, 40), (41, 24), (120, 24)])
def test_class_counts_of_many_classes_show_the_largest_and_the_smallest(num_classes, num_rows):
    rows = [(LONG[k], split, 3 * (k + 1)) for k in range(num_classes) for split in ("train", "test")]
    figure = class_counts_figure(pd.DataFrame(rows, columns=["class_name", "split", "count"]), False)
    labels = list(figure.layout.yaxis.ticktext)
    assert len(labels) == len(set(labels)) == num_rows
    assert figure.layout.height <= 96 + 24 + 20 * 40
    if num_classes > 40:
        assert figure.data[0].x[0] == 3 * num_classes
        assert figure.data[0].x[-1] == 3
        assert figure.layout.title.text == f"The 12 largest and the 12 smallest of {num_classes} classes"
