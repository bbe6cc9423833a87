"""Runs in an SQLite file with the tables of MLflow, read and written without importing MLflow (seconds of it).

The rows are those that MLflow writes itself, so that `mlflow ui` and MLflow's own client show the same runs. Only
tables of the revision `TABLES` are touched; for any other, and for servers, `store.py` takes MLflow's client.
"""

import gzip
import importlib.util
import re
import sqlite3
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lib.atomic import atomic_path
from lib.errors import UserError
from lib.settings import ASSETS_DIR

TABLES = "dc11669786a5"  # Alembic's revision of the tables in `EMPTY_STORE`
EMPTY_STORE = ASSETS_DIR / "empty_run_store.db.gz"  # written by tests/checks/empty_run_store.py
Metric = tuple[str, float, int, int]  # key, value, ms since 1970, step

INSERT_RUN = """INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,
    start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
    VALUES (?, ?, 'UNKNOWN', '', '', 'unknown', ?, ?, ?, '', 'active', ?, ?)"""
_TAG = """INSERT INTO tags (run_uuid, key, value) VALUES (?, ?, ?)
    ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"""
_PARAM = "INSERT INTO params (run_uuid, key, value) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_METRIC = """INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)
    ON CONFLICT DO NOTHING"""
_LATEST = """INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)
    ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value, timestamp = excluded.timestamp,
    step = excluded.step, is_nan = 0
    WHERE (excluded.step, excluded.timestamp, excluded.value)
        > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)"""
_READ = """SELECT run_uuid, name, status, start_time, end_time, artifact_uri, lifecycle_stage FROM runs
    WHERE {where} ORDER BY start_time DESC, run_uuid"""
_READ_BESIDE = {
    "tags": "SELECT run_uuid, key, value FROM tags WHERE run_uuid IN (SELECT run_uuid FROM runs WHERE {where})",
    "params": "SELECT run_uuid, key, value FROM params WHERE run_uuid IN (SELECT run_uuid FROM runs WHERE {where})",
    "metrics": """SELECT run_uuid, key, value FROM latest_metrics
        WHERE NOT is_nan AND run_uuid IN (SELECT run_uuid FROM runs WHERE {where})""",
}


_INFO = ("run_id", "run_name", "status", "start_time", "end_time", "artifact_uri", "lifecycle_stage")


class NoSuchRun(UserError):
    """The run store knows no run of that id."""


def has_known_tables(path: Path) -> bool:
    """Whether an SQLite file has the tables of this module; a new one gets them if the installed MLflow has the same.

    Raises:
        sqlite3.Error: the file cannot be opened, or is no database.
    """
    if not path.exists():
        if _revision_of_mlflow() != TABLES:
            return False
        with suppress(OSError, EOFError), atomic_path(path) as temporary:
            temporary.write_bytes(gzip.decompress(EMPTY_STORE.read_bytes()))
        if not path.exists():
            return False
    try:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            return bool(connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(TABLES,)])
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return False
        raise


def use_write_ahead_log(path: Path) -> None:
    """Choose the mode in which readers never block the writer; a busy file keeps what it has."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path, timeout=10)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _revision_of_mlflow() -> str:
    """The newest revision among the installed MLflow's changes of its tables; empty if there is not exactly one."""
    package = importlib.util.find_spec("mlflow")
    folders = list(package.submodule_search_locations or []) if package else []
    texts = [
        file.read_text("utf-8") for place in folders for file in Path(place).glob("store/db_migrations/versions/*.py")
    ]
    found, former = (
        {name for text in texts for name in re.findall(rf'^{word} = "(\w+)"', text, re.MULTILINE)}
        for word in ("revision", "down_revision")
    )
    newest = found - former
    return newest.pop() if len(newest) == 1 else ""


