"""A run from its config to its summary: fits on a split or on each of several folds, and what is kept of them."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import atomic_path
from lib.data.statistics import quality_ranges
from lib.data.subset import apply_protocol
from lib.distributed import ALONE, Ranks
from lib.errors import Stopped
from lib.evaluation.headline import key_of_tested_images, score_figures
from lib.evaluation.metric_table import METRICS
from lib.evaluation.metrics import accuracy
from lib.evaluation.resampling import NUM_DRAWS
from lib.experiment.start import open_dataset, open_session, resolve_start
from lib.models.seen_images import SEEN_FILE, SeenImages, save_seen
from lib.models.weights import weights_digest
from lib.progress import Progress, ignore_progress
from lib.runtime import peak_rss_mib
from lib.tracking.writer import create_run
from lib.training.checkpoints import CheckpointStore
from lib.training.config import TrainConfig
from lib.training.events import Event, Listener, PhaseStarted, Progressed, Recorder
from lib.training.preparation import fit_splits
from lib.training.resolution import resolve_config
from lib.training.results import (
    TEST,
    RunSummary,
    SplitPredictions,
    bundle_manifest,
    calibration_of_answers,
    evaluate_folds,
    evaluate_split,
    limits_of,
    prediction_table,
    thresholds_of,
)

if TYPE_CHECKING:
    from lib.tracking.writer import RunWriter
    from lib.training.session import FittedClassifier, TrainingSession


def train(config: TrainConfig, *, progress: Progress = ignore_progress) -> RunSummary:
    """Train in this process and keep the run; `config.dataset` is a name in the library or a folder.

    Raises:
        UserError: anything wrong with the data set or the settings.
    """
    from lib.data.importing import resolve_dataset

    dataset = resolve_dataset(config.dataset, progress=progress)
    resolved = resolve_start(dataclasses.replace(config, dataset=dataset.name), dataset)
    run = create_run(resolved.to_dict(), state="running")
    run.set_state("running")

    def listen(event: Event) -> None:
        if isinstance(event, Progressed):
            progress(event.done, event.total, event.phase)

    try:
        summary = run_experiment(resolved, run, should_stop=lambda: False, listener=listen)
    except (Stopped, KeyboardInterrupt):
        run.finish("stopped", "Stopped on request.", "stopped")
        raise
    except Exception as error:
        run.finish("failed", str(error), getattr(error, "ending", "unexpected"))
        raise
    run.finish("finished")
    return RunSummary.from_dict(summary)


def run_experiment(
    config: TrainConfig,
    run: "RunWriter",
    *,
    should_stop: Callable[[], bool],
    listener: Listener | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Do the work of a run in this process and write its predictions, bundle and summary into its folder.

    Goes on from checkpoints and finished folds where they are. States are the caller's affair. Of several `ranks` the
    first one calls this; the others follow it (`follow_first_rank`).

    Raises:
        Stopped: `should_stop()` turned true; what was done so far is kept.
        UserError: the data set or the settings do not do, or the training diverged.
    """
    if kept := run.summary:  # killed between its summary and its final state: all is there
        run.log_summary(kept)
        CheckpointStore(run.folder / "checkpoints").clear()
        return kept
    started = time.perf_counter()
    recorder = Recorder(run, listener)
    dataset = open_dataset(config, recorder, should_stop)
    config = resolve_config(config, dataset)
    dataset = apply_protocol(dataset, config)
    if should_stop():
        raise Stopped("Stopped before the training began.")
    recorder(PhaseStarted("Starting"))
    session = open_session(config, dataset, run, listener=recorder, should_stop=should_stop, ranks=ranks)
    fit_and_predict = run_folds if config.num_folds else run_split
    outcome = fit_and_predict(session, run, recorder)
    recorder(PhaseStarted("Saving"))
    save_outcome(session, run, outcome)
    seconds_total = time.perf_counter() - started + session.resumed_seconds
    summary = summarise(session, run.run_id, outcome, seconds_total=seconds_total).to_dict()
    run.log_summary(summary)
    CheckpointStore(run.folder / "checkpoints").clear()
    return summary


_NUM_MEASURED = 256
_IN_SUMMARY = tuple(f"{key}{end}" for key in METRICS for end in ("", "_low", "_high"))


