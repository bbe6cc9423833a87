import dataclasses

import pandas as pd
import pytest

from lib.figures.training_charts import (
    SHORTEST_S,
    gap_curve,
    has_curves,
    learning_curves_figure,
    mean_of_folds,
    progress_figure,
    progress_text,
    thin,
)
from tests.figures.run_curves import annotations, curves


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


def test_one_point_is_no_curve():
    one = curves(epochs=1)
    assert not has_curves(one.history, "loss")
    assert len(learning_curves_figure([one], "loss", is_dark=False).data) == 0
    summary = pd.DataFrame([("val_accuracy", 0, 0.5, 0)], columns=one.history.columns)  # of a finished run
    assert not has_curves(pd.concat([one.history, summary]), "accuracy")
    assert has_curves(curves(epochs=2).history, "loss")


def history(*rows: tuple[str, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["key", "step", "value"])


HISTORY = history(
    ("train_accuracy", 1, 0.6), ("val_accuracy", 1, 0.5), ("train_accuracy", 2, 0.9), ("val_accuracy", 2, 0.6),
    ("val_accuracy", 3, 0.6), ("step_gradient_norm", 5, 2.5), ("step_learning_rate", 5, 1e-3),
)  # fmt: skip


def test_gap_is_training_minus_validation_where_both_are_known() -> None:
    gap = gap_curve(HISTORY)
    assert gap["step"].tolist() == [1, 2]
    assert gap["value"].tolist() == pytest.approx([0.1, 0.3])


@pytest.mark.parametrize("is_dark", [True, False])
def test_three_panels_keep_their_place_while_empty(is_dark: bool) -> None:
    figure = progress_figure(HISTORY, strategy="full_finetuning", is_dark=is_dark)
    assert [len(trace.x) for trace in figure.data] == [2, 0, 0]  # a single value is written, not drawn
    assert {"2.5 at step 5", "0.001 at step 5"} <= {words.text for words in figure.layout.annotations}
    empty = progress_figure(history(), strategy="full_finetuning", is_dark=is_dark)
    assert [len(trace.x) for trace in empty.data] == [0, 0, 0]
    assert figure.layout.xaxis3.domain == empty.layout.xaxis3.domain


def test_words() -> None:
    assert progress_text(HISTORY) == "Now: gap in accuracy +0.300, gradient norm 2.5, learning rate 0.001."
    assert "nothing measured" in progress_text(history())


def test_learning_curves_over_images_count_what_each_epoch_shows():
    known, unknown = dataclasses.replace(curves("a"), images_per_epoch=400), curves("b")
    figure = learning_curves_figure([known, unknown], "loss", x="images", is_dark=False)
    assert [list(trace.x) for trace in figure.data] == [[400, 800, 1200]] * 2
    assert figure.layout.xaxis.title.text == "Training images seen"
    assert "b" not in annotations(figure)
    assert figure.layout.xaxis.type is None
    far = dataclasses.replace(curves("c"), images_per_epoch=40_000)
    assert learning_curves_figure([known, far], "loss", x="images", is_dark=False).layout.xaxis.type == "log"


def test_curves_of_folds_are_their_mean_as_far_as_all_of_them_go():
    rows = [
        ("fold_1_val_loss", 1, 1.0, 10), ("fold_1_val_loss", 2, 0.5, 20), ("fold_1_val_loss", 3, 0.4, 30),
        ("fold_2_val_loss", 1, 3.0, 40), ("fold_2_val_loss", 2, 1.5, 50), ("test_accuracy", 0, 0.7, 60),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["key", "step", "value", "timestamp_ms"])
    found, num = mean_of_folds(table)
    assert num == 2
    line = found[found["key"] == "val_loss"]
    assert line[["step", "value", "timestamp_ms"]].to_numpy().tolist() == [[1, 2.0, 10], [2, 1.0, 20]]
    assert found["key"].tolist().count("test_accuracy") == 1
    plain = table.iloc[5:]
    assert mean_of_folds(plain)[0] is plain
