"""Make the tables of a new run store afresh from the installed MLflow: `python -m tests.checks.empty_run_store`.

To be run where MLflow has changed its tables; `TABLES` of lib/tracking/sqlite_client.py then needs their revision.
"""

import gzip
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from lib.atomic import atomic_path
from lib.tracking.sqlite_client import EMPTY_STORE
from lib.tracking.store import MlflowRuns


def write_empty_store(target: Path) -> None:
    """Keep the tables that this MLflow makes, without experiments of ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        MlflowRuns(f"sqlite:///{path}").search_experiments()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE experiments SET artifact_location = './mlruns/0'")
            connection.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with atomic_path(target) as temporary:
            temporary.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


if __name__ == "__main__":
    write_empty_store(EMPTY_STORE)