@dataclass(frozen=True)
class Outcome:
    """The classifier to keep, its answers in validation, and what was found on the test images."""

    fitted: "FittedClassifier"
    validation: SplitPredictions
    predictions: list[SplitPredictions]
    metrics: dict[str, float]
    thresholds: list[float] = field(default_factory=list)
    kappa_by_thresholds: float = float("nan")

    @property
    def tested(self) -> list[SplitPredictions]:
        """The answers to the test images, of each fold."""
        return [part for part in self.predictions if part.part == TEST]


def run_split(session: "TrainingSession", run: "RunWriter", recorder: Recorder) -> Outcome:
    """One fit; the test images are looked at once, at its end."""
    config, dataset = session.config, session.dataset
    split = dataset.split(config.split_seed)
    fitted = session.fit(split, CheckpointStore(run.folder / "checkpoints"))
    recorder(PhaseStarted("Evaluating"))
    validation, test = session.validation(fitted), _test(session, fitted, split)
    metrics = evaluate_split(
        session.targets[test.rows], test.probabilities, is_ordinal=dataset.spec.is_ordinal,
        groups=dataset.table["group_id"].to_numpy()[test.rows], seed=config.seed,
    )  # fmt: skip
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
        kept = folder / f"fold_{fold}.npz"
        if not kept.is_file():
            recorder.prefix = f"fold_{fold + 1}_"
            fitted = session.fit(split, CheckpointStore(folder / f"fold_{fold}"))
            own, answers = session.validation(fitted), _test(session, fitted, split)
            with atomic_path(kept) as temporary, temporary.open("wb") as opened:
                np.savez(
                    opened, part=own.part, rows=own.rows, probabilities=own.probabilities,
                    test_rows=answers.rows, test_probabilities=answers.probabilities,
                )  # fmt: skip
            CheckpointStore(folder / f"fold_{fold}").clear()
        validation, test = _read(kept, fold)
        kappas.append(thresholds_of(session.targets, validation, test, is_ordinal=is_ordinal)[1])
        predictions.append(test)
    recorder.prefix = ""
    fitted = session.fit(last, CheckpointStore(folder))
    recorder(PhaseStarted("Evaluating"))
    metrics = evaluate_folds(session.targets, predictions, is_ordinal=is_ordinal)
    validation = session.validation(fitted)
    limits = limits_of(session.targets, validation) if is_ordinal else []
    return Outcome(fitted, validation, predictions, metrics, limits, float(np.mean(kappas)))


def _read(path: Path, fold: int) -> tuple[SplitPredictions, SplitPredictions]:
    with np.load(path, allow_pickle=False) as kept:
        validation = SplitPredictions(str(kept["part"]), kept["rows"], kept["probabilities"], fold)
        return validation, SplitPredictions(TEST, kept["test_rows"], kept["test_probabilities"], fold)


def _test(session: "TrainingSession", fitted: "FittedClassifier", split: np.ndarray) -> SplitPredictions:
    rows = np.flatnonzero(split == TEST)
    return SplitPredictions(TEST, rows, session.probabilities(fitted, rows))


