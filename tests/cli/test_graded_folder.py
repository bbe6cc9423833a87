"""A folder of graded photographs through the commands: kappa, limits, notice, and runs of earlier versions."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import cohen_kappa_score

from lib import cli, jobs, tracking
from lib.atomic import read_json
from lib.data.dataset_changes import change_dataset, rebuild_dataset, restore_version
from lib.data.grades import GRADE_NAMES
from lib.data.label_schema import SchemaChange
from lib.data.library import open_dataset
from lib.data.subset import apply_protocol
from lib.data.target_map import TARGET_MAPS
from lib.errors import UserError
from lib.experiment import resolve_start
from lib.grading.evaluation import evaluate_on
from lib.grading.grader import Grader
from lib.grading.grades import MEDICAL_NOTICE
from lib.recipes import plan_recipe
from lib.training.config import TrainConfig
from tests.cli.conftest import TRAIN
from tests.run_store import make_run_store

KAGGLE = ("Mild", "Moderate", "No_DR", "Proliferate_DR", "Severe")  # the order of a folder's alphabet
GRADE = dict(zip(KAGGLE, (1, 2, 0, 4, 3), strict=True))
SMALL = (*TRAIN[1:], "--json")


def write_graded(folder: Path, per_class: int = 14) -> Path:
    """Noise whose brightness rises with the grade, so far that neighbours are mixed up now and then."""
    random = np.random.default_rng(4)
    for name, grade in GRADE.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            level = 50 + 32 * grade + random.normal(0, 18)
            pixels = np.clip(random.normal(level, 25, size=(40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def graded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a run on the folder as it was read first (its alphabet), and one after its grades were said."""
    folder = tmp_path_factory.mktemp("graded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(folder / "home"))
        make_run_store()
        images = write_graded(folder / "eyes")
        assert cli.run(["datasets", "import", str(images), "--no-pairs"]) == 0
        assert cli.run(["train", *SMALL, "--dataset", "eyes"]) == 0
        assert cli.run(["datasets", "change", "eyes", "--suggested"]) == 0
        assert cli.run(["train", *SMALL, "--dataset", "eyes"]) == 0
    return folder


@pytest.fixture
def graded(graded_home: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(graded_home / "home"))
    return graded_home


def _runs() -> tuple[tracking.RunRecord, tracking.RunRecord]:
    """The run of the first version, and that of the grades."""
    return tuple(sorted(tracking.list_runs(), key=lambda run: run.created_s)[:2])  # type: ignore[return-value]


def _said(answer, fact: str) -> str:
    """What a command says behind the name of a fact."""
    return next(line.split(None, 1)[1] for line in answer.out.splitlines() if line.split()[:1] == [fact])


def _test_part(run: tracking.RunRecord) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    table = tracking.predictions(run.run_id)
    table = table[table["split"] == "test"]
    return table["target"].to_numpy(), table[[f"probability_{k}" for k in range(5)]].to_numpy(), table


@pytest.mark.slow
def test_kappa_of_a_graded_folder_is_that_of_scikit_learn(graded):
    first, second = _runs()
    targets, probabilities, table = _test_part(second)
    expected = cohen_kappa_score(targets, probabilities.argmax(1), weights="quadratic")
    assert second.summary["test_quadratic_weighted_kappa"] == pytest.approx(expected, abs=1e-12)
    assert 0.3 < expected < 1
    # Fewer images than a bootstrap can be trusted with: no interval rather than a wrong one.
    assert len(targets) < 30
    assert second.summary["test_quadratic_weighted_kappa_low"] is None
    truth = {row.image_id: GRADE[row.path.split("/")[0]] for row in open_dataset("eyes").table.itertuples()}
    assert [truth[image_id] for image_id in table["image_id"]] == targets.tolist()
    # Before anybody said that they are grades, the order of an alphabet meant nothing.
    assert first.summary["test_quadratic_weighted_kappa"] is None
    # The same images were tested, so both runs can be compared.
    assert set(_test_part(first)[2]["image_id"]) == set(table["image_id"])


@pytest.mark.slow
def test_limits_of_the_expected_grade_follow_and_grade(graded, command):
    first, second = _runs()
    limits = read_json(second.folder / "bundle" / "manifest.json")["thresholds"]
    assert len(limits) == 4
    assert limits == sorted(limits)
    assert np.isfinite(second.summary["test_quadratic_weighted_kappa_by_thresholds"])
    image = graded / "eyes" / "Severe" / "0.png"
    answer = json.loads(command("grade", image, "--run", second.run_id, "--by-thresholds", "--json").out)
    assert list(answer["images"][0]["probabilities"] or dict.fromkeys(GRADE_NAMES)) == list(GRADE_NAMES)
    refused = command("grade", image, "--run", first.run_id, "--by-thresholds")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert "no limits" in refused.err


@pytest.mark.slow
def test_the_medical_notice_follows_into_every_report_also_of_the_run_before(graded, command, tmp_path):
    image = graded / "eyes" / "Mild" / "0.png"
    for run in _runs():
        for name in ("r.csv", "r.html", "r.json"):
            answer = command("grade", image, "--run", run.run_id, "--out", tmp_path / name)
            assert MEDICAL_NOTICE in answer.out
            assert MEDICAL_NOTICE in (tmp_path / name).read_text()


@pytest.mark.slow
def test_the_ordinal_loss_is_for_classes_with_an_order(graded, command):
    version = _runs()[0].config["dataset_version"]
    with pytest.raises(UserError, match="no order"):
        config = TrainConfig(dataset="eyes", dataset_version=version, strategy="feature_extraction", loss="earth_mover")
        resolve_start(config, open_dataset("eyes"))
    for arguments in (("--set", "loss=earth_mover"), ("--strategy", "feature_extraction", "--set", "loss=earth_mover")):
        answer = command("train", "--dataset", "eyes", "--set", "target_map=0,1,0,1,0", *arguments, *SMALL)
        assert (answer.status, answer.err.count("Error: ")) == (2, 1)
        assert "cross_entropy" in answer.err
    trained = command(
        "train", "--dataset", "eyes", "--strategy", "feature_extraction", "--epochs", 1, "--set", "loss=earth_mover",
        *SMALL,
    )  # fmt: skip
    assert trained.status == 0, trained.err
    tracking.delete_run(json.loads(trained.out.splitlines()[-1])["run_id"])


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_never_read_in_the_new_order(graded, command):
    first, second = _runs()
    assert first.config["dataset_version"] != second.config["dataset_version"]
    targets, probabilities, _ = _test_part(first)
    accuracy = (probabilities.argmax(1) == targets).mean()
    answer = json.loads(command("evaluate", "--run", first.run_id, "--dataset", "eyes", "--json").out.splitlines()[-1])
    assert (answer["images"], answer["num"]) == ("test", len(targets))
    assert answer["accuracy"] == pytest.approx(accuracy)
    assert answer["dataset_version"] == first.config["dataset_version"]
    grader = Grader.open(first.run_id)
    assert grader.class_names == KAGGLE
    assert evaluate_on(grader, open_dataset("eyes"))["accuracy"] == pytest.approx(accuracy)
    new = json.loads(command("evaluate", "--run", second.run_id, "--dataset", "eyes", "--json").out.splitlines()[-1])
    assert new["quadratic_weighted_kappa"] == pytest.approx(second.summary["test_quadratic_weighted_kappa"])


@pytest.mark.slow
def test_runs_name_their_version_and_the_present_one(graded, command):
    first, second = _runs()
    before, now = first.config["dataset_version"], second.config["dataset_version"]
    assert f"{before}, now {now}" in _said(command("runs", "show", first.run_id), "dataset_version")
    assert _said(command("runs", "show", second.run_id), "dataset_version") == now
    facts = json.loads(command("runs", "show", first.run_id, "--json").out.splitlines()[-1])
    assert (facts["dataset_version"], facts["dataset_version_now"]) == (before, now)
    compared = " ".join(command("compare", first.run_id, second.run_id).out.split())
    assert f"(versions {before[:12]} and {now[:12]} of the data set)" in compared


@pytest.mark.slow
def test_a_head_of_another_order_is_refused(graded, command):
    head = _runs()[0].run_id
    answer = command(
        "train", "--dataset", "eyes", "--strategy", "full_finetuning", "--set", f"head_from={head}", *SMALL
    )
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert "its classes may have another order there" in answer.err


@pytest.mark.slow
def test_a_training_in_the_queue_keeps_the_version_that_it_was_set_up_with(graded):
    config = TrainConfig(
        dataset="eyes", backbone="mobilenet_v3_small", weights="random", input_size_px=32, dtype="float32"
    )
    run, before = jobs.prepare(config), open_dataset("eyes")
    after = change_dataset(
        "eyes", SchemaChange(order=tuple(reversed(GRADE_NAMES)), class_names=("4", "3", "2", "1", "0"))
    )
    assert jobs.work(run, listener=lambda _: None, on_wait=lambda _: None) is not None
    manifest = read_json(run.folder / "bundle" / "manifest.json")
    assert (manifest["dataset"]["version"], tuple(manifest["classes"])) == (before.version, GRADE_NAMES)
    table, rows = tracking.predictions(run.run_id), before.table.set_index("image_id")
    assert (table["target"].to_numpy() == rows.loc[table["image_id"], "target"].to_numpy()).all()
    assert after.version != before.version
    assert restore_version("eyes", before.version).version == before.version
    tracking.delete_run(run.run_id)


@pytest.mark.slow
def test_named_maps_folds_and_evaluate_go_with_reordered_names(graded, command):
    trained = command("train", "--dataset", "eyes", "--folds", 2, "--set", "target_map=referable", *SMALL)
    assert trained.status == 0, trained.err
    summary = json.loads(trained.out.splitlines()[-1])
    run = tracking.get_run(summary["run_id"])
    table = tracking.predictions(run.run_id)
    truth = {row.image_id: int(GRADE[row.path.split("/")[0]] >= 2) for row in open_dataset("eyes").table.itertuples()}
    tested = table[table["split"] == "test"]
    assert [truth[image_id] for image_id in tested["image_id"]] == tested["target"].tolist()
    answer = json.loads(command("evaluate", "--run", run.run_id, "--dataset", "eyes", "--json").out.splitlines()[-1])
    assert (answer["images"], answer["num"]) == ("out_of_fold", 70)
    assert answer["accuracy"] == pytest.approx(summary["test_accuracy"])
    reverse = SchemaChange(order=tuple(reversed(GRADE_NAMES)), class_names=("4", "3", "2", "1", "0"))
    change_dataset("eyes", reverse)
    again = json.loads(command("evaluate", "--run", run.run_id, "--dataset", "eyes", "--json").out.splitlines()[-1])
    assert again["accuracy"] == pytest.approx(answer["accuracy"])
    command("datasets", "change", "eyes", "--to-version", run.config["dataset_version"])
    tracking.delete_run(run.run_id)


@pytest.mark.slow
def test_a_recipe_finds_the_grades_by_name_in_every_version(graded):
    plan = plan_recipe("googlenet-dr-ft", dataset="eyes")
    merged = TARGET_MAPS.get(str(plan.config.target_map)).targets
    for run in _runs():
        dataset = open_dataset("eyes", version=run.config["dataset_version"])
        taken = apply_protocol(dataset, replace(plan.config, max_train_per_class=None, max_test_per_class=None))
        expected = [merged[GRADE[path.split("/")[0]]] for path in taken.table["path"]]
        assert taken.table["target"].tolist() == expected


@pytest.mark.slow
def test_a_folder_given_to_a_training_says_what_its_classes_suggest(command, tmp_path):
    write_graded(tmp_path / "faces", per_class=3)
    for is_new in (True, False):
        answer = command("train", *SMALL, "--dataset", tmp_path / "faces", "--set", "loss=earth_mover")
        assert answer.status == 2
        assert ("python -m lib datasets change faces --suggested" in answer.err) is is_new


@pytest.mark.slow
def test_after_another_crop_runs_keep_their_names_and_say_so(graded, command):
    first, second = _runs()
    rebuilt = rebuild_dataset("eyes", "retina_box")
    said = _said(command("runs", "show", second.run_id), "dataset_version")
    assert said == f"{second.config['dataset_version']}, now {rebuilt.version}"
    image = graded / "eyes" / "Mild" / "0.png"
    assert command("grade", image, "--run", first.run_id).status == 0
    assert rebuild_dataset("eyes", "center_square").version == second.config["dataset_version"]
    assert open_dataset("eyes", version=first.config["dataset_version"]).class_names == KAGGLE
