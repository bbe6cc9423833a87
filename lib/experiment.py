"""From a config to a finished run: resolve, train, evaluate, keep the classifier.

The three lines of Python:

    from lib.experiment import train
    from lib.training.config import TrainConfig
    summary = train(TrainConfig(dataset="path/to/folder"))
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import atomic_path
from lib.data.subset import take_part
from lib.distributed import ALONE, Ranks
from lib.errors import Stopped, UserError
from lib.evaluation.metrics import accuracy
from lib.pinned import watch_pinned
from lib.progress import Progress, ignore_progress
from lib.runtime import peak_rss_mib
from lib.tracking.state import read_state
from lib.training.checkpoints import CheckpointStore
from lib.training.config import TrainConfig
from lib.training.events import Event, Listener, PhaseStarted, Progressed
from lib.training.recording import Recorder
from lib.training.resolution import resolve_config
from lib.training.results import (
    RunSummary,
    SplitPredictions,
    bundle_manifest,
    evaluate_folds,
    evaluate_split,
    prediction_table,
    thresholds_of,
)

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.tracking.writer import RunWriter
    from lib.training.session import FittedClassifier, TrainingSession

__all__ = ["resolve_config", "run_experiment", "train"]


def train(config: TrainConfig, *, progress: Progress = ignore_progress) -> RunSummary:
    """Train in this process and keep the run; `config.dataset` is a name in the library or a folder.

    Raises:
        UserError: anything wrong with the data set or the settings.
    """
    from lib.data.library import resolve_dataset
    from lib.tracking.writer import create_run

    dataset = resolve_dataset(config.dataset, progress=progress)
    resolved = resolve_config(dataclasses.replace(config, dataset=dataset.name), dataset)
    run = create_run(resolved.to_dict(), state="running")
    run.set_state("running")
    try:
        summary = run_experiment(resolved, run, should_stop=lambda: False, listener=_as_listener(progress))
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
    first one calls this; the others `follow` it (lib/training/following.py).

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
    dataset = _open_dataset(config, recorder, should_stop)
    config = resolve_config(config, dataset)
    dataset = take_part(dataset, config)
    if should_stop():
        raise Stopped("Stopped before the training began.")
    recorder(PhaseStarted("Starting"))
    from lib.training.compute import choose_compute
    from lib.training.session import TrainingSession
    from lib.training.time_budget import TimeBudget

    compute = choose_compute(config, run.folder / "compute.json", ranks)
    learned_head = _learned_head(config)
    plan = {"config": config.to_dict(), "compute": dataclasses.asdict(compute)}
    ranks.announce({**plan, "head_bundle": str(learned_head or "")})
    run.log_params({**config.to_dict(), **dataclasses.asdict(compute)})

    def prepare(pixels: np.ndarray) -> np.ndarray:
        return session.preparation.enhancement(pixels)

    watch = watch_pinned(config, dataset, run.folder, compute.device, prepare=prepare)
    began_s = _began_s(run) if config.time_budget_s else time.time()
    budget = TimeBudget(
        config, compute, run.folder, len(dataset.table), began_s, recorder, should_stop
    )  # fmt: skip
    session = TrainingSession(
        config, dataset, compute, listener=recorder, should_stop=should_stop, on_epoch=watch, ranks=ranks,
        choose_epochs=budget.choose if config.time_budget_s else None, head_bundle=learned_head,
    )  # fmt: skip
    fit_and_predict = _run_folds if config.num_folds else _run_split
    outcome = fit_and_predict(session, run, recorder)
    recorder(PhaseStarted("Saving"))
    _save(session, run, outcome)
    seconds_total = time.perf_counter() - started + session.resumed_seconds
    summary = _summarise(session, run.run_id, outcome, seconds_total=seconds_total).to_dict()
    run.log_summary(summary)
    CheckpointStore(run.folder / "checkpoints").clear()
    return summary


def _began_s(run: "RunWriter") -> float:
    """When the work on a run began: when it left the queue, so that the imports count."""
    return read_state(run.run_id).started_s or time.time()


def _learned_head(config: TrainConfig) -> Path | None:
    """The bundle of the run whose head the training starts from."""
    if config.head_from is None:
        return None
    from lib.tracking import get_run

    source = get_run(config.head_from)
    bundle = source.folder / "bundle"
    if not bundle.is_dir():
        raise UserError(
            f"The run {source.short_id} is {source.state} and has no head yet; head_from needs a finished run."
        )
    for key in ("dataset", "dataset_version", "target_map", "split_seed"):
        if source.config.get(key) != getattr(config, key):
            raise UserError(
                f"The head of run {source.short_id} was learned with {key}={source.config.get(key)}, here it is "
                f"{getattr(config, key)}: it may have seen images that are tested here. Use the same {key}."
            )
    return bundle


@dataclass(frozen=True)
class _Outcome:
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


def _run_split(session: "TrainingSession", run: "RunWriter", recorder: Recorder) -> _Outcome:
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
    return _Outcome(fitted, split, predictions, metrics, limits, kappa)


def _run_folds(session: "TrainingSession", run: "RunWriter", recorder: Recorder) -> _Outcome:
    """K fits that test every image once, then one more on all images but the validation part of fold 0, to keep."""
    config, dataset, num_folds = session.config, session.dataset, session.config.num_folds or 0
    folder = run.folder / "checkpoints"
    predictions = []
    for fold in range(num_folds):
        split = dataset.split(config.split_seed, num_folds=num_folds, fold=fold)
        result_path, rows = folder / f"fold_{fold}.npy", np.flatnonzero(split == "test")
        if not result_path.is_file():
            recorder.prefix = f"fold_{fold + 1}_"
            fitted = session.fit(split, CheckpointStore(folder / f"fold_{fold}"))
            with atomic_path(result_path) as temporary, temporary.open("wb") as opened:
                np.save(opened, session.probabilities(fitted, rows))
            CheckpointStore(folder / f"fold_{fold}").clear()
        predictions.append(SplitPredictions("test", rows, np.load(result_path, allow_pickle=False), fold))
    recorder.prefix = ""
    split = dataset.split(config.split_seed, num_folds=num_folds, fold=0)
    split[split == "test"] = "train"
    fitted = session.fit(split, CheckpointStore(folder))
    recorder(PhaseStarted("Evaluating"))
    metrics = evaluate_folds(session.targets, predictions, is_ordinal=dataset.spec.is_ordinal)
    return _Outcome(fitted, split, predictions, metrics)


def _predict(session: "TrainingSession", fitted: "FittedClassifier", split: np.ndarray, part: str) -> SplitPredictions:
    rows = np.flatnonzero(split == part)
    return SplitPredictions(part, rows, session.probabilities(fitted, rows))


def _save(session: "TrainingSession", run: "RunWriter", outcome: _Outcome) -> None:
    """Write predictions.parquet and bundle/ with the gate that knows images unlike the training images."""
    from lib.models.bundles import save_bundle
    from lib.models.gate import GATE_FILE, MAX_REFERENCE_ROWS, fit_gate, save_gate
    from lib.models.weights import weights_digest

    config, fitted, bundle = session.config, outcome.fitted, run.folder / "bundle"
    with atomic_path(run.folder / "predictions.parquet") as temporary:
        prediction_table(session.dataset, outcome.predictions).to_parquet(temporary, index=False)
    # Drawn here, before features are computed: a fine-tuned network has none in a cache.
    chosen = np.random.default_rng(config.seed).permutation(outcome.rows("train"))[:MAX_REFERENCE_ROWS]
    gate = fit_gate(session.features(fitted, chosen), session.features(fitted, outcome.rows("val")), seed=config.seed)
    save_gate(bundle / GATE_FILE, gate)
    manifest = bundle_manifest(
        config,
        session.dataset,
        outcome.metrics,
        run_id=run.run_id,
        frozen_dtype=session.compute.dtype,
        enhancement=session.preparation.enhancement.to_dict() if session.preparation.enhancement.names else None,
    )
    if outcome.thresholds:
        manifest["thresholds"] = outcome.thresholds
    digest = weights_digest(config.backbone, config.weights, config.seed)
    save_bundle(bundle, fitted.classifier, manifest, base_digest=digest)


def _summarise(session: "TrainingSession", run_id: str, outcome: _Outcome, *, seconds_total: float) -> RunSummary:
    config, targets, metrics = session.config, session.targets, outcome.metrics
    accuracies = {
        (part.part, part.fold): accuracy(targets[part.rows], part.probabilities) for part in outcome.predictions
    }
    return RunSummary(
        run_id=run_id,
        state="finished",
        dataset=config.dataset,
        dataset_version=config.dataset_version,
        backbone=config.backbone,
        weights=config.weights,
        strategy=config.strategy,
        test_accuracy=metrics["accuracy"],
        test_accuracy_low=metrics["accuracy_low"],
        test_accuracy_high=metrics["accuracy_high"],
        test_balanced_accuracy=metrics["balanced_accuracy"],
        test_quadratic_weighted_kappa=metrics["quadratic_weighted_kappa"],
        test_quadratic_weighted_kappa_low=metrics["quadratic_weighted_kappa_low"],
        test_quadratic_weighted_kappa_high=metrics["quadratic_weighted_kappa_high"],
        test_auroc=metrics["auroc"],
        test_log_loss=metrics["log_loss"],
        val_accuracy=accuracies.get(("val", 0), float("nan")),
        num_train=len(outcome.rows("train")),
        num_val=len(outcome.rows("val")),
        num_test=sum(len(part.rows) for part in outcome.predictions if part.part == "test"),
        seconds_total=round(seconds_total, 3),
        seconds_features=round(session.preparation.seconds, 3),
        seconds_training=round(session.training_seconds, 3),
        images_per_second=round(outcome.fitted.images_per_second or session.preparation.images_per_second, 2),
        peak_rss_mib=peak_rss_mib(),
        dtype=session.used_dtype,
        num_threads=session.compute.num_threads,
        num_folds=config.num_folds or 0,
        fold_test_accuracies=[accuracies[part, fold] for part, fold in sorted(accuracies) if config.num_folds],
        facts=outcome.fitted.facts | ({"thresholds": outcome.thresholds} if outcome.thresholds else {}),
        test_quadratic_weighted_kappa_by_thresholds=outcome.kappa_by_thresholds,
    )


def _open_dataset(config: TrainConfig, listener: Listener, should_stop: Callable[[], bool]) -> "Dataset":
    """Open the data set, importing its folder first where needed; raises Stopped during an import."""
    from lib.data.library import resolve_dataset
    from lib.training.pace import paced_progress

    tell = paced_progress("Importing images", listener)

    def progress(done: int, total: int, what: str) -> None:
        if should_stop():
            raise Stopped("Stopped while importing.")
        tell(done, total, what)

    dataset = resolve_dataset(config.dataset, progress=progress)
    if config.dataset_version and config.dataset_version != dataset.version:
        raise UserError(
            f"The data set {dataset.name!r} has changed since this run was set up (version {config.dataset_version}, "
            f"now {dataset.version}); start a new run."
        )
    return dataset


def _as_listener(progress: Progress) -> Listener:
    def listen(event: Event) -> None:
        if isinstance(event, Progressed):
            progress(event.done, event.total, event.phase)

    return listen
