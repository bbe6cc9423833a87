"""A run from its config to its summary, with what it leaves behind, interrupted or not."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib.data.grades import GRADE_NAMES
from lib.data.splits import assign_splits
from lib.errors import DiskFull, Stopped, UserError
from lib.experiment import run_experiment, train
from lib.features.engine import EngineChoice
from lib.features.onnx_session import OnnxSession
from lib.grading.grader import Grader
from lib.grading.grades import GradingOptions
from lib.models.bundles import load_bundle
from lib.models.gate import GATE_FILE, load_gate
from lib.models.seen_images import SEEN_FILE, load_seen
from lib.settings import cache_dir
from lib.training.config import TrainConfig
from lib.training.events import EpochEnded, PhaseStarted, Progressed
from tests.features.tiny_dataset import TinyDataset

pytestmark = pytest.mark.usefixtures("quick_network")

SUMMARY_KEYS = {
    "run_id", "state", "dataset", "backbone", "weights", "strategy", "test_accuracy", "test_accuracy_low",
    "test_accuracy_high", "test_balanced_accuracy", "test_quadratic_weighted_kappa",
    "test_quadratic_weighted_kappa_low", "test_quadratic_weighted_kappa_high", "test_auroc", "num_train", "num_val",
    "num_test", "seconds_total", "seconds_features", "seconds_training", "images_per_second", "peak_rss_mib", "dtype",
    "num_threads",
}  # fmt: skip


class Run:
    """Stands in for the run's writer: keeps what it is told in memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.run_id, self.folder = "r1", folder
        self.params: dict[str, Any] = {}
        self.metrics: list[tuple[dict[str, float], int | None]] = []
        self.summary: dict[str, Any] = {}

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.params.update(params)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.metrics.append((dict(metrics), step))

    def heartbeat(self, **progress: Any) -> None:
        pass

    def log_confusion(self, entry: Mapping[str, Any]) -> None:
        pass

    def log_summary(self, summary: Mapping[str, Any]) -> None:
        self.summary = dict(summary)


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> TinyDataset:
    found = TinyDataset(num_images=30)
    monkeypatch.setattr("lib.data.importing.resolve_dataset", lambda name, progress: found)
    return found


def tiny_config(**changes: Any) -> TrainConfig:
    settings: dict[str, Any] = {
        "dataset": "tiny", "backbone": "mobilenet_v3_small", "weights": "random", "input_size_px": 32, "epochs": 2,
        "batch_size": 8, "dtype": "float32",
    }  # fmt: skip
    return TrainConfig(**(settings | changes))


def test_linear_probe_leaves_predictions_bundle_gate_and_summary(dataset: TinyDataset, tmp_path: Path) -> None:
    run, events = Run(tmp_path / "run"), []
    summary = run_experiment(tiny_config(), run, should_stop=lambda: False, listener=events.append)
    assert summary == run.summary
    assert set(summary) >= SUMMARY_KEYS
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    # Fitted on training and validation images together, each of them held out once.
    assert (summary["num_train"], summary["num_val"], summary["num_test"]) == (24, 24, 6)
    assert summary["test_accuracy"] == 1.0  # a coloured half is easy even for a random backbone
    assert summary["test_accuracy_low"] == pytest.approx(1 / (1 + 1.96**2 / 6), abs=1e-3)  # Wilson at 6 of 6
    assert run.params["dtype"] == "float32"
    assert run.params["head"] == "linear"
    phases = [event.phase for event in events if isinstance(event, PhaseStarted)]
    assert phases == ["Starting", "Extracting features", "Training", "Evaluating", "Saving"]

    table = pd.read_parquet(run.folder / "predictions.parquet")
    assert table["split"].value_counts().to_dict() == {"out_of_fold": 24, "test": 6}
    loaded = load_bundle(run.folder / "bundle")
    assert loaded.manifest["metrics"]["test_accuracy"] == 1.0
    assert loaded.manifest["trained_on"] == "the training and validation images"
    assert "held out once" in loaded.manifest["validated_on"]
    gate = load_gate(run.folder / "bundle" / GATE_FILE)
    # A random network judges nothing: the pretrained default does.
    assert (gate.judge, gate.reference.shape, gate.num_calibration) == ("efficientnet_lite0", (24, 1280), 24)
    assert min(stage.limit for stage in gate.stages) > 1e-4  # nobody is compared with himself
    assert sorted(gate.images.image_ids) == sorted(dataset.table["image_id"][dataset.split(0) != "test"])
    roles = load_seen(run.folder / "bundle" / SEEN_FILE).roles(dataset.table["image_id"])
    assert (roles == "").tolist() == (dataset.split(0) == "test").tolist()


