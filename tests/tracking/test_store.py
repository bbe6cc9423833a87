import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from lib import tracking
from lib.errors import UserError
from lib.settings import PROJECT_ROOT, runs_dir
from tests.tracking.conftest import CONFIG

pytestmark = pytest.mark.usefixtures("run_store")


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
from lib.tracking.store import MlflowRuns, load_mlflow

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


@pytest.mark.slow
def test_pages_that_open_while_mlflow_is_being_imported_wait_for_it():
    command = [sys.executable, "-c", FIRST_USE_FROM_ALL_SIDES]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
