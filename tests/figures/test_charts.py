import dataclasses

import numpy as np
import pandas as pd
import pytest

from lib.figures.data_charts import class_counts_figure, size_figure
from lib.figures.result_charts import (
    cell_layout,
    confusion_figure,
    difference_figure,
    interval_figure,
    most_confused,
    probability_figure,
)
from lib.figures.style import STRATEGY_SIGNS, palette, short_names, strategy_style
from lib.figures.training_charts import SHORTEST_S, RunCurves, has_curves, learning_curves_figure, thin
from lib.training.strategies import STRATEGIES


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


def test_learning_curves_over_seconds_count_from_the_start_on_a_logarithmic_axis():
    figure = learning_curves_figure([curves()], "accuracy", x="seconds", is_dark=True)
    assert list(figure.data[0].x) == [SHORTEST_S, 1, 2]  # a logarithm of 0 has no place
    assert figure.layout.xaxis.type == "log"
    begun = dataclasses.replace(curves(), started_s=-9.0)
    assert list(learning_curves_figure([begun], "accuracy", x="seconds", is_dark=True).data[0].x) == [10, 11, 12]


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
    assert [list(pair) for pair in figure.data[1].customdata] == [[0, 0], [0, 1]]  # cells that are not empty
    assert "1 images, 25% of the class" in figure.data[1].hovertext[1]


LONG = [f"{'a' * 197}{number:03d}" for number in range(120)]


@pytest.mark.parametrize("num_classes", [1, 2, 5, 12, 13, 40, 41, 120])
@pytest.mark.parametrize("kind", ["no errors", "constant", "empty", "one image"])
def test_a_confusion_matrix_of_any_size_has_cells_that_can_be_seen(num_classes, kind):
    matrix = {
        "no errors": 3 * np.eye(num_classes, dtype=int),
        "constant": np.tile(np.eye(num_classes, dtype=int)[0], (num_classes, 1)),
        "empty": np.zeros((num_classes, num_classes), dtype=int),
        "one image": np.outer(np.eye(num_classes, dtype=int)[-1], np.eye(num_classes, dtype=int)[0]),
    }[kind]
    figure = confusion_figure(matrix, LONG[:num_classes], LONG[0], True)
    layout, heat = cell_layout(num_classes), figure.data[0]
    assert heat.xgap == heat.ygap == layout.gap_px <= layout.cell_px / 10
    labels = list(figure.layout.yaxis.ticktext)
    assert len(labels) == len(set(labels)) == (num_classes if num_classes <= 40 else 0)
    assert all(len(label) <= 18 for label in labels)
    below = 7.5 * max((len(label) for label in labels), default=0) + 48 if num_classes > 5 else 48
    assert figure.layout.height - 64 - below >= layout.cell_px * num_classes - 1
    assert figure.layout.height <= 900
    assert len(figure.data[1].x) == np.count_nonzero(matrix)
    assert (heat.colorscale[1][1] != figure.layout.paper_bgcolor) and heat.zmax == 1


def test_the_smallest_share_is_tinted_where_no_number_is_written():
    figure = confusion_figure(np.eye(13), LONG[:13], "t", False)
    assert figure.data[0].colorscale[1] == (1e-06, "#C1DAD8")  # a quarter from #FCFCFB to #0F766E
    assert annotations(figure) == []


def test_the_most_confused_classes_come_first_and_keep_the_shares_of_all_images():
    matrix = np.diag([10, 10, 10, 10])
    matrix[1, 3], matrix[3, 1], matrix[0, 1] = 4, 3, 1
    # Errors into and out of a class: 1, 8, 0, 7.
    assert most_confused(matrix).tolist() == [1, 3, 0]
    assert most_confused(matrix, 2).tolist() == [1, 3]
    assert most_confused(np.eye(50)).tolist() == []
    figure = confusion_figure(matrix, ["a", "b", "c", "d"], "t", False, classes=[1, 3])
    np.testing.assert_allclose(figure.data[0].z, [[10 / 14, 4 / 14], [3 / 13, 10 / 13]])
    assert list(figure.layout.yaxis.ticktext) == ["b", "d"]
    assert [list(pair) for pair in figure.data[1].customdata] == [[1, 1], [1, 3], [3, 1], [3, 3]]


def test_long_names_stay_apart():
    short = short_names(LONG, 18)
    assert len(set(short)) == 120
    assert short[7] == "aaaaaaaaaaa…aaa007"
    alike = short_names(["x" * 300, f"{'x' * 150}y{'x' * 149}", "cat"], 12)
    assert len(set(alike)) == 3
    assert all(len(name) <= 12 for name in alike)
    assert alike[2] == "cat"


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


def test_one_point_is_no_curve():
    one = curves(epochs=1)
    assert not has_curves(one.history, "loss")
    assert len(learning_curves_figure([one], "loss", is_dark=False).data) == 0
    summary = pd.DataFrame([("val_accuracy", 0, 0.5, 0)], columns=one.history.columns)  # of a finished run
    assert not has_curves(pd.concat([one.history, summary]), "accuracy")
    assert has_curves(curves(epochs=2).history, "loss")


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


def test_every_strategy_has_a_sign_of_its_own():
    assert set(STRATEGY_SIGNS) == set(STRATEGIES.names)
    assert len({strategy_style(name, True).marker for name in STRATEGIES.names}) == len(STRATEGIES.names)
