"""What a run finds out: a fit and its predictions on a split, or on each of several folds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib.atomic import atomic_path
from lib.training.checkpoints import CheckpointStore
from lib.training.events import PhaseStarted, Recorder
from lib.training.fit_splits import fit_splits
from lib.training.results import TEST, SplitPredictions, evaluate_folds, evaluate_split, limits_of, thresholds_of

if TYPE_CHECKING:
    from lib.tracking.writer import RunWriter
    from lib.training.session import FittedClassifier, TrainingSession


@dataclass(frozen=True)
class Outcome:
    """The classifier to keep, its answers in validation, and what was found on the test images."""

    fitted: "FittedClassifier"
    validation: SplitPredictions
    predictions: list[SplitPredictions]
    metrics: dict[str, float]
    thresholds: list[float] = field(default_factory=list)
    kappa_by_thresholds: float = float("nan")


def run_split(session: "TrainingSession", run: "RunWriter", recorder: Recorder) -> Outcome:
    """One fit; the test images are looked at once, at its end."""
    config, dataset = session.config, session.dataset
    split = dataset.split(config.split_seed)
    fitted = session.fit(split, CheckpointStore(run.folder / "checkpoints"))
    recorder(PhaseStarted("Evaluating"))
    validation, test = session.validation(fitted), _test(session, fitted, split)
    metrics = evaluate_split(
        session.targets[test.rows],
        test.probabilities,
        is_ordinal=dataset.spec.is_ordinal,
        groups=dataset.table["group_id"].to_numpy()[test.rows],
        seed=config.seed,
    )
    limits, kappa = thresholds_of(session.targets, validation, test, is_ordinal=dataset.spec.is_ordinal)
    return Outcome(fitted, validation, [validation, test], metrics, limits, kappa)


def run_folds(session: "TrainingSession", run: "RunWriter", recorder: Recorder) -> Outcome:
    """K fits that test every image once, then one more to keep: on all images, or all but those that stop its epochs.

    Each fold has limits of its own; the kept classifier's come from its own answers in validation.
    """
    dataset, folder = session.dataset, run.folder / "checkpoints"
    *folds, last = fit_splits(dataset, session.config)
    is_ordinal = dataset.spec.is_ordinal
    predictions, kappas = [], []
    for fold, split in enumerate(folds):
        if not _kept(folder, fold).is_file():
            recorder.prefix = f"fold_{fold + 1}_"
            fitted = session.fit(split, CheckpointStore(folder / f"fold_{fold}"))
            _keep(_kept(folder, fold), session.validation(fitted), _test(session, fitted, split))
            CheckpointStore(folder / f"fold_{fold}").clear()
        validation, test = _read(_kept(folder, fold), fold)
        kappas.append(thresholds_of(session.targets, validation, test, is_ordinal=is_ordinal)[1])
        predictions.append(test)
    recorder.prefix = ""
    fitted = session.fit(last, CheckpointStore(folder))
    recorder(PhaseStarted("Evaluating"))
    metrics = evaluate_folds(session.targets, predictions, is_ordinal=is_ordinal)
    validation = session.validation(fitted)
    limits = limits_of(session.targets, validation) if is_ordinal else []
    return Outcome(fitted, validation, predictions, metrics, limits, float(np.mean(kappas)))


def _kept(folder: Path, fold: int) -> Path:
    return folder / f"fold_{fold}.npz"


def _keep(path: Path, validation: SplitPredictions, test: SplitPredictions) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as opened:
        np.savez(
            opened, part=validation.part, rows=validation.rows, probabilities=validation.probabilities,
            test_rows=test.rows, test_probabilities=test.probabilities,
        )  # fmt: skip


def _read(path: Path, fold: int) -> tuple[SplitPredictions, SplitPredictions]:
    with np.load(path, allow_pickle=False) as kept:
        validation = SplitPredictions(str(kept["part"]), kept["rows"], kept["probabilities"], fold)
        return validation, SplitPredictions(TEST, kept["test_rows"], kept["test_probabilities"], fold)


def _test(session: "TrainingSession", fitted: "FittedClassifier", split: np.ndarray) -> SplitPredictions:
    rows = np.flatnonzero(split == TEST)
    return SplitPredictions(TEST, rows, session.probabilities(fitted, rows))
