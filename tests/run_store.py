"""An empty run store in a fraction of a second: MLflow's tables are made once and copied after that."""

import shutil
import sqlite3
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from lib.settings import runs_dir
from lib.tracking import store
from tests.kept_home import kept_home


@lru_cache(maxsize=1)
def _template() -> Path:
    with kept_home():
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


def move_run_store(before: Path, now: Path) -> None:
    """Let the store of a copied home name the copy's folders."""
    with closing(sqlite3.connect(now / "runs" / "mlflow.db")) as connection, connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(before), str(now)))  # noqa: S608
