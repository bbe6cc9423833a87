import pandas as pd
import pytest

from lib.figures.training_charts import gap_curve, progress_figure, progress_text


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
