"""What a training fits for grading at its end, fitted anew for a finished run: needs its data set and its answers."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lib.atomic import read_json, write_json
from lib.data.library import open_dataset
from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.grading.grader import Grader
from lib.models.bundle_files import MANIFEST_FILE
from lib.models.gate import GATE_FILE, Gate, save_gate
from lib.progress import Progress, ignore_progress
from lib.runtime import pick_device
from lib.tracking.scores import probability_columns
from lib.tracking.state import BUNDLE_FOLDER, PREDICTIONS_FILE
from lib.training.domain import fit_domain, gradable_ids
from lib.training.preparation import trained_config
from lib.training.results import OUT_OF_FOLD, TEST, VALIDATION, calibration_of_answers

if TYPE_CHECKING:
    from lib.tracking.records import RunRecord


def calibrate_run(run: "RunRecord", *, progress: Progress = ignore_progress) -> Gate:
    """Fit the gate and the calibration of a finished run and write both into its bundle.

    The limits come from answers to images by what had not seen them, which the run kept: to its validation images, or
    out of fold; of a run with folds, those of the folds.

    Raises:
        UserError: no classifier, no answers, or its data set is gone or was imported anew.
    """
    folder = run.folder / BUNDLE_FOLDER
    grader = Grader.open(run.run_id, device=pick_device("auto"))
    about = grader.manifest.get("dataset")
    name, version = (about.get("name"), about.get("version")) if isinstance(about, dict) else (about, None)
    try:
        dataset = open_dataset(str(name), version=None if version is None else str(version))
    except UserError:
        raise UserError(
            f"The data set {name!r} of the run {run.short_id} is gone or was imported anew; its gate stays as it is. "
            "Import the data set again as it was."
        ) from None
    config = trained_config(grader.manifest)
    dataset = apply_protocol(dataset, config)
    path = run.folder / PREDICTIONS_FILE
    if not path.is_file():
        raise UserError(f"The run {run.short_id} kept no answers (predictions.parquet); train it again.")
    table = pd.read_parquet(path)
    part = TEST if config.num_folds else OUT_OF_FOLD if OUT_OF_FOLD in set(table["split"]) else VALIDATION
    held = table[table["split"] == part]
    ids = dataset.table["image_id"].to_numpy()
    held = held[held["image_id"].isin(ids)]
    fit_rows = np.flatnonzero(grader.seen.roles(ids) == "fitted")
    if held.empty or not len(fit_rows):
        raise UserError(
            f"Nothing tells which images the run {run.short_id} was trained on, or no image was held out; "
            "train it again."
        )
    gate = fit_domain(
        grader.classifier, grader.manifest, dataset, fit_rows=fit_rows,
        val_rows=np.asarray(dataset.indices(list(held["image_id"]))),
        probabilities=held[probability_columns(held)].to_numpy(), seed=int(getattr(config, "seed", 0)),
        device=grader.device, progress=progress,
    )  # fmt: skip
    save_gate(folder / GATE_FILE, gate)
    spec = dataset.spec
    fitted = calibration_of_answers(
        table, is_ordinal=bool(grader.is_ordinal), class_names=spec.class_names, gradable=gradable_ids(dataset)
    )
    write_json(folder / MANIFEST_FILE, {**read_json(folder / MANIFEST_FILE), **fitted})
    return gate