def test_spoiled_images_are_learned_from_and_tested_but_are_no_part_of_the_look(dataset, tmp_path) -> None:
    poor = [0, 3, 11]
    dataset.table["flags"] = ["ungradable: underexposed" if row in poor else "" for row in range(30)]
    dataset.pixels[poor] = 3
    run = Run(tmp_path / "run")
    summary = run_experiment(tiny_config(strategy="nearest_neighbors", num_folds=3), run, should_stop=lambda: False)
    gate = load_gate(run.folder / "bundle" / GATE_FILE)
    assert (summary["num_train"], summary["num_test"]) == (30, 30)
    assert (len(gate.reference), gate.num_calibration) == (27, 27)
    assert not {*dataset.table["image_id"][poor]} & {*gate.images.image_ids}
    assert load_bundle(run.folder / "bundle").manifest["picture_quality"]["brightness"][0] > 50


def test_saved_classifier_repeats_the_stored_predictions(dataset: TinyDataset, tmp_path: Path) -> None:
    import torch

    from lib.data.input_transform import to_batch

    run = Run(tmp_path / "run")
    run_experiment(tiny_config(strategy="full_finetuning"), run, should_stop=lambda: False)
    table = pd.read_parquet(run.folder / "predictions.parquet")
    loaded = load_bundle(run.folder / "bundle")
    rows = [int(image_id, 16) for image_id in table["image_id"]]
    form = loaded.manifest["preprocessing"]
    batch = to_batch(dataset.pixels[rows], size_px=form["input_size_px"], mean=form["mean"], std=form["std"])
    with torch.no_grad():
        found = loaded.classifier(batch).double().softmax(1).numpy()
    assert found == pytest.approx(table[["probability_0", "probability_1"]].to_numpy(), abs=1e-4)


def test_curves_are_logged_per_epoch_from_one(dataset: TinyDataset, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run_experiment(tiny_config(strategy="feature_extraction"), run, should_stop=lambda: False)
    epochs = [(step, set(metrics)) for metrics, step in run.metrics if "val_loss" in metrics]
    assert [step for step, _ in epochs] == [1, 2]
    assert {"train_loss", "train_accuracy", "val_accuracy", "learning_rate", "images_per_second"} <= epochs[0][1]
    assert not list((run.folder / "checkpoints").glob("*.pt"))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["linear_probe", "feature_extraction"])
def test_folds_test_every_image_once(dataset: TinyDataset, tmp_path: Path, strategy: str) -> None:
    run = Run(tmp_path / "run")
    summary = run_experiment(tiny_config(strategy=strategy, num_folds=3), run, should_stop=lambda: False)
    table = pd.read_parquet(run.folder / "predictions.parquet")
    assert sorted(table["image_id"]) == dataset.table["image_id"].tolist()
    assert table["fold"].value_counts().to_dict() == {0: 10, 1: 10, 2: 10}
    hits = table[["probability_0", "probability_1"]].to_numpy().argmax(1) == table["target"]
    assert summary["test_accuracy"] == pytest.approx(hits.mean())  # folds of one size: mean over folds = pooled
    assert summary["fold_test_accuracies"] == pytest.approx([hits[table["fold"] == fold].mean() for fold in range(3)])
    assert summary["test_accuracy_low"] <= summary["test_accuracy"] <= summary["test_accuracy_high"]
    # A probe to keep is fitted on all; one that is iterated, on all but the validation part of the first fold: 30 - 4.
    is_fitted = strategy == "linear_probe"
    counts = (summary["num_train"], summary["num_val"], summary["num_test"])
    assert counts == ((30, 30, 30) if is_fitted else (26, 4, 30))
    manifest = load_bundle(run.folder / "bundle").manifest
    assert manifest["trained_on"] == ("all images" if is_fitted else "all images but the validation images of fold 0")
    roles = load_seen(run.folder / "bundle" / SEEN_FILE).roles(dataset.table["image_id"])
    assert pd.Series(roles).value_counts().to_dict() == (
        {"fitted": 30} if is_fitted else {"fitted": 26, "validated": 4}
    )


