import json
import math
from dataclasses import replace

import numpy as np
import pytest

from lib.evaluation.calibration import Calibration
from lib.training.config import TrainConfig
from lib.training.results import (
    RunSummary,
    SplitPredictions,
    bundle_manifest,
    calibration_of_answers,
    diagnose,
    evaluate_folds,
    evaluate_split,
    generalisation_gap,
    prediction_table,
)
from tests.features.tiny_dataset import TinyDataset


def sure(classes: list[int], num_classes: int = 2) -> np.ndarray:
    return np.eye(num_classes)[classes] * 0.8 + 0.2 / num_classes


def test_test_set_metrics_with_wilson_interval_by_hand() -> None:
    targets = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    metrics = evaluate_split(targets, sure([0, 0, 0, 1, 1, 1, 1, 1, 1, 1]), is_ordinal=False, groups=None, seed=0)
    assert metrics["accuracy"] == pytest.approx(0.9)
    assert metrics["balanced_accuracy"] == pytest.approx((0.75 + 1) / 2)
    # Wilson, 9 of 10, z = 1.96: centre (0.9 + 0.192) / 1.384 = 0.789, half width 0.1934 around it.
    assert metrics["accuracy_low"] == pytest.approx(0.596, abs=1e-3)
    assert metrics["accuracy_high"] == pytest.approx(0.982, abs=1e-3)
    # Kappa: observed 0.9, by chance 0.4 * 0.3 + 0.6 * 0.7 = 0.54: (0.9 - 0.54) / 0.46.
    assert metrics["quadratic_weighted_kappa"] == pytest.approx(0.36 / 0.46)
    assert math.isnan(metrics["quadratic_weighted_kappa_low"])  # ten images are too few for a bootstrap
    often = [np.repeat(one, 4, axis=0) for one in (targets, sure([0, 0, 0, 1, 1, 1, 1, 1, 1, 1]))]
    more = evaluate_split(*often, is_ordinal=False, groups=None, seed=0)
    assert more["quadratic_weighted_kappa_low"] < 0.36 / 0.46 < more["quadratic_weighted_kappa_high"]
    assert more["accuracy_high"] - more["accuracy_low"] < metrics["accuracy_high"] - metrics["accuracy_low"]
    # Four photographs of each of 30 patients say less than 120 photographs of as many.
    targets, answers = (np.repeat(np.tile(one, 3), 4) for one in (targets, [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]))
    names = np.repeat([f"patient {number}" for number in range(30)], 4)
    alone, together = (
        evaluate_split(targets, sure(answers), is_ordinal=False, groups=groups, seed=0) for groups in (None, names)
    )
    assert together["accuracy_low"] < alone["accuracy_low"] - 0.05


def test_kappa_of_unordered_classes_stays_undefined() -> None:
    metrics = evaluate_split(np.array([0, 1, 2]), sure([0, 1, 2], 3), is_ordinal=False, groups=None, seed=0)
    assert math.isnan(metrics["quadratic_weighted_kappa"])
    assert math.isnan(metrics["quadratic_weighted_kappa_low"])


def test_fold_metrics_are_means_over_folds() -> None:
    targets = np.array([0, 1, 0, 1])
    folds = [
        SplitPredictions("test", np.array([0, 1]), sure([0, 1]), 0),
        SplitPredictions("test", np.array([2, 3]), sure([0, 0]), 1),
    ]
    metrics = evaluate_folds(targets, folds, is_ordinal=False)
    assert metrics["accuracy"] == pytest.approx((1.0 + 0.5) / 2)
    assert metrics["accuracy_low"] <= 0.75 <= metrics["accuracy_high"]
    assert metrics["balanced_accuracy"] == pytest.approx(0.75)


