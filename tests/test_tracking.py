import json
import math
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pandas as pd
import pytest

from lib import tracking
from lib.errors import UserError
from lib.settings import PROJECT_ROOT, runs_dir
from lib.tracking.entering import let_wait
from lib.tracking.state import STOP_FILE, update_state
from tests.run_store import make_run_store

CONFIG = {"dataset": "cats_dogs", "backbone": "mobilenet_v2", "strategy": "linear_probe", "epochs": None}


@pytest.fixture(autouse=True)
def _store(home) -> None:
    make_run_store()


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


def test_a_stop_flag_reads_as_stopping_only_while_active():
    run = tracking.create_run(CONFIG, state="running")
    (run.folder / STOP_FILE).touch()
    assert tracking.read_state(run.run_id).state == "stopping"
    run.set_state("finished")
    assert tracking.read_state(run.run_id).state == "finished"


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


def test_concurrent_changes_of_a_state_are_not_lost():
    run = tracking.create_run(CONFIG)
    threads = [
        threading.Thread(target=lambda key=key: [update_state(run.run_id, **{key: n}) for n in range(30)])
        for key in ("first", "second", "third")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = json.loads((run.folder / "state.json").read_text())
    assert (content["first"], content["second"], content["third"]) == (29, 29, 29)


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


def test_runs_are_found_by_the_start_of_their_id():
    runs = [tracking.create_run(CONFIG) for _ in range(2)]

    assert tracking.get_run(runs[0].run_id[:10]).run_id == runs[0].run_id
    assert tracking.get_run("latest").run_id == runs[1].run_id
    with pytest.raises(UserError, match="There is no run 'zz'"):
        tracking.get_run("zz")
    with pytest.raises(UserError, match="There is no run ''"):
        tracking.get_run("")


def test_a_short_id_may_be_ambiguous(monkeypatch):
    run = tracking.create_run(CONFIG)
    record = tracking.get_run(run.run_id)
    monkeypatch.setattr(tracking.records, "list_runs", lambda include_deleted=False: [record, record])
    with pytest.raises(UserError, match=r"2 runs begin with .* give more characters"):
        tracking.get_run(run.run_id[:4])


def test_run_folders_are_found_without_mlflow():
    runs = [tracking.create_run(CONFIG) for _ in range(2)]
    assert tracking.state.find_local_run(runs[0].run_id[:12]) == runs[0].run_id
    assert tracking.state.find_local_run("latest") == runs[1].run_id
    assert tracking.state.find_local_run("") is None
    assert tracking.state.find_local_run("../") is None


def test_predictions_come_from_the_run_folder():
    run = tracking.create_run(CONFIG)
    with pytest.raises(UserError, match="has no predictions"):
        tracking.predictions(run.run_id)
    table = pd.DataFrame({"image_id": ["a"], "split": ["test"], "target": [0], "probability_0": [1.0]})
    table.to_parquet(run.folder / "predictions.parquet")
    assert tracking.predictions(run.run_id).equals(table)


def test_a_deleted_run_comes_back():
    run = tracking.create_run(CONFIG)
    with pytest.raises(UserError, match="stop it first"):
        tracking.delete_run(run.run_id)
    run.finish("finished")

    tracking.delete_run(run.run_id)
    assert tracking.list_runs() == []
    assert not run.folder.exists()
    assert [record.is_deleted for record in tracking.list_runs(include_deleted=True)] == [True]

    tracking.restore_run(run.run_id[:8])
    assert tracking.get_run(run.run_id).state == "finished"
    assert (run.folder / "config.json").exists()
    with pytest.raises(UserError, match="is not deleted"):
        tracking.restore_run(run.run_id)


def test_renaming_shows_everywhere():
    run = tracking.create_run(CONFIG)
    tracking.rename_run(run.run_id, "  the   winner ")
    assert tracking.get_run(run.run_id).label == "the winner"
    assert tracking.read_state(run.run_id).name == "the winner"
    with pytest.raises(UserError, match="needs a name"):
        tracking.rename_run(run.run_id, " ")


@pytest.mark.parametrize("wrong", ["../secrets", "", "a/b", "x" * 65])
def test_a_path_is_not_a_run_id(wrong):
    with pytest.raises(UserError, match="is not a run id"):
        tracking.read_state(wrong)


def test_unknown_and_damaged_states_are_named(home):
    with pytest.raises(UserError, match="There is no run 'abc' here"):
        tracking.read_state("abc")
    (runs_dir() / "abc").mkdir()
    (runs_dir() / "abc" / "state.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        tracking.read_state("abc")
    assert tracking.state.stored_states() == []


def test_the_store_is_in_wal_mode():
    tracking.create_run(CONFIG)
    with closing(sqlite3.connect(runs_dir() / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_store_that_cannot_be_opened_is_explained(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    with pytest.raises(UserError, match=r"The run store .* cannot be used"):
        tracking.create_run(CONFIG)


def test_importing_and_an_empty_list_need_no_mlflow(tmp_path):
    code = "import sys, lib.tracking as t, lib.jobs as j; t.list_runs(); j.active_runs(); j.reconcile(); " \
        "sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"  # fmt: skip
    environment = {"TRANSFERSCOPE_HOME": str(tmp_path / "empty"), "PATH": "/usr/bin"}
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, env=environment).returncode == 0


FIRST_USE_FROM_ALL_SIDES = """
import sys, threading, time
from lib import tracking
from lib.settings import tracking_uri
from lib.tracking.mlflow_client import MlflowRuns, load_mlflow

def use(position):
    time.sleep(0.15 * position)
    try:
        (load_mlflow, tracking.list_runs, lambda: MlflowRuns(tracking_uri()))[position % 3]()
    except BaseException as error:
        failed.append(error)

failed = []
threads = [threading.Thread(target=use, args=(position,)) for position in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(repr(failed[0]) if failed else 0)
"""


def test_pages_that_open_while_mlflow_is_being_imported_wait_for_it():
    command = [sys.executable, "-c", FIRST_USE_FROM_ALL_SIDES]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_confusions_come_back_by_epoch_the_last_of_each_counts(home):
    make_run_store()
    run = tracking.create_run({"dataset": "d"})
    assert tracking.validation_confusions(run.run_id) == {}
    for epoch, cell in ((2, 1), (1, 2), (2, 3)):
        run.log_confusion({"prefix": "", "epoch": epoch, "matrix": [[cell, 0], [0, 1]]})
    run.log_confusion({"prefix": "fold_1_", "epoch": 5, "matrix": [[9, 0], [0, 1]]})
    with (run.folder / "validation_confusion.jsonl").open("a") as opened:
        opened.write('{"prefix": "", "epoch": 3, "mat')  # killed while writing
    found = tracking.validation_confusions(run.run_id)
    assert {epoch: matrix[0, 0] for epoch, matrix in found.items()} == {1: 2, 2: 3}
    assert list(tracking.validation_confusions(run.run_id, "fold_1_")) == [5]


def test_a_run_whose_maker_was_killed_before_it_had_a_folder_is_readable_and_deletable():
    client, experiment = tracking.store.client(), tracking.store.experiment_id()
    tags = {"state": "queued", "host": tracking.state.host_name(), "config": "{}"}
    old = client.create_run(experiment, start_time=int((time.time() - 60) * 1000), tags=tags).info.run_id
    fresh = client.create_run(experiment, tags=tags).info.run_id
    far = client.create_run(experiment, start_time=0, tags={**tags, "host": "another"}).info.run_id
    assert {run.run_id: run.state for run in tracking.list_runs()} == {old: "killed", fresh: "queued", far: "queued"}
    assert tracking.get_run(old).ending == "never_started"
    tracking.delete_run(old)
    assert old not in [run.run_id for run in tracking.list_runs()]


def test_runs_that_wait_are_entered_once(home):
    run = tracking.create_run(CONFIG)
    run.finish("finished")
    folder = runs_dir() / ("f" * 32)
    shutil.copytree(run.folder, folder)
    update_state(folder.name, name="From elsewhere", recorded_on="a tested machine")
    (folder / "tags.json").write_text(json.dumps({"demo": "linear_probe"}))
    let_wait([folder.name, folder.name, "0" * 32])  # the last has no folder
    found = {record.run_id: record for record in tracking.list_runs()}
    assert set(found) == {run.run_id, folder.name}
    entered = found[folder.name]
    assert (entered.label, entered.state, entered.tags["demo"]) == ("From elsewhere", "finished", "linear_probe")
    assert entered.recorded_words.endswith(", a tested machine")
    assert found[run.run_id].recorded_words == ""
    assert not (runs_dir() / "waiting_for_store.json").exists()
    tracking.delete_run(folder.name)
    shutil.move(home / "trash" / "runs" / folder.name, folder)
    let_wait([folder.name])
    assert len(tracking.list_runs()) == 2  # visible again, not twice
