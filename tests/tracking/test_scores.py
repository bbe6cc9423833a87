"""What a run is judged by, of new runs and of those that are older than the figures."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.evaluation.headline import key_of_tested_images
from lib.evaluation.metric_table import ACCURACY, KAPPA
from lib.experiment import run_experiment
from lib.tracking.records import RunRecord
from lib.tracking.scores import beside_metrics, folder_score, judged_by, looks_of, run_score
from tests.experiment.test_running import Run, tiny_config
from tests.features.tiny_dataset import TinyDataset

pytestmark = pytest.mark.usefixtures("quick_network")

GRADES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
TARGETS = np.array([0, 0, 0, 1, 2, 3, 4])  # the commonest class has 3 of 7


def old_run(folder: Path, *, classes=GRADES, is_ordinal=True, answers=TARGETS, has_bundle=True, **config) -> RunRecord:
    """A finished run as it was stored before there were a headline and a baseline."""
    (folder / "bundle").mkdir(parents=True)
    columns = {f"probability_{k}": (answers == k).astype(float) for k in range(len(classes))}
    ids = [f"{number:02d}" for number in range(len(TARGETS))]
    pd.DataFrame({"image_id": ids, "split": "test", "fold": 0, "target": TARGETS, **columns}).to_parquet(
        folder / "predictions.parquet"
    )
    if has_bundle:
        manifest = {"classes": list(classes), "dataset": {"is_ordinal": is_ordinal}}
        (folder / "bundle" / "manifest.json").write_text(json.dumps(manifest))
    summary = {"test_accuracy": float((answers == TARGETS).mean()), "test_quadratic_weighted_kappa": 0.5, "num_test": 7}
    (folder / "summary.json").write_text(json.dumps(summary))
    return RunRecord(
        run_id=folder.name, name=folder.name, state="finished", message="", ending="", created_s=0.0, ended_s=1.0,
        config={"dataset": "eyes", **config}, metrics={}, folder=folder,
    )  # fmt: skip


def test_an_old_run_is_read_from_its_predictions(tmp_path):
    score = run_score(old_run(tmp_path / "run"))
    assert (score.metric, score.value, score.baseline_class) == (KAPPA, 0.5, "No DR")
    assert score.baseline_accuracy == pytest.approx(3 / 7)
    assert score.referable_auroc == 1.0
    assert score.test_set == key_of_tested_images([f"{number:02d}" for number in range(7)], TARGETS)
    assert run_score(old_run(tmp_path / "plain", is_ordinal=False)).metric is ACCURACY


def test_an_old_run_without_its_bundle_is_ordered_if_it_was_given_a_kappa(tmp_path):
    score = run_score(old_run(tmp_path / "run", has_bundle=False))
    assert (score.metric, score.baseline_class) == (KAPPA, "unnamed class 0")
    assert math.isnan(score.referable_auroc)


@pytest.mark.parametrize("damage", ["missing", "cut", "no columns"])
def test_an_old_run_whose_predictions_say_nothing_shows_what_it_has(tmp_path, damage):
    run = old_run(tmp_path / "run")
    path = run.folder / "predictions.parquet"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:50])
    else:
        pd.DataFrame({"split": ["test"]}).to_parquet(path)
    score = run_score(run)
    assert score.accuracy == 1.0
    assert math.isnan(score.baseline_accuracy)
    assert score.words == "accuracy 100.0\u00a0%"


def test_an_old_run_gets_the_later_metrics_from_its_predictions(tmp_path):
    worse = np.array([0, 0, 1, 1, 2, 3, 4])
    run = old_run(tmp_path / "run", answers=worse)
    found = beside_metrics(run.folder, run.summary)
    assert found["test_macro_f1"] == pytest.approx(np.mean([4 / 5, 2 / 3, 1, 1, 1]))
    assert found["test_calibration_error"] == pytest.approx(1 / 7)  # always sure, and wrong once


def test_runs_are_judged_by_what_all_of_them_are_judged_by(tmp_path):
    a, b = old_run(tmp_path / "a"), old_run(tmp_path / "b", is_ordinal=False)
    assert judged_by([a, a]) is KAPPA
    assert judged_by([a, b]) is ACCURACY
    assert looks_of([a, a, b]) == {run_score(a).test_set: 3}


def experiment(monkeypatch, folder, *, is_ordinal=True, names=GRADES, **settings):
    dataset = TinyDataset(num_images=60, num_classes=5, names=names)
    dataset.spec = dataclasses.replace(dataset.spec, is_ordinal=is_ordinal)
    monkeypatch.setattr("lib.data.importing.resolve_dataset", lambda name, progress: dataset)
    run = Run(folder)
    return run_experiment(tiny_config(strategy="nearest_neighbors", **settings), run, should_stop=lambda: False), run


@pytest.mark.parametrize(
    ("settings", "headline", "has_area"),
    [
        ({}, "quadratic_weighted_kappa", True),
        ({"num_folds": 3}, "quadratic_weighted_kappa", True),
        pytest.param({"target_map": "four_classes"}, "quadratic_weighted_kappa", False, marks=pytest.mark.slow),
        ({"target_map": "any_dr"}, "accuracy", False),  # two merged classes are two classes
        pytest.param({"target_map": "0,0,1,1,1", "num_folds": 3}, "accuracy", False, marks=pytest.mark.slow),
    ],
)
def test_a_run_says_what_it_is_judged_by_and_what_always_one_class_reaches(
    monkeypatch, tmp_path, settings, headline, has_area
):
    summary, run = experiment(monkeypatch, tmp_path / "run", **settings)
    table = pd.read_parquet(run.folder / "predictions.parquet")
    table = table[table["split"] == "test"]
    commonest = table["target"].mode()[0]
    by_fold = (table["target"] == commonest).groupby(table["fold"]).mean()
    assert summary["headline"] == headline
    assert summary["test_baseline_accuracy"] == pytest.approx(by_fold.mean())
    assert (summary["test_referable_auroc"] is not None) == has_area
    assert (summary["test_referable_auroc_low"] is not None) == has_area
    # An old summary of the same run, read from its predictions, says the same.
    old = {key: summary[key] for key in ("test_accuracy", "test_quadratic_weighted_kappa", "num_test")}
    new, from_predictions = folder_score(run.folder, summary), folder_score(run.folder, old)
    for name in ("metric", "value", "baseline_class", "test_set"):
        assert getattr(new, name) == getattr(from_predictions, name)
    assert new.baseline_accuracy == pytest.approx(from_predictions.baseline_accuracy)
    assert new.referable_auroc == pytest.approx(from_predictions.referable_auroc, nan_ok=True)


def test_a_bundle_says_what_its_classifier_reached(monkeypatch, tmp_path):
    from lib.evaluation.headline import Score
    from lib.models.bundles import load_bundle

    summary, run = experiment(monkeypatch, tmp_path / "run")
    manifest = load_bundle(run.folder / "bundle").manifest
    kept, own = Score.of(manifest["result"]), Score.of(summary)
    for name in ("metric", "value", "accuracy", "baseline_accuracy", "baseline_class", "referable_auroc", "num"):
        assert getattr(kept, name) == getattr(own, name)
