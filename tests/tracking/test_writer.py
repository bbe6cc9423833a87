import importlib.metadata
import json
import math
import subprocess
from pathlib import Path

import pytest

from lib import tracking
from lib.settings import runs_dir
from lib.tracking import writer
from lib.tracking.writer import code_version
from tests.tracking.conftest import CONFIG

pytestmark = pytest.mark.usefixtures("run_store")


def test_a_new_run_is_queued_and_keeps_its_config():
    run = tracking.create_run(CONFIG, name="Linear probe · MobileNetV2 · cats_dogs")

    record = tracking.get_run(run.run_id)

    assert record.state == "queued"
    assert record.config == CONFIG
    assert record.label == "Linear probe · MobileNetV2 · cats_dogs"
    assert record.ended_s is None
    assert json.loads((run.folder / "config.json").read_text()) == CONFIG


def test_the_name_falls_back_to_the_words_of_the_config():
    assert tracking.create_run(CONFIG).run_id
    assert tracking.list_runs()[0].label == "linear probe · mobilenet v2 · cats_dogs"


def test_states_reach_the_file_and_mlflow():
    run = tracking.create_run(CONFIG)
    run.set_state("running")
    assert tracking.read_state(run.run_id).pid is not None

    run.finish("finished", "done")

    record = tracking.get_run(run.run_id)
    assert (record.state, record.message, record.tags["state"]) == ("finished", "done", "finished")
    assert record.ended_s is not None
    with pytest.raises(ValueError, match="Unknown state 'done'"):
        run.set_state("done")


def test_metrics_leave_out_what_is_not_finite_and_the_last_value_of_a_step_counts():
    run = tracking.create_run(CONFIG)
    run.log_metrics({"val_loss": 0.9, "val_quadratic_weighted_kappa": math.nan, "train_loss": math.inf}, step=1)
    run.log_metrics({"val_loss": 0.7}, step=2)
    run.log_metrics({"val_loss": 0.6}, step=2)  # repeated by a resumed run

    history = tracking.metric_history(run.run_id)

    assert history[["key", "step", "value"]].values.tolist() == [["val_loss", 1, 0.9], ["val_loss", 2, 0.6]]
    assert tracking.metric_history(run.run_id, ["no_such"]).empty
    assert tracking.get_run(run.run_id).metrics == {"val_loss": 0.6}


def test_parameters_that_are_there_stay():
    run = tracking.create_run(CONFIG)
    run.log_params({"dtype": "float32"})
    run.log_params({"dtype": "bfloat16", "num_threads": 2})
    params = tracking.store.client().get_run(run.run_id).data.params
    assert params == {"dtype": "float32", "num_threads": "2"}


def test_heartbeats_keep_progress_and_drop_the_last_phase():
    run = tracking.create_run(CONFIG, state="running")
    run.heartbeat(phase="features", done=1, total=10)
    run.heartbeat(phase="training", epoch=1)
    run.heartbeat()

    state = tracking.read_state(run.run_id)

    assert state.progress == {"phase": "training", "epoch": 1}
    assert state.heartbeat_age_s < 5


def test_finishing_links_the_artifacts():
    run = tracking.create_run(CONFIG)
    (run.folder / "bundle").mkdir()
    (run.folder / "bundle" / "head.safetensors").write_bytes(b"weights")
    run.log_summary({"test_accuracy": 0.75, "strategy": "linear_probe"})
    run.finish("finished")

    artifacts = runs_dir() / run.run_id / "artifacts"
    assert (artifacts / "bundle" / "head.safetensors").samefile(run.folder / "bundle" / "head.safetensors")
    record = tracking.get_run(run.run_id)
    assert record.metrics["test_accuracy"] == 0.75
    assert record.summary["strategy"] == "linear_probe"


def test_a_store_that_is_away_does_not_keep_a_run_from_ending(monkeypatch):
    run = tracking.create_run(CONFIG, state="running")

    def away(*arguments, **options):
        raise ConnectionError("no answer")

    monkeypatch.setattr(tracking.writer, "client", away)
    run.finish("failed", "The disk is full.", "disk_full")
    assert tracking.read_state(run.run_id).ending == "disk_full"
    assert tracking.get_run(run.run_id).state == "failed"


@pytest.fixture
def asked_anew():
    code_version.cache_clear()
    yield
    code_version.cache_clear()


def test_a_program_without_a_repository_of_its_own_says_its_version(asked_anew, monkeypatch, tmp_path: Path):
    """Also where the folder around the installation is somebody's repository."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(writer, "PROJECT_ROOT", tmp_path / "env" / "transferscope")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} 0.1.0")
    assert code_version() == "transferscope 0.1.0"


def test_neither_installed_nor_a_repository(asked_anew, monkeypatch, tmp_path: Path):
    def unknown(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(writer, "PROJECT_ROOT", tmp_path)
    monkeypatch.setattr(importlib.metadata, "version", unknown)
    assert code_version() == ""
