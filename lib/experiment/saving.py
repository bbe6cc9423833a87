"""What a run keeps of its outcome: predictions, the classifier with its gate, and the summary."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import atomic_path
from lib.data.picture_quality import quality_ranges
from lib.data.splits import group_numbers
from lib.evaluation.headline import key_of_tested_images, score_figures
from lib.evaluation.metrics import accuracy
from lib.experiment.outcome import Outcome
from lib.runtime import peak_rss_mib
from lib.training.results import RunSummary, bundle_manifest, prediction_table

if TYPE_CHECKING:
    from lib.tracking.writer import RunWriter
    from lib.training.session import TrainingSession

_NUM_MEASURED = 256


def save_outcome(session: "TrainingSession", run: "RunWriter", outcome: Outcome) -> None:
    """Write predictions.parquet and bundle/ with the gate that knows images unlike the training images."""
    from lib.models.bundles import save_bundle
    from lib.models.gate import GATE_FILE, MAX_REFERENCE_ROWS, fit_gate, save_gate
    from lib.models.seen_images import SEEN_FILE, SeenImages, save_seen
    from lib.models.weights import weights_digest

    config, fitted, bundle = session.config, outcome.fitted, run.folder / "bundle"
    with atomic_path(run.folder / "predictions.parquet") as temporary:
        prediction_table(session.dataset, outcome.predictions).to_parquet(temporary, index=False)
    # Drawn here, before features are computed: a fine-tuned network has none in a cache.
    chosen = np.random.default_rng(config.seed).permutation(fitted.fit_rows)[:MAX_REFERENCE_ROWS]
    # What is compared with may be computed as quickly as training computes: it is rounded to float16 in any case. The
    # validation images that set the limit are taken as new images will be, so that the promised rate holds; where they
    # are compared with themselves, their own group is left out.
    reference = session.features(fitted, chosen, dtype=session.compute.training_dtype)
    units = group_numbers(session.dataset.table["group_id"].to_numpy(), len(session.targets))
    gate = fit_gate(
        reference, session.features(fitted, fitted.val_rows), seed=config.seed,
        train_units=units[chosen], val_units=units[fitted.val_rows],
    )  # fmt: skip
    save_gate(bundle / GATE_FILE, gate)
    ids = np.array(session.image_ids)
    save_seen(bundle / SEEN_FILE, SeenImages.of(ids[fitted.fit_rows], ids[fitted.val_rows]))
    manifest = bundle_manifest(
        config,
        session.dataset,
        outcome.metrics,
        run_id=run.run_id,
        frozen_dtype=session.compute.dtype,
        engine=session.compute.engine,
        is_out_of_fold=fitted.held_out is not None,
        enhancement=session.preparation.enhancement.to_dict() if session.preparation.enhancement.names else None,
    )
    # For reports, also those of a bundle on another machine.
    found = {f"test_{key}": value for key, value in outcome.metrics.items() if np.isfinite(value)}
    num_test = sum(len(part.rows) for part in outcome.predictions if part.part == "test")
    manifest["result"] = {**found, **_beside_metrics(session, outcome, num_draws=0), "num_test": num_test}
    pixels = session.dataset.pixels
    # Says of an image that is turned away what is the matter with it; the range of 256 images tells as much as of all.
    manifest["picture_quality"] = quality_ranges(np.asarray(pixels[int(row)]) for row in chosen[:_NUM_MEASURED])
    if outcome.thresholds:
        manifest["thresholds"] = outcome.thresholds
    digest = weights_digest(config.backbone, config.weights, config.seed)
    save_bundle(bundle, fitted.classifier, manifest, base_digest=digest)


def summarise(session: "TrainingSession", run_id: str, outcome: Outcome, *, seconds_total: float) -> RunSummary:
    """The figures of a finished run, which took `seconds_total` with all that was done before an interruption."""
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
        val_accuracy=float("nan") if config.num_folds else accuracies[outcome.validation.part, 0],
        num_train=len(outcome.fitted.fit_rows),
        num_val=len(outcome.fitted.val_rows),
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
        split_caveat=session.dataset.spec.split_caveat,
        **_beside_metrics(session, outcome),
    )


def _beside_metrics(session: "TrainingSession", outcome: Outcome, *, num_draws: int = 1000) -> dict[str, Any]:
    """What the run is judged by, what always the commonest class would reach, and which images were tested."""
    dataset = session.dataset
    parts = [part for part in outcome.predictions if part.part == "test"]
    rows = np.concatenate([part.rows for part in parts])
    tested = dataset.table.iloc[rows]
    figures = score_figures(
        session.targets[rows],
        np.concatenate([part.probabilities for part in parts]),
        dataset.spec.class_names,
        is_ordinal=dataset.spec.is_ordinal,
        folds=np.repeat([part.fold for part in parts], [len(part.rows) for part in parts]),
        groups=tested["group_id"].to_numpy(),
        seed=session.config.seed,
        num_draws=num_draws,
    )
    about = {key: figures.pop(key) for key in ("headline", "baseline_class")}
    about["test_set"] = key_of_tested_images(tested["image_id"], session.targets[rows])
    return about | {f"test_{key}": value for key, value in figures.items() if np.isfinite(value)}
