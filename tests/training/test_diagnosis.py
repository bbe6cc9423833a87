import math

import pytest

from lib.training.diagnosis import diagnose, generalisation_gap


def history(train_losses: list[float], val_losses: list[float], *, train: float = 0.8, val: float = 0.7) -> list[dict]:
    return [
        {"train_loss": train_loss, "val_loss": val_loss, "train_accuracy": train, "val_accuracy": val}
        for train_loss, val_loss in zip(train_losses, val_losses, strict=True)
    ]


def test_gap_by_hand() -> None:
    assert generalisation_gap({"train_accuracy": 0.9, "val_accuracy": 0.65}) == pytest.approx(0.25)
    assert math.isnan(generalisation_gap({"train_accuracy": 0.9}))


def test_validation_loss_rising_for_three_epochs_while_training_loss_falls_is_overfitting() -> None:
    found = diagnose(history([1.0, 0.8, 0.6, 0.4, 0.2], [1.0, 0.5, 0.55, 0.6, 0.75]))
    assert (found.kind, found.best_epoch) == ("overfitting", 2)
    assert "3 epochs ago" in found.text
    assert "50\u00a0% higher" in found.text


@pytest.mark.parametrize(
    ("train_losses", "val_losses"),
    [
        ([1.0, 0.8, 0.6, 0.4], [1.0, 0.5, 0.6, 0.7]),  # two epochs only
        ([1.0, 0.8, 0.9, 0.9, 0.9], [1.0, 0.5, 0.6, 0.7, 0.8]),  # the training loss does not fall
        ([1.0, 0.8, 0.6, 0.4, 0.2], [1.0, 0.5, 0.502, 0.503, 0.505]),  # a rise of 1 %
        ([1.0, 0.8, 0.6, 0.4, 0.2], [1.0, 0.9, 0.8, 0.7, 0.6]),  # both fall
    ],
)
def test_less_than_that_is_not(train_losses: list[float], val_losses: list[float]) -> None:
    assert diagnose(history(train_losses, val_losses)).kind == "fine"


def test_flat_losses_on_images_that_are_not_learned_are_underfitting() -> None:
    flat = [1.6] * 6
    assert diagnose(history(flat, flat, train=0.3, val=0.3)).kind == "underfitting"
    assert diagnose(history(flat, flat, train=0.95, val=0.93)).kind == "fine"  # learned
    assert diagnose(history(flat, flat, train=0.6, val=0.3)).kind == "fine"  # a gap: no lack of capacity
    falling = [1.6, 1.5, 1.4, 1.3, 1.2, 1.1]
    assert diagnose(history(falling, flat, train=0.3, val=0.3)).kind == "fine"
    assert diagnose(history([1.6] * 5, [1.6] * 5, train=0.3, val=0.3)).kind == "fine"  # five epochs are no trend


@pytest.mark.parametrize("epochs", [[], history([1.0], [1.0]), history([1.0, math.nan], [1.0, 0.9])])
def test_says_when_it_cannot_tell(epochs: list[dict]) -> None:
    assert diagnose(epochs).kind == "early"
