"""The MLflow store behind the runs: an SQLite file in WAL mode by default, any MLFLOW_TRACKING_URI for a team."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.errors import UserError, disk_fault
from lib.settings import runs_dir, tracking_uri
from lib.tracking.repair import enter_waiting, has_waiting
from lib.tracking.sqlite_client import SqliteClient, has_known_tables, use_write_ahead_log

EXPERIMENT = "transferscope"
_SQLITE = "sqlite:///"
_lock = threading.RLock()
_clients: dict[str, tuple[SqliteClient, str, int]] = {}  # by address; the file behind it may change


def client() -> SqliteClient:
    """The client of the current tracking URI: of the file itself where its tables are known, MLflow's otherwise."""
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
    """A client of either kind, with sentences where the disk or the file is at fault."""

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


def _connected() -> tuple[SqliteClient, str]:
    uri = tracking_uri()
    path = sqlite_path(uri)
    with _lock:
        known = _clients.get(uri)
        if known is None or known[2] != _identity(path):
            # Two processes that create the tables at the same time would disturb each other.
            with plain_faults(path), FileLock(runs_dir() / ".mlflow.lock"):
                connected, experiment = _connect(uri, path, is_file_new=known is not None)
                plain: Any = _PlainClient(connected, uri)
                _clients[uri] = (plain, experiment, _identity(path))
        if path is not None and has_waiting():
            with plain_faults(path), FileLock(runs_dir() / ".mlflow.lock"):
                enter_waiting(_clients[uri][0], _clients[uri][1], path)
        return _clients[uri][:2]


def _identity(path: Path | None) -> int:
    """Which file it is, by its number on the disk; 0 for a server."""
    try:
        return path.stat().st_ino if path else 0
    except OSError:
        return 0


def _connect(uri: str, path: Path | None, *, is_file_new: bool) -> tuple[Any, str]:
    try:
        connected: Any
        if path is not None and has_known_tables(path):
            connected = SqliteClient(path)
        else:
            from lib.tracking.mlflow_client import MlflowRuns

            connected = MlflowRuns(uri)
            if is_file_new:
                connected.reopen()
            if path is not None:
                use_write_ahead_log(path)
        # Beside the run's own files, so that artifacts can be links to them and take no space.
        experiment = connected.experiment_id(EXPERIMENT, str(runs_dir()) if path is not None else None)
    except Exception as error:
        if fault := disk_fault(error, path):
            raise fault from error
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"The run store {uri} cannot be used ({reason}). Check MLFLOW_TRACKING_URI and that its server is up, "
            "or unset it to keep runs in the data folder."
        ) from error
    return connected, experiment