def test_prediction_table_has_one_row_an_image() -> None:
    dataset = TinyDataset(num_images=6)
    parts = [
        SplitPredictions("out_of_fold", np.array([4]), sure([0])),
        SplitPredictions("test", np.array([1, 5]), sure([1, 0]), fold=2),
    ]
    table = prediction_table(dataset, parts)
    assert list(table.columns) == ["image_id", "split", "fold", "target", "probability_0", "probability_1"]
    assert table["image_id"].tolist() == [f"{row:016x}" for row in (4, 1, 5)]
    assert table["split"].tolist() == ["out_of_fold", "test", "test"]
    assert table["target"].tolist() == [0, 1, 1]
    assert table["probability_1"].tolist() == pytest.approx([0.1, 0.9, 0.1])


@pytest.mark.parametrize(
    ("parts", "num", "is_out_of_fold"),
    [(("val", "test"), 30, False), (("out_of_fold", "test"), 30, True), (("test", "test"), 60, True)],
)
def test_a_calibration_says_whether_other_fits_gave_its_answers(
    parts: tuple[str, str], num: int, is_out_of_fold: bool
) -> None:
    classes = [row % 2 for row in range(30)]
    predictions = [SplitPredictions(part, np.arange(30), sure(classes), fold=n) for n, part in enumerate(parts)]
    table = prediction_table(TinyDataset(num_images=30), predictions)
    found = calibration_of_answers(table, is_ordinal=False, class_names=("a", "b"))
    calibration = Calibration.from_dict(found["calibration"])
    assert (calibration.num, calibration.is_out_of_fold) == (num, is_out_of_fold)


def test_answers_to_images_that_cannot_be_graded_make_no_sets_wider() -> None:
    classes = [row % 2 for row in range(80)]
    probabilities = sure(classes)
    probabilities[:40] = probabilities[:40, ::-1]  # the first half is spoiled, and answered wrong
    dataset = TinyDataset(num_images=80)
    table = prediction_table(dataset, [SplitPredictions("val", np.arange(80), probabilities)])
    gradable = set(dataset.table["image_id"][40:])
    every, good = (
        calibration_of_answers(table, is_ordinal=False, class_names=("a", "b"), gradable=ids)["calibration"]
        for ids in (set(dataset.table["image_id"]), gradable)
    )
    assert (every["num"], every["fitted_on"]) == (80, "validation images")
    assert (good["num"], good["fitted_on"]) == (40, "validation images, ungradable ones left out")
    assert good["set_limits"][30] < every["set_limits"][30]


def test_manifest_says_what_grading_needs() -> None:
    dataset = TinyDataset()
    dataset.spec = replace(dataset.spec, is_medical=True, crop_policy="retina_box")
    metrics = {
        "accuracy": 0.9, "balanced_accuracy": 0.8, "quadratic_weighted_kappa": math.nan, "auroc": 0.7, "log_loss": 0.3,
        "macro_f1": 0.8, "calibration_error": 0.05,
    }  # fmt: skip
    manifest = bundle_manifest(
        TrainConfig(dataset="tiny", backbone="mobilenet_v2"), dataset, metrics, run_id="r1", frozen_dtype="float32"
    )
    assert manifest["classes"] == ["a", "b"]
    assert manifest["preprocessing"]["input_size_px"] == 224
    assert manifest["preprocessing"]["crop_policy"] == "retina_box"
    assert manifest["dataset"]["is_medical"] is True
    assert manifest["metrics"]["test_quadratic_weighted_kappa"] is None
    assert json.loads(json.dumps(manifest, allow_nan=False)) == manifest


def test_summary_round_trip_through_json() -> None:
    numbers = {
        field: 0.5
        for field in RunSummary.__dataclass_fields__
        if field.startswith(("test_", "val_", "seconds_", "images_", "peak_"))
    }
    texts = dict.fromkeys(
        ("run_id", "state", "dataset", "dataset_version", "backbone", "weights", "strategy", "dtype"), "x"
    )
    counts = dict.fromkeys(("num_train", "num_val", "num_test", "num_threads"), 3)
    summary = RunSummary(**{**numbers, "test_auroc": math.nan}, **texts, **counts)
    stored = json.loads(json.dumps(summary.to_dict(), allow_nan=False))
    assert stored["test_auroc"] is None
    back = RunSummary.from_dict(stored)
    assert math.isnan(back.test_auroc)
    assert back.to_dict() == summary.to_dict()


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