class SqliteClient:
    """The part of MLflow's client that runs need, over one file; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        use_write_ahead_log(path)
        # Held open: with its last connection SQLite removes its log, and a full disk takes no new one.
        self._held = self._open(check_same_thread=False)
        self._held.execute("SELECT 1 FROM runs LIMIT 1").fetchall()

    def experiment_id(self, name: str, artifact_location: str | None) -> str:
        """The id of an experiment, made if there is none of that name."""
        now = _now_ms()
        with self._writing() as connection:
            asked = "SELECT experiment_id FROM experiments WHERE name = ? ORDER BY experiment_id"
            if found := connection.execute(asked, (name,)).fetchone():
                return str(found[0])
            made = connection.execute(
                "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time)"
                " VALUES (?, ?, 'active', ?, ?)",
                (name, artifact_location or str(self._path.parent), now, now),
            )
        return str(made.lastrowid)

    def create_run(
        self, experiment_id: str, *, run_name: str = "", tags: Mapping[str, str], start_time: int | None = None
    ) -> Any:
        """Make a running run under a new id; `start_time` in ms since 1970."""
        run_id, started = uuid.uuid4().hex, start_time or _now_ms()
        with self._writing() as connection:
            asked = "SELECT artifact_location FROM experiments WHERE experiment_id = ?"
            (place,) = connection.execute(asked, (int(experiment_id),)).fetchone()
            artifacts = f"{place}/{run_id}/artifacts"
            connection.execute(INSERT_RUN, (run_id, run_name, "RUNNING", started, None, artifacts, int(experiment_id)))
            connection.executemany(_TAG, [(run_id, *tag) for tag in {"mlflow.runName": run_name, **tags}.items()])
        return self.get_run(run_id)

    def get_run(self, run_id: str) -> Any:
        """One run, with `info` and `data` as MLflow's; raises NoSuchRun."""
        found = self._read("run_uuid = ?", run_id)
        if not found:
            raise NoSuchRun(f"The run store knows no run {run_id!r}.")
        return found[0]

    def all_runs(self, experiment_id: str, *, include_deleted: bool) -> list[Any]:
        """The runs of an experiment, newest first."""
        shown = "" if include_deleted else " AND lifecycle_stage = 'active'"
        return self._read(f"experiment_id = ?{shown}", int(experiment_id))

    def brief_runs(self, experiment_id: str, tags: Sequence[str]) -> list[Any]:
        """As `all_runs` of what is shown, with those tags alone: a tenth of the time where there are thousands."""
        keys = ", ".join(f"'{tag}'" for tag in tags)
        asked = f"{_READ_BESIDE['tags']} AND key IN ({keys})"
        where = "experiment_id = ? AND lifecycle_stage = 'active'"
        return self._read(where, int(experiment_id), {"tags": asked})

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        """Every logged value of a metric, with `step`, `value` and `timestamp` (ms since 1970)."""
        asked = "SELECT step, value, timestamp FROM metrics WHERE run_uuid = ? AND key = ? AND NOT is_nan"
        with closing(self._open()) as connection:
            rows = connection.execute(asked, (run_id, key)).fetchall()
        return [SimpleNamespace(step=step, value=value, timestamp=when) for step, value, when in rows]

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add finite metrics, parameters (those that are there stay) and tags (those that are there change)."""
        rows = [(run_id, *metric) for metric in metrics]
        with self._writing(run_id) as connection:
            connection.executemany(_METRIC, rows)
            connection.executemany(_LATEST, rows)
            connection.executemany(_PARAM, [(run_id, *param) for param in (params or {}).items()])
            connection.executemany(_TAG, [(run_id, *tag) for tag in (tags or {}).items()])

    def delete_tag(self, run_id: str, key: str) -> None:
        """Take a tag away; nothing happens where there is none."""
        with self._writing(run_id) as connection:
            connection.execute("DELETE FROM tags WHERE run_uuid = ? AND key = ?", (run_id, key))

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        """Change status or name."""
        with self._writing(run_id) as connection:
            if status is not None:
                connection.execute("UPDATE runs SET status = ? WHERE run_uuid = ?", (status, run_id))
            if name:
                connection.execute("UPDATE runs SET name = ? WHERE run_uuid = ?", (name, run_id))
                connection.execute(_TAG, (run_id, "mlflow.runName", name))

    def set_terminated(self, run_id: str, status: str) -> None:
        """Enter a final status, with the time of now."""
        with self._writing(run_id) as connection:
            ended = "UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?"
            connection.execute(ended, (status, _now_ms(), run_id))

    def delete_run(self, run_id: str) -> None:
        """Hide a run."""
        with self._writing(run_id) as connection:
            hidden = "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = ? WHERE run_uuid = ?"
            connection.execute(hidden, (_now_ms(), run_id))

    def restore_run(self, run_id: str) -> None:
        """Show a hidden run again."""
        with self._writing() as connection:
            shown = "UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL WHERE run_uuid = ?"
            connection.execute(shown, (run_id,))

    def _read(self, where: str, value: str | int, asked_beside: Mapping[str, str] = _READ_BESIDE) -> list[Any]:
        with closing(self._open()) as connection:
            connection.execute("BEGIN")  # all tables at one moment
            runs = connection.execute(_READ.format(where=where), (value,)).fetchall()
            beside: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _READ_BESIDE}
            for name, asked in asked_beside.items():
                for run_id, key, content in connection.execute(asked.format(where=where), (value,)):
                    beside[name].setdefault(run_id, {})[key] = content
        return [
            SimpleNamespace(
                info=SimpleNamespace(**dict(zip(_INFO, row, strict=True))),
                data=SimpleNamespace(**{name: rows.get(row[0], {}) for name, rows in beside.items()}),
            )
            for row in runs
        ]

    def _open(self, *, check_same_thread: bool = True) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=check_same_thread)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    @contextmanager
    def _writing(self, run_id: str | None = None) -> Iterator[sqlite3.Connection]:
        """A transaction; raises NoSuchRun where `run_id` is given and no such run is shown."""
        with closing(self._open()) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            if run_id is not None:
                asked = "SELECT 1 FROM runs WHERE run_uuid = ? AND lifecycle_stage = 'active'"
                if connection.execute(asked, (run_id,)).fetchone() is None:
                    raise NoSuchRun(f"The run store knows no run {run_id!r}, or it was deleted.")
            yield connection


def _now_ms() -> int:
    return int(time.time() * 1000)
