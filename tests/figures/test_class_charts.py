"""Figures of each class: every run a line in each class's block, and of very many classes the hardest ones."""

import numpy as np
import pytest

from lib.evaluation.classes import class_intervals
from lib.figures.class_charts import MAX_LINES, ClassFigures, class_figure, class_table, hardest_classes
from tests.figures.run_curves import annotations


def run(num_classes=3, label="probe", wrong=1, seed=0):
    generator = np.random.default_rng(seed)
    targets = np.repeat(np.arange(num_classes), 4)
    answers = np.where(generator.random(len(targets)) < 0.3, (targets + wrong) % num_classes, targets)
    names = [f"class {number}" for number in range(num_classes)]
    return ClassFigures(label, "linear_probe", class_intervals(targets, answers, names))


def test_a_dot_and_an_interval_for_each_measure_and_the_number_of_images():
    one = run()
    figure = class_figure([one], one.table["class_name"].tolist(), is_dark=False)
    dots = [trace for trace in figure.data if getattr(trace, "mode", "") == "markers"]
    np.testing.assert_allclose([dot.x for dot in dots], one.table[["precision", "recall", "f1"]].to_numpy().T)
    lines = [trace for trace in figure.data if getattr(trace, "mode", "") == "lines"]
    np.testing.assert_allclose(lines[1].x[:2], one.table.loc[0, ["recall_low", "recall_high"]].astype(float))
    assert np.isnan(lines[1].x[2])
    (bars,) = [trace for trace in figure.data if trace.type == "bar"]
    assert list(bars.text) == ["4", "4", "4"]
    assert annotations(figure) == ["Precision", "Recall", "F1", "Images"]


def test_several_runs_have_their_numbers_in_each_block():
    runs = [run(label="probe"), run(label="svm <b>", seed=1)]
    figure = class_figure(runs, list("abc"), is_dark=True)
    texts = annotations(figure)
    assert "<b>1</b> probe" in texts
    assert "<b>2</b> svm &lt;b&gt;" in texts
    assert texts.count("2") == 3
    first, second = [trace.y for trace in figure.data if getattr(trace, "mode", "") == "markers"][:2]
    assert np.all(second > first)
    assert len(class_table(runs)) == 6


@pytest.mark.parametrize(("num_classes", "num_runs"), [(2, 1), (2, 8), (5, 8), (101, 1), (101, 2), (101, 8)])
def test_any_number_of_classes_and_runs_stays_readable(num_classes, num_runs):
    runs = [run(num_classes, seed=seed) for seed in range(num_runs)]
    kept = hardest_classes(runs)
    figure = class_figure(runs, runs[0].table["class_name"].tolist(), is_dark=False)
    assert len(kept) * num_runs <= MAX_LINES
    assert len(kept) == num_classes or len(kept) < num_classes == 101
    assert figure.layout.height <= 1200


def test_the_hardest_classes_come_first_and_one_without_images_last():
    one = run(101)
    one.table.loc[7, "f1"], one.table.loc[9, "f1"] = -1.0, np.nan
    kept = hardest_classes([one])
    assert kept[0] == 7
    assert 9 not in kept