def test_resumed_folds_are_not_fitted_again(dataset: TinyDataset, tmp_path: Path) -> None:
    config = tiny_config(strategy="feature_extraction", num_folds=2)
    expected = run_experiment(config, Run(tmp_path / "unbroken"), should_stop=lambda: False)
    epochs: list[object] = []

    def count(event: object) -> None:
        epochs.append(event) if isinstance(event, EpochEnded) else None

    run = Run(tmp_path / "run")
    with pytest.raises(Stopped):  # in the second fold
        run_experiment(config, run, should_stop=lambda: len(epochs) == 3, listener=count)
    epochs.clear()
    summary = run_experiment(config, run, should_stop=lambda: False, listener=count)
    assert len(epochs) == 1 + 2  # the rest of the second fold, and the classifier to keep
    assert summary["fold_test_accuracies"] == expected["fold_test_accuracies"]
    first, second = (
        load_bundle(tmp_path / name / "bundle").classifier.head.state_dict() for name in ("unbroken", "run")
    )
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_fine_tuning_resumes_to_the_same_predictions(dataset: TinyDataset, tmp_path: Path) -> None:
    config = tiny_config(strategy="full_finetuning", epochs=3)
    run_experiment(config, Run(tmp_path / "unbroken"), should_stop=lambda: False)
    progress: list[object] = []

    def count(event: object) -> None:
        progress.append(event) if isinstance(event, Progressed) and event.phase == "Training" else None

    run = Run(tmp_path / "run")
    for num_events in (2, 4):  # interrupted twice
        progress.clear()
        with pytest.raises(Stopped):
            run_experiment(config, run, should_stop=lambda n=num_events: len(progress) >= n, listener=count)
    run_experiment(config, run, should_stop=lambda: False)
    first, second = (pd.read_parquet(tmp_path / name / "predictions.parquet") for name in ("unbroken", "run"))
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    "settings",
    [
        {"strategy": "feature_extraction"},
        pytest.param({"strategy": "partial_finetuning", "augmentation": "modern"}, marks=pytest.mark.slow),
    ],
)
def test_a_run_by_onnx_runtime_resumes_with_it_and_is_graded_with_it(
    settings: dict[str, str], dataset: TinyDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[int] = []
    compute_batch = OnnxSession.__call__
    monkeypatch.setattr(
        OnnxSession, "__call__", lambda self, batch: sessions.append(len(batch)) or compute_batch(self, batch)
    )
    monkeypatch.setattr("lib.training.network.choose_engine", lambda part, **_: EngineChoice("onnx", 4, "faster"))
    config, epochs = tiny_config(epochs=4, patience=4, **settings), []

    def count(event: object) -> None:
        epochs.append(event) if isinstance(event, EpochEnded) else None

    run_experiment(config, Run(tmp_path / "unbroken"), should_stop=lambda: False)
    assert max(sessions) == 4
    shutil.rmtree(cache_dir() / "features", ignore_errors=True)
    run = Run(tmp_path / "run")
    with pytest.raises(Stopped):
        run_experiment(config, run, should_stop=lambda: len(epochs) == 2, listener=count)
    # A trial would find something else by now, and nothing is left in the caches.
    monkeypatch.setattr("lib.training.network.choose_engine", lambda part, **_: pytest.fail("chosen again"))
    shutil.rmtree(cache_dir())
    sessions.clear()
    run_experiment(config, run, should_stop=lambda: False, listener=count)
    assert max(sessions) == 4
    assert len(epochs) == 4
    first, second = (pd.read_parquet(tmp_path / name / "predictions.parquet") for name in ("unbroken", "run"))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    first, second = (load_bundle(tmp_path / name / "bundle").classifier.state_dict() for name in ("unbroken", "run"))
    assert all(np.array_equal(first[key], second[key]) for key in first)

    sessions.clear()
    grader = Grader.open(run.folder / "bundle", device="cpu")
    assert grader.network.engine == "onnx"
    table = pd.read_parquet(run.folder / "predictions.parquet")
    rows = [int(image_id, 16) for image_id in table["image_id"]]
    scores, _ = grader.scores(dataset.pixels[rows])
    assert scores == pytest.approx(table[["probability_0", "probability_1"]].to_numpy(), abs=1e-5)
    assert max(sessions) == grader.batch_size == 8  # no trial was made here


def test_a_run_killed_after_its_summary_is_not_trained_again(dataset: TinyDataset, tmp_path: Path) -> None:
    run, told = Run(tmp_path / "run"), []
    summary = run_experiment(tiny_config(strategy="linear_probe"), run, should_stop=lambda: False)
    again = run_experiment(tiny_config(strategy="linear_probe"), run, should_stop=lambda: False, listener=told.append)
    assert again == run.summary == summary
    assert told == []


def test_changed_data_set_and_stop_end_it_before_any_work(dataset: TinyDataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has changed since this run was set up"):
        run_experiment(tiny_config(dataset_version="v0"), Run(tmp_path / "run"), should_stop=lambda: False)
    with pytest.raises(Stopped):
        run_experiment(tiny_config(), Run(tmp_path / "run"), should_stop=lambda: True)


def test_stop_is_heard_while_a_folder_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    def resolve(name: str, progress: Any) -> TinyDataset:
        for done in range(100):
            told.append(done)
            progress(done, 100, "decoding")
        return TinyDataset()

    monkeypatch.setattr("lib.data.importing.resolve_dataset", resolve)
    with pytest.raises(Stopped):
        run_experiment(tiny_config(), Run(tmp_path / "run"), should_stop=lambda: len(told) > 3)
    assert told == [0, 1, 2, 3]


def test_three_lines_of_python_on_a_folder_of_images(tmp_path: Path) -> None:
    from lib.tracking import get_run
    from tests.run_store import make_run_store

    make_run_store()
    generator = np.random.default_rng(0)
    for row in range(24):
        folder = tmp_path / "fruit" / ("apples", "pears")[row % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 100, (40, 40, 3)).astype(np.uint8)
        pixels[:, :20, row % 2] += 120
        Image.fromarray(pixels).save(folder / f"{row}.png")
    told: list[str] = []
    summary = train(tiny_config(dataset=str(tmp_path / "fruit")), progress=lambda done, total, what: told.append(what))
    assert summary.dataset == "fruit"
    assert summary.test_accuracy == 1.0
    assert "Extracting features" in told
    record = get_run(summary.run_id)
    assert record.state == "finished"
    assert record.metrics["test_accuracy"] == 1.0
    assert (record.folder / "bundle" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("raised", "ended"),
    [
        (Stopped("Asked."), ("stopped", "Stopped on request.", "stopped")),
        (KeyboardInterrupt(), ("stopped", "Stopped on request.", "stopped")),
        (UserError("The settings do not do."), ("failed", "The settings do not do.", "refused")),
        (DiskFull("The disk is full."), ("failed", "The disk is full.", "disk_full")),
        (ZeroDivisionError("A fault of ours."), ("failed", "A fault of ours.", "unexpected")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_however_a_run_ends_that_is_kept_and_the_caller_hears_of_it(
    dataset: TinyDataset, monkeypatch: pytest.MonkeyPatch, raised: BaseException, ended: tuple[str, str, str]
) -> None:
    told: list[tuple[str, ...]] = []

    def run_it(config: TrainConfig, *_: Any, **__: Any) -> None:
        assert config.dataset == "tiny"  # the folder's name in the library
        raise raised

    writer = SimpleNamespace(set_state=lambda state: told.append((state,)), finish=lambda *said: told.append(said))
    monkeypatch.setattr("lib.experiment.running.run_experiment", run_it)
    monkeypatch.setattr("lib.experiment.running.create_run", lambda config, state: writer)
    with pytest.raises(type(raised)):
        train(tiny_config(dataset="a/folder"))
    assert told == [("running",), ended]


def test_merged_classes_and_a_sigmoid_unit_reach_predictions_and_bundle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    found = TinyDataset(num_images=30, num_classes=5, names=GRADE_NAMES)
    monkeypatch.setattr("lib.data.importing.resolve_dataset", lambda name, progress: found)
    run = Run(tmp_path / "run")
    config = tiny_config(strategy="feature_extraction", target_map="referable", output="sigmoid", epochs=1)
    run_experiment(config, run, should_stop=lambda: False)
    table = pd.read_parquet(run.folder / "predictions.parquet")
    assert set(table["target"]) == {0, 1}
    assert table[["probability_0", "probability_1"]].sum(axis=1).to_numpy() == pytest.approx(1.0)
    assert "probability_2" not in table
    loaded = load_bundle(run.folder / "bundle")
    assert loaded.manifest["classes"] == ["Not referable", "Referable"]
    assert loaded.manifest["config"]["target_map"] == "referable"
    with torch.no_grad():
        logits = loaded.classifier(torch.randn(3, 3, 32, 32))
    assert torch.allclose(logits.sum(1), torch.zeros(3), atol=1e-5)  # minus and plus half of the log-odds


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch) -> TinyDataset:
    """Three ordered classes, of which every training reads."""
    dataset = TinyDataset(num_images=45, num_classes=3)
    dataset.spec = dataclasses.replace(dataset.spec, is_ordinal=True)
    monkeypatch.setattr("lib.data.importing.resolve_dataset", lambda name, progress: dataset)
    return dataset


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["linear_svm", "feature_extraction"])
def test_each_fold_has_limits_of_its_own_and_the_kept_classifier_too(
    ordered: TinyDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, strategy: str
) -> None:
    from lib.evaluation import verdict

    fitted_on: list[tuple[int, ...]] = []
    fit = verdict.fit_thresholds
    monkeypatch.setattr(
        "lib.training.results.fit_thresholds",
        lambda targets, probabilities: fitted_on.append(probabilities.shape) or fit(targets, probabilities),
    )
    run = Run(tmp_path / "run")
    summary = run_experiment(tiny_config(strategy=strategy, num_folds=3, epochs=1), run, should_stop=lambda: False)
    splits = [ordered.split(0, num_folds=3, fold=fold) for fold in (0, 1, 2)]
    if strategy == "linear_svm":  # out of fold, on all that is not tested; the last time nothing is
        assert fitted_on == [*((int((split != "test").sum()), 3) for split in splits), (45, 3)]
    else:
        assert fitted_on == [(int((split == "val").sum()), 3) for split in (*splits, splits[0])]
    assert -1 <= summary["test_quadratic_weighted_kappa_by_thresholds"] <= 1
    assert len(summary["facts"]["thresholds"]) == 2


@pytest.mark.parametrize(("strategy", "part"), [("linear_svm", "out_of_fold"), ("feature_extraction", "val")])
def test_limits_of_the_expected_grade_come_from_validation_and_grade_new_images(
    ordered: TinyDataset, tmp_path: Path, strategy: str, part: str
) -> None:
    from lib.evaluation.verdict import fit_thresholds, grades_by_thresholds, kappa_by_thresholds
    from lib.grading.grader import Grader

    run = Run(tmp_path / "run")
    summary = run_experiment(tiny_config(strategy=strategy), run, should_stop=lambda: False)
    table = pd.read_parquet(run.folder / "predictions.parquet")
    columns = ["probability_0", "probability_1", "probability_2"]
    val, test = (table[table["split"] == name] for name in (part, "test"))
    assert summary["val_accuracy"] == pytest.approx((val[columns].to_numpy().argmax(1) == val["target"]).mean())
    limits = fit_thresholds(val["target"].to_numpy(), val[columns].to_numpy())
    assert summary["facts"]["thresholds"] == pytest.approx(limits.tolist())
    kappa = kappa_by_thresholds(test["target"].to_numpy(), test[columns].to_numpy(), limits)
    assert summary["test_quadratic_weighted_kappa_by_thresholds"] == pytest.approx(kappa)

    grader = Grader.open(run.folder / "bundle", device="cpu", options=GradingOptions(by_thresholds=True))
    assert grader.thresholds == pytest.approx(limits.tolist())
    grader.thresholds = [-2.0, -1.0]  # every expected grade has reached both
    image = tmp_path / "image.png"
    Image.fromarray(ordered.pixels[0]).save(image)
    grade = next(iter(grader.grade([("image", image)])))
    assert grade.status != "graded" or grade.target == 2
    assert grades_by_thresholds(test[columns].to_numpy(), [-2.0, -1.0]).tolist() == [2] * len(test)
    with pytest.raises(UserError, match="has no limits of the expected grade"):
        Grader(
            grader.classifier, {**grader.manifest, "thresholds": [2.0, 1.0]}, options=GradingOptions(by_thresholds=True)
        )


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        ("nearest_neighbors", {}),
        pytest.param("nearest_neighbors", {"num_folds": 3}, marks=pytest.mark.slow),
        pytest.param(
            "linear_svm", {"num_folds": 3, "target_map": "0,0,1", "class_weights": "none"}, marks=pytest.mark.slow
        ),
        ("linear_probe", {"target_map": "0,0,1", "sampling": "balanced"}),
    ],
)
def test_labels_that_say_nothing_are_worth_nothing_in_validation_limits_and_test(
    ordered: TinyDataset, tmp_path: Path, strategy: str, settings: dict[str, Any]
) -> None:
    """Whatever the kept classifier knows by heart, no figure that is kept shows it."""
    ordered.table["target"] = np.random.default_rng(1).permutation(ordered.table["target"])
    generator = np.random.default_rng(2)
    ordered.pixels = generator.integers(0, 256, ordered.pixels.shape).astype(np.uint8)
    ordered.version = "noise"
    run = Run(tmp_path / "run")
    config = tiny_config(strategy=strategy, num_neighbors=1, **settings)
    summary = run_experiment(config, run, should_stop=lambda: False)
    table = pd.read_parquet(run.folder / "predictions.parquet")
    columns = [name for name in table.columns if name.startswith("probability_")]
    commonest = table["target"].value_counts(normalize=True).max()
    for _, part in table.groupby("split"):
        hits = (part[columns].to_numpy().argmax(1) == part["target"]).mean()
        assert hits < commonest + 0.35
    assert table["image_id"].is_unique
    kappa = summary["test_quadratic_weighted_kappa_by_thresholds"]
    assert kappa is None or kappa < 0.6


@pytest.mark.slow
def test_few_patients_and_rare_classes_are_fitted_out_of_fold_in_groups(ordered: TinyDataset, tmp_path: Path) -> None:
    ordered.table = ordered.table.iloc[:18].assign(group_id=[f"patient {row // 6}-{row % 3}" for row in range(18)])
    ordered.pixels = ordered.pixels[:18]
    groups = ordered.table["group_id"].to_numpy()
    targets = ordered.table["target"].to_numpy()
    ordered.split = lambda seed, num_folds=None, fold=None: assign_splits(targets, groups, None, split_seed=seed)  # type: ignore[method-assign]
    for strategy in ("linear_probe", "nearest_neighbors", "linear_svm"):
        run = Run(tmp_path / strategy)
        run_experiment(tiny_config(strategy=strategy), run, should_stop=lambda: False)
        table = pd.read_parquet(run.folder / "predictions.parquet")
        assert table["split"].value_counts().to_dict() == {"out_of_fold": 12, "test": 6}


def test_a_capped_number_of_training_images_is_not_enlarged_by_validation(dataset: TinyDataset, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    summary = run_experiment(tiny_config(max_train_per_class=3), run, should_stop=lambda: False)
    assert (summary["num_train"], summary["num_val"]) == (6, 4)
    table = pd.read_parquet(run.folder / "predictions.parquet")
    assert table["split"].value_counts().to_dict() == {"val": 4, "test": 6}
    manifest = load_bundle(run.folder / "bundle").manifest
    assert (manifest["trained_on"], manifest["validated_on"]) == ("the training images", "the validation images")
    roles = load_seen(run.folder / "bundle" / SEEN_FILE).roles(dataset.table["image_id"])
    assert pd.Series(roles).value_counts().to_dict() == {"": 20, "fitted": 6, "validated": 4}


@pytest.mark.slow
def test_a_stop_within_the_folds_of_a_probe_and_a_second_start_end_alike(dataset: TinyDataset, tmp_path: Path) -> None:
    config = tiny_config(strategy="linear_svm", num_folds=2)
    expected = run_experiment(config, Run(tmp_path / "unbroken"), should_stop=lambda: False)
    told: list[object] = []

    def count(event: object) -> None:
        told.append(event) if isinstance(event, Progressed) and event.phase == "Training" else None

    run = Run(tmp_path / "run")
    (run.folder / "checkpoints").mkdir()
    np.save(run.folder / "checkpoints" / "fold_0_test.npy", np.zeros((2, 2)))  # what an earlier version kept
    with pytest.raises(Stopped):
        run_experiment(config, run, should_stop=lambda: len(told) >= 40, listener=count)
    again = run_experiment(config, run, should_stop=lambda: False)
    assert again["fold_test_accuracies"] == expected["fold_test_accuracies"]
    first, second = (pd.read_parquet(tmp_path / name / "predictions.parquet") for name in ("unbroken", "run"))
    pd.testing.assert_frame_equal(first, second)
