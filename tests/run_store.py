"""An empty run store in a fraction of a second: MLflow's tables are made once and copied after that."""

import atexit
import shutil
import sqlite3
import tempfile
from contextlib import closing
from functools import lru_cache
from pathlib import Path

import pytest

from lib.settings import runs_dir
from lib.tracking import store


@lru_cache(maxsize=1)
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="transferscope-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(folder))
        store.client()
        with closing(sqlite3.connect(runs_dir() / "mlflow.db")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return runs_dir() / "mlflow.db"


def make_run_store() -> None:
    """Put a copy of an empty store into the current TRANSFERSCOPE_HOME."""
    target = runs_dir() / "mlflow.db"
    shutil.copy(_template(), target)
    with closing(sqlite3.connect(target)) as connection, connection:
        connection.execute(
            "UPDATE experiments SET artifact_location = ? WHERE name = ?", (str(runs_dir()), store.EXPERIMENT)
        )
