import gzip
import math
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lib import tracking
from lib.settings import PROJECT_ROOT, runs_dir, tracking_uri
from lib.tracking import sqlite_client, store
from lib.tracking.sqlite_client import EMPTY_STORE, TABLES, NoSuchRun, SqliteClient, has_known_tables
from lib.tracking.store import MlflowRuns
from tests.run_store import make_run_store

TAGS = {"state": "queued", "config": "{}", "mlflow.parentRunId": "a" * 32}


@pytest.fixture
def both(home: Path) -> tuple[SqliteClient, MlflowRuns]:
    """Two clients of one file."""
    make_run_store()
    return SqliteClient(runs_dir() / "mlflow.db"), MlflowRuns(tracking_uri())


def everything(client, run_id):
    run = client.get_run(run_id)
    facts = {
        name: getattr(run.info, name)
        for name in sqlite_client._INFO
        if name not in {"run_id", "start_time", "end_time"}
    }
    history = [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run_id, "loss")]
    facts["artifact_uri"] = facts["artifact_uri"].replace(run_id, "ID")
    return facts, run.info.end_time is None, dict(run.data.tags), dict(run.data.params), dict(run.data.metrics), history


def do_all(client):
    """Everything that is done to a run; the id."""
    experiment = client.experiment_id("transferscope", None)
    run_id = client.create_run(experiment, run_name="a run", tags=TAGS, start_time=1000).info.run_id
    client.update_run(run_id, status="SCHEDULED")
    client.log_batch(run_id, params={"lr": "0.1", "epochs": "3"})
    client.log_batch(run_id, params={"lr": "0.2", "dtype": "float32"})
    client.log_batch(run_id, metrics=[("loss", 0.5, 10, 1), ("loss", 0.25, 20, 2), ("accuracy", 1.0, 20, 2)])
    client.log_batch(run_id, metrics=[("loss", 0.75, 30, 1), ("accuracy", 0.5, 30, 2)])
    client.log_batch(run_id, metrics=[("loss", 0.25, 20, 2)])  # once more the same
    client.log_batch(run_id, tags={"state": "running", "note": "é"})
    client.update_run(run_id, name="another name")
    client.set_terminated(run_id, status="FINISHED")
    return run_id


def test_the_file_holds_what_mlflow_would_have_written(both):
    direct, mlflow = both
    ours, theirs = do_all(direct), do_all(mlflow)
    found = everything(direct, ours)
    assert found == everything(mlflow, ours) == everything(direct, theirs) == everything(mlflow, theirs)
    assert found[0] == {
        "run_name": "another name", "status": "FINISHED", "lifecycle_stage": "active",
        "artifact_uri": f"{runs_dir()}/ID/artifacts",
    }  # fmt: skip
    assert found[1:4] == (
        False,
        {**TAGS, "state": "running", "note": "é", "mlflow.runName": "another name"},
        {"lr": "0.1", "epochs": "3", "dtype": "float32"},
    )
    assert found[4] == {"loss": 0.25, "accuracy": 0.5}
    assert sorted(found[5]) == [(1, 0.5, 10), (1, 0.75, 30), (2, 0.25, 20)]


def test_lists_are_those_of_mlflow_newest_first(both):
    direct, mlflow = both
    experiment = direct.experiment_id("transferscope", None)
    assert experiment == mlflow.experiment_id("transferscope", None)
    ids = [direct.create_run(experiment, tags={}, start_time=when).info.run_id for when in (30, 10, 20)]
    direct.delete_run(ids[2])
    for include_deleted, expected in ((False, [ids[0], ids[1]]), (True, [ids[0], ids[2], ids[1]])):
        for client in both:
            listed = client.all_runs(experiment, include_deleted=include_deleted)
            assert [run.info.run_id for run in listed] == expected
    mlflow.restore_run(ids[2])
    assert direct.get_run(ids[2]).info.lifecycle_stage == "active"
    direct.delete_run(ids[0])
    direct.restore_run(ids[0])
    assert mlflow.get_run(ids[0]).info.lifecycle_stage == "active"


def test_unknown_and_deleted_runs_take_nothing(both):
    for client in both:
        with pytest.raises(NoSuchRun, match="knows no run"):
            client.get_run("0" * 32)
    direct, _ = both
    run_id = direct.create_run(direct.experiment_id("transferscope", None), tags={}).info.run_id
    direct.delete_run(run_id)
    with pytest.raises(NoSuchRun, match="or it was deleted"):
        direct.log_batch(run_id, tags={"a": "b"})


def test_an_experiment_is_made_once_in_either_way(both):
    direct, mlflow = both
    made = direct.experiment_id("new", "/somewhere")
    assert made == direct.experiment_id("new", None) == mlflow.experiment_id("new", None)
    assert mlflow.get_experiment(made).artifact_location == "/somewhere"


def test_what_is_no_number_is_left_out_of_what_others_logged(both):
    direct, mlflow = both
    run_id = direct.create_run(direct.experiment_id("transferscope", None), tags={}).info.run_id
    mlflow.log_metric(run_id, "loss", math.nan)
    assert direct.get_run(run_id).data.metrics == {}
    assert direct.get_metric_history(run_id, "loss") == []


def test_the_installed_mlflow_has_the_tables_that_ship(tmp_path):
    assert sqlite_client._revision_of_mlflow() == TABLES
    path = tmp_path / "store.db"
    path.write_bytes(gzip.decompress(EMPTY_STORE.read_bytes()))
    assert has_known_tables(path)


def test_other_tables_are_left_to_mlflow(tmp_path, home, monkeypatch):
    path = tmp_path / "store.db"
    path.write_bytes(gzip.decompress(EMPTY_STORE.read_bytes()))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of another'")
    assert not has_known_tables(path)
    (tmp_path / "empty.db").touch()
    assert not has_known_tables(tmp_path / "empty.db")
    monkeypatch.setattr(sqlite_client, "_revision_of_mlflow", lambda: "newer")
    assert not has_known_tables(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    make_run_store()
    monkeypatch.setattr(store, "has_known_tables", lambda path: False)
    monkeypatch.setattr(store, "_clients", {})
    run = tracking.create_run({"strategy": "linear_probe"})
    assert isinstance(store.client()._client, MlflowRuns)
    run.log_metrics({"loss": 1.0}, step=1)
    run.finish("finished")
    assert [(found.state, found.metrics) for found in tracking.list_runs()] == [("finished", {"loss": 1.0})]


def test_runs_are_written_and_listed_without_mlflow(home):
    code = (
        "import sys; from lib import tracking; run = tracking.create_run({'dataset': 'd'}, state='running'); "
        "run.log_metrics({'loss': 1.0}, 1); run.finish('finished'); "
        "assert tracking.list_runs()[0].metrics == {'loss': 1.0}; sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT).returncode == 0
