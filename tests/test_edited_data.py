"""Trainings, folds, evaluations and what is made of them, before and after images of their data set are edited."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lib import disk_cache
from lib.data.dataset import Dataset, takes_part
from lib.data.edits import add_edit, undo_edit
from lib.data.importing import import_folder
from lib.data.library import open_dataset
from lib.data.statistics import size_table
from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.experiment import run_experiment
from lib.experiment.start import dataset_of
from lib.explain.concept_images import concept_source
from lib.explain.stage_probes import probe_task
from lib.grading.evaluation import evaluate
from lib.grading.grader import Grader
from lib.grading.report import to_html
from lib.models.gate import GATE_FILE, load_gate
from lib.models.seen_images import SEEN_FILE, load_seen
from lib.settings import cache_dir
from lib.training.preparation import seen_by
from tests.experiment.test_running import Run, tiny_config

pytestmark = pytest.mark.usefixtures("quick_network")


def _folder(root: Path, *, seed: int = 0, per_class: int = 15) -> Path:
    """Noise whose left half is tinted by class."""
    generator = np.random.default_rng(seed)
    for target, name in enumerate(("red", "green")):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = generator.integers(60, 120, (64, 64, 3))
            pixels[:, :32, target] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def whole(tmp_path: Path) -> Dataset:
    return import_folder(_folder(tmp_path / "tints"))


def _train(folder: Path, **changes) -> tuple[Run, dict]:
    run = Run(folder)
    return run, run_experiment(tiny_config(dataset="tints", **changes), run, should_stop=lambda: False)


def _ids(dataset: Dataset, part: str, number: int) -> list[str]:
    return dataset.table["image_id"][dataset.split(0) == part].tolist()[:number]


@pytest.mark.slow
def test_a_training_after_an_exclusion_reads_the_kept_features_and_not_the_excluded_images(
    whole: Dataset, tmp_path: Path
):
    before, first = _train(tmp_path / "before", strategy="nearest_neighbors")
    kept = {entry.key for entry in disk_cache.list_entries()}
    out = [*_ids(whole, "train", 2), *_ids(whole, "val", 1), *_ids(whole, "test", 1)]
    edited = add_edit("tints", "exclude", out)
    after, second = _train(tmp_path / "after", strategy="nearest_neighbors")
    assert {entry.key for entry in disk_cache.list_entries()} == kept
    assert (second["num_train"], second["num_test"]) == (first["num_train"] - 3, first["num_test"] - 1)
    assert after.params["dataset_version"] == edited.version != before.params["dataset_version"] == whole.version
    predictions = pd.read_parquet(after.folder / "predictions.parquet")
    assert not set(out) & set(predictions["image_id"])
    seen = load_seen(after.folder / "bundle" / SEEN_FILE)
    assert set(seen.roles(out)) == {""}
    # Nearest cases are shown from the images that the gate compares with.
    assert not set(out) & set(load_gate(after.folder / "bundle" / GATE_FILE).images.image_ids)
    assert set(out) & set(load_gate(before.folder / "bundle" / GATE_FILE).images.image_ids)
    old = evaluate(Grader.open(before.folder / "bundle", device="cpu"), open_dataset("tints"))
    assert old.figures["num"] == first["num_test"]  # on the images that it was tested on
    assert old.figures["dataset_version"] == whole.version
    new = evaluate(Grader.open(after.folder / "bundle", device="cpu"), open_dataset("tints"))
    assert new.figures["num"] == second["num_test"]
    (before.folder / "bundle" / SEEN_FILE).unlink()  # as classifiers of before there were lists
    manifest = Grader.open(before.folder / "bundle", device="cpu").manifest
    assert set(seen_by(before.folder / "bundle", manifest).roles(out)) >= {"fitted"}


def test_a_relabelled_image_is_trained_and_tested_as_what_it_is_now(whole: Dataset, tmp_path: Path):
    green = set(whole.table["image_id"][whole.table["target"] == whole.class_names.index("green")])
    (one,) = [image_id for image_id in _ids(whole, "test", 9) if image_id in green][:1]
    edited = add_edit("tints", "relabel", [one], "red")
    run, _ = _train(tmp_path / "run", strategy="linear_probe")
    predictions = pd.read_parquet(run.folder / "predictions.parquet").set_index("image_id")
    assert predictions["target"][one] == whole.class_names.index("red")
    undo_edit("tints", "1")
    figures = evaluate(Grader.open(run.folder / "bundle", device="cpu"), open_dataset("tints")).figures
    assert f"those of version {edited.version}, which the classifier was trained on" in figures["note"]
    assert f"'tints' is at version {whole.version} by now" in figures["note"]
    config = tiny_config(dataset="tints", dataset_version=edited.version)
    assert dataset_of(config, open_dataset("tints")).table.equals(edited.table)  # a run that is resumed


@pytest.mark.slow
def test_folds_test_every_image_but_the_excluded_ones_once(whole: Dataset, tmp_path: Path):
    out = whole.table["image_id"].tolist()[:3]
    add_edit("tints", "exclude", out)
    run, summary = _train(tmp_path / "run", strategy="linear_probe", num_folds=3)
    predictions = pd.read_parquet(run.folder / "predictions.parquet")
    tested = predictions["image_id"][predictions["split"] == "test"]
    assert sorted(tested) == sorted(set(whole.table["image_id"]) - set(out))
    assert summary["num_test"] == 27
    assert not set(out) & set(predictions["image_id"])
    with pytest.raises(UserError, match="trained or tuned on all 27 images"):
        evaluate(Grader.open(run.folder / "bundle", device="cpu"), open_dataset("tints"))


@pytest.mark.slow
def test_another_data_set_is_evaluated_without_its_excluded_images(whole: Dataset, tmp_path: Path):
    run, _ = _train(tmp_path / "run", strategy="linear_probe")
    other = import_folder(_folder(tmp_path / "others", seed=5, per_class=6))
    other = add_edit("others", "exclude", other.table["image_id"].tolist()[:2])
    assert evaluate(Grader.open(run.folder / "bundle", device="cpu"), other).figures["num"] == 10


def test_what_looks_at_a_whole_data_set_looks_past_the_excluded_images(whole: Dataset):
    out = whole.table["image_id"].tolist()[:4]
    edited = add_edit("tints", "exclude", out)
    rows = set(np.flatnonzero(~takes_part(edited)))
    assert rows == set(edited.indices(out))
    task = probe_task(edited)  # five folds: six test images are too few
    assert not rows & set(task.rows)
    assert len(size_table(edited)) == 26
    taken = apply_protocol(edited, tiny_config(dataset="tints", target_map="0,1", max_per_class=12))
    assert takes_part(taken).sum() == len(taken.table) - taken.is_excluded.sum()
    assert len(concept_source("textures", edited, None).randoms) == 26


@pytest.mark.slow
def test_nothing_of_a_run_on_pseudonyms_names_a_patient(tmp_path: Path):
    root = _folder(tmp_path / "tints")
    for path in sorted(root.rglob("*.png")):
        number = int(path.stem)
        path.rename(path.with_name(f"Mueller_{path.parent.name}{number // 2}_{('left', 'right')[number % 2]}.png"))
    import_folder(root, pseudonyms=True)
    run, _ = _train(tmp_path / "run", strategy="linear_probe")
    grader = Grader.open(run.folder / "bundle", device="cpu")
    image = next(iter(root.rglob("*.png")))
    (grade,) = grader.grade([("1.png", image)])
    report = tmp_path / "report.html"
    report.write_text(to_html([grade], grader.header))
    files = [path for folder in (run.folder, cache_dir()) for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in [*files, report]:
        content = pd.read_parquet(path).to_csv().encode() if path.suffix == ".parquet" else path.read_bytes()
        assert b"Mueller" not in content, path
