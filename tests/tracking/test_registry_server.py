"""The registry on a real MLflow server of this machine: register, alias, roll back, and another machine that grades."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest

from lib.errors import UserError
from lib.tracking import create_run
from lib.tracking.model_registry import register_run, registered_bundle, registered_versions, roll_back, set_alias

START_TIMEOUT_S = 90


@pytest.fixture
def server(home, tmp_path, monkeypatch):
    """The address of a server with a database and a store of artifacts of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{tmp_path}/server.db",
               "--artifacts-destination", str(tmp_path / "artifacts")]  # fmt: skip
    with (tmp_path / "server.log").open("w") as log:
        without_jobs = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # which are eight processes more
        running = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=tmp_path, env=without_jobs, start_new_session=True
        )
    try:
        end_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end_s and running.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=1):  # noqa: S310
                break
            time.sleep(0.2)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri
    finally:
        subprocess.run(["kill", "--", f"-{running.pid}"], check=False)  # with its workers
        running.wait(20)


@pytest.mark.slow
def test_a_server_keeps_each_version_as_it_was_registered(server, tmp_path, monkeypatch):
    made = []
    for row in range(2):
        run = create_run({"dataset": "d", "backbone": "b", "strategy": "s"}, name=f"run {row}", state="finished")
        (run.folder / "bundle").mkdir()
        (run.folder / "bundle" / "manifest.json").write_text(json.dumps({"row": row}))
        made.append(run)
    assert [register_run(run.run_id, "eyes").version for run in made] == [1, 2]
    (made[0].folder / "bundle" / "operating_point.json").write_text("{}")  # stored after the training
    assert register_run(made[0].run_id, "eyes").version == 3
    assert [set_alias("eyes", "champion", version) for version in (1, 2, 3)] == [None, 1, 2]
    assert registered_bundle("models:/eyes@champion") == (made[0].folder / "bundle", made[0].run_id)
    old, run_id = registered_bundle("models:/eyes/1")
    assert (run_id, [file.name for file in old.iterdir()]) == ("", ["manifest.json"])
    assert roll_back("eyes") == (3, 2)

    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(tmp_path / "another_machine"))
    assert [(one.version, one.aliases) for one in registered_versions("eyes")] == [(3, ()), (2, ("champion",)), (1, ())]
    for version, row, names in ((2, 1, {"manifest.json"}), (3, 0, {"manifest.json", "operating_point.json"})):
        folder, run_id = registered_bundle(f"models:/eyes/{version}")
        assert run_id == ""
        assert folder.is_relative_to(tmp_path / "another_machine")
        assert json.loads((folder / "manifest.json").read_text()) == {"row": row}
        assert {file.name for file in folder.iterdir()} == names
    assert roll_back("eyes") == (2, 1)
    with pytest.raises(UserError, match="has no classifier yet"):
        register_run(made[1].run_id, "eyes")  # nothing was uploaded at the end of a training
    shutil.rmtree(tmp_path / "artifacts")
    shutil.rmtree(tmp_path / "another_machine" / "cache" / "registered")
    with pytest.raises(UserError, match="neither here nor in the store of artifacts"):
        registered_bundle("models:/eyes/3")
