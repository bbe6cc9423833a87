"""What a run finds out: a fit and its predictions on a split, or on each of several folds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib.atomic import atomic_path
from lib.training.checkpoints import CheckpointStore
from lib.training.events import PhaseStarted
from lib.training.fit_splits import fit_splits
from lib.training.recording import Recorder
from lib.training.results import SplitPredictions, evaluate_folds, evaluate_split, limits_of, thresholds_of

if TYPE_CHECKING:
    from lib.tracking.writer import RunWriter
    from lib.training.session import FittedClassifier, TrainingSession


@dataclass(frozen=True)
class Outcome:
    """The classifier to keep with the split (N,) that it was fitted on, and what was found on the test images."""

    fitted: "FittedClassifier"
    split: np.ndarray
    predictions: list[SplitPredictions]
    metrics: dict[str, float]
    thresholds: list[float] = field(default_factory=list)
    kappa_by_thresholds: float = float("nan")

    def rows(self, part: str) -> np.ndarray:
        """Rows of one part of the kept classifier's split."""
        return np.flatnonzero(self.split == part)


def run_split(session: "TrainingSession", run: "RunWriter", recorder: Recorder) -> Outcome:
    """One fit; the test images are looked at once, at its end."""
    config, dataset = session.config, session.dataset
    split = dataset.split(config.split_seed)
    fitted = session.fit(split, CheckpointStore(run.folder / "checkpoints"))
    recorder(PhaseStarted("Evaluating"))
    predictions = [_predict(session, fitted, split, part) for part in ("val", "test")]
    rows = predictions[1].rows
    metrics = evaluate_split(
        session.targets[rows],
        predictions[1].probabilities,
        is_ordinal=dataset.spec.is_ordinal,
        groups=dataset.table["group_id"].to_numpy()[rows],
        seed=config.seed,
    )
    limits, kappa = thresholds_of(session.targets, predictions, is_ordinal=dataset.spec.is_ordinal)
    return Outcome(fitted, split, predictions, metrics, limits, kappa)


def run_folds(session: "TrainingSession", run: "RunWriter", recorder: Recorder) -> Outcome:
    """K fits that test every image once, then one more on all images but the validation part of fold 0, to keep."""
    dataset, folder = session.dataset, run.folder / "checkpoints"
    *folds, last = fit_splits(dataset, session.config)
    predictions, kappas = [], []
    for fold, split in enumerate(folds):
        if not _kept(folder, "test", fold).is_file():
            recorder.prefix = f"fold_{fold + 1}_"
            fitted = session.fit(split, CheckpointStore(folder / f"fold_{fold}"))
            for part in ("val", "test"):  # the test part comes last: once it is there, the fold is done
                with atomic_path(_kept(folder, part, fold)) as temporary, temporary.open("wb") as opened:
                    np.save(opened, session.probabilities(fitted, np.flatnonzero(split == part)))
            CheckpointStore(folder / f"fold_{fold}").clear()
        both = [_read(folder, split, part, fold) for part in ("val", "test")]
        kappas.append(thresholds_of(session.targets, both, is_ordinal=dataset.spec.is_ordinal)[1])
        predictions.append(both[1])
    recorder.prefix = ""
    fitted = session.fit(last, CheckpointStore(folder))
    recorder(PhaseStarted("Evaluating"))
    metrics = evaluate_folds(session.targets, predictions, is_ordinal=dataset.spec.is_ordinal)
    limits: list[float] = []
    if dataset.spec.is_ordinal:
        limits = limits_of(session.targets, _predict(session, fitted, last, "val"))
    return Outcome(fitted, last, predictions, metrics, limits, float(np.mean(kappas)))


def _kept(folder: Path, part: str, fold: int) -> Path:
    return folder / f"fold_{fold}_{part}.npy"


def _read(folder: Path, split: np.ndarray, part: str, fold: int) -> SplitPredictions:
    probabilities = np.load(_kept(folder, part, fold), allow_pickle=False)
    return SplitPredictions(part, np.flatnonzero(split == part), probabilities, fold)


def _predict(session: "TrainingSession", fitted: "FittedClassifier", split: np.ndarray, part: str) -> SplitPredictions:
    rows = np.flatnonzero(split == part)
    return SplitPredictions(part, rows, session.probabilities(fitted, rows))