def save_outcome(session: "TrainingSession", run: "RunWriter", outcome: Outcome) -> None:
    """Write predictions.parquet and bundle/ with the gate that knows images unlike the training images."""
    from lib.models.bundles import save_bundle
    from lib.models.gate import GATE_FILE, save_gate
    from lib.training.domain import fit_domain, gradable_ids, gradable_of

    config, fitted, bundle = session.config, outcome.fitted, run.folder / "bundle"
    answers, spec = prediction_table(session.dataset, outcome.predictions), session.dataset.spec
    with atomic_path(run.folder / "predictions.parquet") as temporary:
        answers.to_parquet(temporary, index=False)
    ids = np.array(session.preparation.image_ids)
    save_seen(bundle / SEEN_FILE, SeenImages.of(ids[fitted.fit_rows], ids[fitted.val_rows]))
    manifest = bundle_manifest(
        config, session.dataset, outcome.metrics, run_id=run.run_id, frozen_dtype=session.compute.dtype,
        engine=session.compute.engine, is_out_of_fold=fitted.held_out is not None,
        enhancement=session.preparation.enhancement.to_dict() if session.preparation.enhancement.names else None,
    )  # fmt: skip
    # For reports, also those of a bundle on another machine.
    found = {f"test_{key}": value for key, value in outcome.metrics.items() if np.isfinite(value)}
    num_test = sum(len(part.rows) for part in outcome.tested)
    manifest["result"] = {**found, **_beside_metrics(session, outcome, num_draws=0), "num_test": num_test}
    gate = fit_domain(
        fitted.classifier, manifest, session.dataset, fit_rows=fitted.fit_rows, val_rows=outcome.validation.rows,
        probabilities=outcome.validation.probabilities, seed=config.seed, device=session.compute.device,
        should_stop=session.should_stop,
    )  # fmt: skip
    save_gate(bundle / GATE_FILE, gate)
    good = fitted.fit_rows[gradable_of(session.dataset, fitted.fit_rows)]
    chosen = np.random.default_rng(config.seed).permutation(good)
    pixels = session.dataset.pixels
    # Says of an image that is turned away what is the matter with it; the range of 256 images tells as much as of all.
    manifest["picture_quality"] = quality_ranges(np.asarray(pixels[int(row)]) for row in chosen[:_NUM_MEASURED])
    if outcome.thresholds:
        manifest["thresholds"] = outcome.thresholds
    manifest |= calibration_of_answers(
        answers, is_ordinal=spec.is_ordinal, class_names=spec.class_names, gradable=gradable_ids(session.dataset)
    )
    digest = weights_digest(config.backbone, config.weights, config.seed)
    save_bundle(bundle, fitted.classifier, manifest, base_digest=digest)


def summarise(session: "TrainingSession", run_id: str, outcome: Outcome, *, seconds_total: float) -> RunSummary:
    """The figures of a finished run, which took `seconds_total` with all that was done before an interruption."""
    config, targets = session.config, session.targets
    found: dict[str, Any] = {f"test_{key}": outcome.metrics[key] for key in _IN_SUMMARY}
    accuracies = {
        (part.part, part.fold): accuracy(targets[part.rows], part.probabilities) for part in outcome.predictions
    }
    return RunSummary(
        run_id=run_id, state="finished", dataset=config.dataset, dataset_version=config.dataset_version,
        backbone=config.backbone, weights=config.weights, strategy=config.strategy,
        val_accuracy=float("nan") if config.num_folds else accuracies[outcome.validation.part, 0],
        num_train=len(outcome.fitted.fit_rows), num_val=len(outcome.fitted.val_rows),
        num_test=sum(len(part.rows) for part in outcome.tested), seconds_total=round(seconds_total, 3),
        seconds_features=round(session.preparation.seconds, 3), seconds_training=round(session.training_seconds, 3),
        images_per_second=round(outcome.fitted.images_per_second or session.preparation.images_per_second, 2),
        peak_rss_mib=peak_rss_mib(), dtype=session.used_dtype, num_threads=session.compute.num_threads,
        num_folds=config.num_folds or 0,
        fold_test_accuracies=[accuracies[part, fold] for part, fold in sorted(accuracies) if config.num_folds],
        facts=outcome.fitted.facts | ({"thresholds": outcome.thresholds} if outcome.thresholds else {}),
        test_quadratic_weighted_kappa_by_thresholds=outcome.kappa_by_thresholds,
        split_caveat=session.dataset.spec.split_caveat, **found, **_beside_metrics(session, outcome),
    )  # fmt: skip


def _beside_metrics(session: "TrainingSession", outcome: Outcome, *, num_draws: int = NUM_DRAWS) -> dict[str, Any]:
    """What the run is judged by, what always the commonest class would reach, and which images were tested."""
    dataset = session.dataset
    parts = outcome.tested
    rows = np.concatenate([part.rows for part in parts])
    tested = dataset.table.iloc[rows]
    figures = score_figures(
        session.targets[rows], np.concatenate([part.probabilities for part in parts]), dataset.spec.class_names,
        is_ordinal=dataset.spec.is_ordinal,
        folds=np.repeat([part.fold for part in parts], [len(part.rows) for part in parts]),
        groups=tested["group_id"].to_numpy(), seed=session.config.seed, num_draws=num_draws,
    )  # fmt: skip
    about = {key: figures.pop(key) for key in ("headline", "baseline_class")}
    about["test_set"] = key_of_tested_images(tested["image_id"], session.targets[rows])
    return about | {f"test_{key}": value for key, value in figures.items() if np.isfinite(value)}
