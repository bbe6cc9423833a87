"""The MLflow store behind the runs: an SQLite file in WAL mode by default, any MLFLOW_TRACKING_URI for a team."""

import gzip
import logging
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from lib.atomic import atomic_path
from lib.errors import UserError, disk_fault
from lib.settings import ASSETS_DIR, runs_dir, tracking_uri
from lib.tracking.entering import enter_waiting, has_waiting

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "transferscope"
EMPTY_STORE = ASSETS_DIR / "empty_run_store.db.gz"
_SQLITE = "sqlite:///"
_lock = threading.RLock()
_clients: dict[str, tuple["MlflowClient", str, int]] = {}


def load_mlflow() -> None:
    """Import MLflow whole; called before any module of it is imported by its name.

    A thread that imports a module of a package waits for that package only if nobody has begun to import it. Of two
    threads that begin at different modules of MLflow, whose imports run in circles, one gets a deadlock error, and from
    then on MLflow cannot be imported in this process any more. For the package itself Python does wait.
    """
    import mlflow  # noqa: F401


def client() -> "MlflowClient":
    """The MLflow client of the current tracking URI; importing MLflow takes about two seconds the first time."""
    return _connected()[0]


def experiment_id() -> str:
    """The id of the one experiment that holds all runs."""
    return _connected()[1]


def is_store_empty() -> bool:
    """Whether the default database does not exist yet and no run waits for it, so that listing needs no MLflow."""
    path = sqlite_path(tracking_uri())
    return path is not None and not path.exists() and not has_waiting()


def sqlite_path(uri: str) -> Path | None:
    """The file behind an SQLite URI, None for anything else."""
    return Path(uri.removeprefix(_SQLITE).split("?")[0]) if uri.startswith(_SQLITE) else None


class _PlainClient:
    """The MLflow client, with sentences where the disk or the file is at fault."""

    def __init__(self, client: Any, uri: str) -> None:
        self._client, self._uri = client, uri

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            with plain_faults(sqlite_path(self._uri)):
                return attribute(*arguments, **options)

        return call


@contextmanager
def plain_faults(path: Path | None) -> Iterator[None]:
    """Turn what SQLite and the disk say into one sentence that names the file; other exceptions pass."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        fault = disk_fault(error, path)
        if fault is None:
            raise
        raise fault from error


def _connected() -> tuple["MlflowClient", str]:
    uri = tracking_uri()
    path = sqlite_path(uri)
    with _lock:
        known = _clients.get(uri)
        if known is None or known[2] != _identity(path):
            # Two processes that create the tables at the same time would disturb each other.
            with plain_faults(path), FileLock(runs_dir() / ".mlflow.lock"):
                if known is not None:
                    _begin_anew(known[0]._tracking_client.store)
                client, experiment = _connect(uri)
                plain: Any = _PlainClient(client, uri)
                _clients[uri] = (plain, experiment, _identity(path))
        if path is not None and has_waiting():
            with plain_faults(path), FileLock(runs_dir() / ".mlflow.lock"):
                enter_waiting(_clients[uri][0], _clients[uri][1], path)
        return _clients[uri][:2]


def _begin_anew(store: Any) -> None:
    """Have MLflow, which keeps a store for each address, open the file that has come in place of a former one."""
    store.engine.dispose()
    store.__init__(store.db_uri, store.artifact_root_uri)


def _identity(path: Path | None) -> int:
    """Which file it is, by its number on the disk; 0 for a server."""
    try:
        return path.stat().st_ino if path else 0
    except OSError:
        return 0


def _connect(uri: str) -> tuple["MlflowClient", str]:
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # A server that is away should cost seconds; MLflow's own default retries for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    load_mlflow()
    from mlflow.exceptions import MlflowException

    path = sqlite_path(uri)
    try:
        connected = _opened(uri, path)
        found = connected.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            experiment = found.experiment_id
        else:
            # Beside the run's own files, so that artifacts can be links to them and take no space.
            location = str(runs_dir()) if path is not None else None
            experiment = connected.create_experiment(EXPERIMENT, artifact_location=location)
    except (MlflowException, OSError) as error:
        if fault := disk_fault(error, path):
            raise fault from error
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"The run store {uri} cannot be used ({reason}). Check MLFLOW_TRACKING_URI and that its server is up, "
            "or unset it to keep runs in the data folder."
        ) from error
    if path is not None:
        _use_write_ahead_log(path)
    return connected, str(experiment)


def _opened(uri: str, path: Path | None) -> "MlflowClient":
    """The client of a store; the tables of a new one are unpacked where they are those of this MLflow.

    To make them takes MLflow seven seconds: it goes through every change that its tables have ever seen.
    """
    from mlflow.tracking import MlflowClient

    if path is not None and not path.exists():
        with suppress(OSError, EOFError, sqlite3.Error), atomic_path(path) as temporary:
            temporary.write_bytes(gzip.decompress(EMPTY_STORE.read_bytes()))
            _refuse_other_tables(temporary)
    return MlflowClient(tracking_uri=uri)


def _refuse_other_tables(path: Path) -> None:
    """Raise sqlite3.Error for tables of another MLflow, which would refuse the file and then keep it open."""
    from mlflow.store.db import utils

    latest = getattr(utils, "_get_latest_schema_revision", None)
    with closing(sqlite3.connect(path)) as connection:
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if latest is None or revision != (latest(),):
        raise sqlite3.DatabaseError(f"The tables {revision} are not those of this MLflow.")


def write_empty_store(target: Path) -> None:
    """Keep the tables that this MLflow makes, without experiments of ours: `EMPTY_STORE` comes from here."""
    load_mlflow()
    from mlflow.tracking import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        MlflowClient(tracking_uri=f"{_SQLITE}{path}").search_experiments()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with atomic_path(target) as temporary:
            temporary.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def _use_write_ahead_log(path: Path) -> None:
    # Readers then never block the writing worker. The mode is kept in the file; a busy file keeps what it has.
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path, timeout=10)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
