import numpy as np
import pandas as pd
import pytest

from lib.figures import (
    RunCurves,
    class_counts_figure,
    confusion_figure,
    has_curves,
    interval_figure,
    learning_curves_figure,
    probability_figure,
    size_figure,
)
from lib.figures.training_charts import thin


def curves(label="probe", strategy="full_finetuning", epochs=3):
    rows = [
        (key, step, 1.0 / step, 1000 * step)
        for key in ("train_loss", "val_loss", "val_accuracy")
        for step in range(1, epochs + 1)
    ]
    return RunCurves(label, strategy, pd.DataFrame(rows, columns=["key", "step", "value", "timestamp_ms"]))


def annotations(figure):
    return [annotation.text for annotation in figure.layout.annotations]


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


def test_learning_curves_draw_validation_and_training_with_a_direct_label():
    figure = learning_curves_figure([curves("a"), curves("b", "from_scratch")], "loss", is_dark=False)
    assert len(figure.data) == 4
    assert "a" in annotations(figure)
    assert "b" in annotations(figure)
    assert list(figure.data[0].x) == [1, 2, 3]


def test_learning_curves_over_seconds_begin_at_zero():
    figure = learning_curves_figure([curves()], "accuracy", x="seconds", is_dark=True)
    assert list(figure.data[0].x) == [0, 1, 2]


def test_learning_curves_of_a_run_without_that_metric_are_empty():
    figure = learning_curves_figure([curves()], "auroc", is_dark=True)
    assert len(figure.data) == 0
    assert not has_curves(curves().history, "auroc")


def test_long_curves_are_thinned_but_keep_their_ends():
    table = thin(pd.DataFrame({"x": range(5000)}))
    assert len(table) <= 1000
    assert table["x"].iloc[0] == 0
    assert table["x"].iloc[-1] == 4999


def test_intervals_are_written_out_and_missing_ones_left_out():
    results = pd.DataFrame(
        {"label": ["a", "b"], "strategy": ["linear_probe", "from_scratch"], "value": [0.9, 0.5], "low": [0.8, np.nan],
         "high": [0.95, np.nan]}
    )  # fmt: skip
    figure = interval_figure(results, title="Accuracy", is_dark=False, chance=0.5)
    assert "0.900 (0.800 to 0.950)" in annotations(figure)
    assert "0.500" in annotations(figure)
    assert len(figure.data) == 3  # one line, two dots


def test_confusion_colours_are_shares_of_the_true_class():
    figure = confusion_figure(np.array([[3, 1], [0, 0]]), ["cat", "dog"], "t", False)
    np.testing.assert_allclose(figure.data[0].z, [[0.75, 0.25], [0, 0]])
    assert annotations(figure) == ["3", "1", "0", "0"]


def test_probabilities_mark_the_largest():
    figure = probability_figure([0.1, 0.7, 0.2], ["a", "b", "c"], False)
    colors = figure.data[0].marker.color
    assert colors[1] != colors[0] == colors[2]
    assert list(figure.data[0].text) == ["10.0%", "70.0%", "20.0%"]
    assert figure.layout.xaxis.range[1] >= 1.3  # room for "100.0%" behind a full bar


@pytest.mark.parametrize("is_dark", [False, True])
def test_names_with_markup_stay_literal(is_dark):
    name = "<b>x</b>$y$"
    counts = pd.DataFrame({"class_name": [name], "split": ["train"], "count": [1]})
    for figure in (
        class_counts_figure(counts, is_dark),
        confusion_figure(np.eye(2), [name, "b"], name, is_dark),
        probability_figure([1.0], [name], is_dark),
        learning_curves_figure([curves(name)], "loss", is_dark=is_dark),
    ):
        assert "<b>" not in figure.to_json().replace("\\u003c", "<")


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
