"""What a run leaves behind: figures, predictions, the manifest of its classifier, and what its curves say."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from lib.evaluation.calibration import BY_OTHERS, calibration_entry
from lib.evaluation.intervals import Interval, metric_interval
from lib.evaluation.metric_table import METRICS
from lib.evaluation.metrics import evaluate_predictions, fold_interval
from lib.evaluation.verdict import fit_thresholds, kappa_by_thresholds
from lib.models.backbones import BACKBONES
from lib.training.config import TrainConfig
from lib.training.network import last_frozen_stage
from lib.training.protocols import Dataset

# Parts of the table of predictions: images that validated beside the training, images of training and validation that
# were each answered by a classifier that had not seen them, and test images.
VALIDATION, OUT_OF_FOLD, TEST = "val", "out_of_fold", "test"
MANIFEST_METRICS = tuple(METRICS)
# What a calibration was fitted on, by the part of the predictions; of test images only where folds answered them.
ANSWERED_IN = {
    VALIDATION: "validation images",
    OUT_OF_FOLD: f"training and validation images, {BY_OTHERS} a classifier that had not seen it",
    TEST: f"images, {BY_OTHERS} the fold that had not seen it",
}


@dataclass(frozen=True)
class SplitPredictions:
    """Probabilities (n, K) of the images `rows` (n,) of one part of one fold (0 without folds).

    `part` is "val", "out_of_fold" or "test"; no answer is that of a classifier that was fitted on the image.
    """

    part: str
    rows: np.ndarray
    probabilities: np.ndarray
    fold: int = 0


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """The figures of a finished run; fractions, seconds, MiB. NaN where a metric is undefined."""

    run_id: str
    state: str
    dataset: str
    dataset_version: str
    backbone: str
    weights: str
    strategy: str
    test_accuracy: float
    test_accuracy_low: float
    test_accuracy_high: float
    test_balanced_accuracy: float
    test_quadratic_weighted_kappa: float
    test_quadratic_weighted_kappa_low: float
    test_quadratic_weighted_kappa_high: float
    test_auroc: float
    test_log_loss: float
    val_accuracy: float
    num_train: int
    num_val: int
    num_test: int
    seconds_total: float
    seconds_features: float
    seconds_training: float
    images_per_second: float
    peak_rss_mib: float
    dtype: str
    num_threads: int
    num_folds: int = 0
    fold_test_accuracies: list[float] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    # Of grades: the expected grade, cut at limits that were fitted on answers in validation alone.
    test_quadratic_weighted_kappa_by_thresholds: float = float("nan")
    # What the run is judged by and what stands beside it (lib/evaluation/headline.py).
    headline: str = ""
    baseline_class: str = ""
    test_baseline_accuracy: float = float("nan")
    test_referable_auroc: float = float("nan")
    test_referable_auroc_low: float = float("nan")
    test_referable_auroc_high: float = float("nan")
    test_set: str = ""
    test_macro_f1: float = float("nan")
    test_calibration_error: float = float("nan")
    test_balanced_accuracy_low: float = float("nan")
    test_balanced_accuracy_high: float = float("nan")
    test_macro_f1_low: float = float("nan")
    test_macro_f1_high: float = float("nan")
    test_auroc_low: float = float("nan")
    test_auroc_high: float = float("nan")
    test_log_loss_low: float = float("nan")
    test_log_loss_high: float = float("nan")
    test_calibration_error_low: float = float("nan")
    test_calibration_error_high: float = float("nan")
    split_caveat: str = ""  # what is to be said of every score here, such as that patients were not kept together

    def to_dict(self) -> dict[str, Any]:
        """Values that JSON can hold: an undefined metric is None."""
        return {key: _plain(value) for key, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "RunSummary":
        """Rebuild from `to_dict`."""
        values: dict[str, Any] = {key: float("nan") if value is None else value for key, value in content.items()}
        return cls(**values)


def evaluate_split(
    targets: np.ndarray, probabilities: np.ndarray, *, is_ordinal: bool, groups: np.ndarray | None, seed: int = 0
) -> dict[str, float]:
    """Metrics of one test set, each with its 95 % interval over patients, or over images where they stand alone."""
    measured = evaluate_predictions(targets, probabilities, is_ordinal=is_ordinal)
    metrics: dict[str, float] = {}
    for key, metric in METRICS.items():
        found = Interval(math.nan)
        if np.isfinite(measured[key]):
            found = metric_interval(metric, targets, probabilities, groups=groups, seed=seed)
        metrics |= {key: measured[key], f"{key}_low": found.low, f"{key}_high": found.high}
    return metrics


def evaluate_folds(targets: np.ndarray, folds: list[SplitPredictions], *, is_ordinal: bool) -> dict[str, float]:
    """Means over the test sets of the folds, with intervals over the folds."""
    each = [evaluate_predictions(targets[fold.rows], fold.probabilities, is_ordinal=is_ordinal) for fold in folds]
    metrics: dict[str, float] = {}
    for key, metric in METRICS.items():
        mean, low, high = fold_interval([one[key] for one in each], limits=metric.limits)
        metrics |= {key: mean, f"{key}_low": low, f"{key}_high": high}
    return metrics


def thresholds_of(
    targets: np.ndarray, validation: SplitPredictions, test: SplitPredictions, *, is_ordinal: bool
) -> tuple[list[float], float]:
    """Limits of the expected grade, fitted on the answers in validation, and the test images' kappa with them.

    Nothing and NaN where classes have no order, or are only two.
    """
    limits = limits_of(targets, validation) if is_ordinal else []
    if not limits:
        return [], float("nan")
    return limits, kappa_by_thresholds(targets[test.rows], test.probabilities, limits)


def limits_of(targets: np.ndarray, validation: SplitPredictions) -> list[float]:
    """Limits of the expected grade (K - 1), fitted on answers in validation; none for two classes."""
    if validation.probabilities.shape[1] < 3:
        return []
    return [float(limit) for limit in fit_thresholds(targets[validation.rows], validation.probabilities)]


def prediction_table(dataset: Dataset, predictions: list[SplitPredictions]) -> "pd.DataFrame":
    """One row an image: image_id, split, fold, target, probability_0 ... probability_{K-1}."""
    tables = []
    for part in predictions:
        chosen = dataset.table.iloc[part.rows]
        columns: dict[str, Any] = {
            "image_id": chosen["image_id"].to_numpy(),
            "split": part.part,
            "fold": part.fold,
            "target": chosen["target"].to_numpy().astype(np.int64),
        }
        columns |= {f"probability_{k}": part.probabilities[:, k] for k in range(part.probabilities.shape[1])}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def calibration_of_answers(
    table: "pd.DataFrame", *, is_ordinal: bool, class_names: Sequence[str], gradable: Collection[str] | None = None
) -> dict[str, Any]:
    """What a manifest says of the calibration, fitted on the answers of a `prediction_table` to unseen images.

    These are the answers in validation, which no classifier gave that was fitted on the image; of a run with folds the
    answers to all images, each by the fold that had not seen it. The test images of a split are never used.

    With `gradable`, ids of images that the data set does not call ungradable, others are left out: grading turns such
    images away, and answers to them would widen the sets of those that are graded.
    """
    own = table[table["split"] != TEST]
    fitted_on = ANSWERED_IN[VALIDATION if (own["split"] == VALIDATION).all() else OUT_OF_FOLD]
    if not len(own) and table["fold"].nunique() > 1:
        own, fitted_on = table, ANSWERED_IN[TEST]
    if gradable is not None:
        is_good = own["image_id"].isin(gradable)
        own, fitted_on = own[is_good], fitted_on + ("" if is_good.all() else ", ungradable ones left out")
    names = [f"probability_{number}" for number in range(len(class_names))]
    return calibration_entry(
        own["target"].to_numpy(np.int64), own[names].to_numpy(np.float64),
        is_ordinal=is_ordinal, fitted_on=fitted_on, class_names=class_names,
    )  # fmt: skip


def bundle_manifest(
    config: TrainConfig,
    dataset: Dataset,
    metrics: dict[str, float],
    *,
    run_id: str,
    frozen_dtype: str,
    is_out_of_fold: bool = False,
    enhancement: dict[str, Any] | None = None,
    engine: str = "torch",
) -> dict[str, Any]:
    """What must be known to use the classifier later: classes, preprocessing, origin and what it reached.

    With `is_out_of_fold` its weights come from the validation images too, each of which was answered by a classifier
    that had not seen it. `engine` computed the frozen stages.
    """
    spec, data = BACKBONES.get(config.backbone), dataset.spec
    return {
        "run_id": run_id,
        "classes": list(data.class_names),
        "class_map": getattr(dataset, "class_map", None),
        "preprocessing": {
            "backbone": spec.name,
            "input_size_px": config.input_size_px or spec.input_size_px,
            "mean": list(spec.mean),
            "std": list(spec.std),
            "interpolation": spec.interpolation,
            "crop_fraction": spec.crop_fraction,
            "crop_policy": data.crop_policy,
            "store_side_px": data.store_side_px,
            "value_scale": data.value_scale.to_dict() if data.value_scale else None,
            "dtype": frozen_dtype,
            "enhancement": enhancement,
        },
        "engine": {"name": engine, "stage": last_frozen_stage(config)},
        "dataset": {
            "split_caveat": data.split_caveat,
            "name": data.name,
            "title": data.title,
            "version": dataset.version,
            "is_medical": data.is_medical,
            "is_ordinal": data.is_ordinal,
        },
        "backbone": config.backbone,
        "strategy": config.strategy,
        "metrics": {f"test_{key}": _plain(metrics[key]) for key in MANIFEST_METRICS},
        **_described_images(config, is_out_of_fold=is_out_of_fold),
        "config": config.to_dict(),
    }


def _described_images(config: TrainConfig, *, is_out_of_fold: bool) -> dict[str, str]:
    """What the kept weights come from, and whose answers chose penalty or epoch, fitted limits and are called val_."""
    if is_out_of_fold:
        trained_on = "all images" if config.num_folds else "the training and validation images"
        return {"trained_on": trained_on, "validated_on": f"{trained_on}, each held out once (out of fold)"}
    trained_on, validated_on = "the training images", "the validation images"
    if config.num_folds:
        validated_on += " of fold 0"
        trained_on = f"all images but {validated_on}"
    return {"trained_on": trained_on, "validated_on": validated_on}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


RISING_EPOCHS = 3
MIN_RISE = 0.02  # of the lowest validation loss
SLOW_EPOCHS = 5
MIN_FALL = 0.01  # of the loss, over SLOW_EPOCHS epochs
LEARNED_ACCURACY = 0.9
SMALL_GAP = 0.05

Epoch = Mapping[str, float]


@dataclass(frozen=True)
class Diagnosis:
    """`kind` is "overfitting", "underfitting", "fine" or "early" (too few epochs to tell); `text` says it."""

    kind: str
    text: str
    best_epoch: int = 0


def generalisation_gap(epoch: Epoch) -> float:
    """Training minus validation accuracy; NaN where one of them is missing. Above 0: training images are better."""
    return float(epoch.get("train_accuracy", math.nan)) - float(epoch.get("val_accuracy", math.nan))


def diagnose(history: Sequence[Epoch]) -> Diagnosis:
    """Judge the epochs so far, the first one first, by two rules that a person can follow on the picture.

    Overfitting: the validation loss has been above its lowest value for `RISING_EPOCHS` epochs, the last of them by at
    least `MIN_RISE`, while the training loss went on falling (Prechelt 1998, "Early stopping, but when?").
    Underfitting: after `SLOW_EPOCHS` epochs both losses fall by less than `MIN_FALL` over the last `SLOW_EPOCHS` while
    training accuracy stays below `LEARNED_ACCURACY`, and not better than validation by more than `SMALL_GAP`.

    Args:
        history: train_loss, val_loss, train_accuracy and val_accuracy (fractions) of each finished epoch.
    """
    val_losses = [float(epoch.get("val_loss", math.nan)) for epoch in history]
    train_losses = [float(epoch.get("train_loss", math.nan)) for epoch in history]
    if len(history) < 2 or not all(map(math.isfinite, [*val_losses, *train_losses])):
        return Diagnosis("early", "Too early to tell: trends need a few epochs.")
    best = val_losses.index(min(val_losses))
    since, last = len(history) - 1 - best, history[-1]
    if (
        since >= RISING_EPOCHS
        and val_losses[-1] >= val_losses[best] * (1 + MIN_RISE)
        and (train_losses[-1] < train_losses[best])
    ):
        rise = 100 * (val_losses[-1] / val_losses[best] - 1)
        return Diagnosis(
            "overfitting",
            f"Overfitting: the validation loss was lowest {since} epochs ago (epoch {best + 1}; now {rise:.0f}\u00a0% "
            f"higher) while the training loss still falls. The weights of epoch {best + 1} are kept; more images, "
            "augmentation, weight decay or frozen stages help.",
            best + 1,
        )
    if len(history) > SLOW_EPOCHS and not _has_fallen(val_losses, train_losses) and _is_unlearned(last):
        return Diagnosis(
            "underfitting",
            f"Underfitting: for {SLOW_EPOCHS} epochs neither loss has fallen noticeably, and even the training images "
            f"are not learned (accuracy {100 * last['train_accuracy']:.0f}\u00a0%). A higher learning rate, "
            "more trained stages or less regularisation help.",
            best + 1,
        )
    if len(history) <= RISING_EPOCHS:
        return Diagnosis("early", "Too early to tell: trends need a few epochs.", best + 1)
    state = "the validation loss is at its lowest"
    if since:
        state = f"the validation loss was lowest {since} epoch{'s' if since > 1 else ''} ago (epoch {best + 1})"
    return Diagnosis("fine", f"No sign of overfitting: {state}.", best + 1)


def _has_fallen(*curves: Sequence[float]) -> bool:
    earlier = -1 - SLOW_EPOCHS
    return any(1 - losses[-1] / losses[earlier] >= MIN_FALL for losses in curves if losses[earlier])


def _is_unlearned(epoch: Epoch) -> bool:
    reached = float(epoch.get("train_accuracy", math.nan))
    return reached < LEARNED_ACCURACY and generalisation_gap(epoch) <= SMALL_GAP
