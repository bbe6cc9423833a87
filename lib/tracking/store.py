"""The store behind the runs: an SQLite file in WAL mode by default, any MLFLOW_TRACKING_URI for a team.

A file with tables that are known is read and written as it is (sqlite_client.py); for servers, and for other tables,
there is MLflow's own client, which is imported when it is first needed.
"""

import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from lib.errors import UserError, disk_fault
from lib.settings import runs_dir, tracking_uri, trash_dir
from lib.tracking import state as states
from lib.tracking.repair import enter_folder, enter_waiting, has_waiting, is_damaged, move_aside
from lib.tracking.sqlite_client import Metric, NoSuchRun, SqliteClient, has_known_tables, use_write_ahead_log

_KEPT_TAGS = "SELECT key, value FROM tags WHERE run_uuid = ?"
_KEPT_METRICS = "SELECT key, value, timestamp, step FROM metrics WHERE run_uuid = ? ORDER BY timestamp"
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


_PAGE = 1000


def load_mlflow() -> None:
    """Import MLflow whole; called before any module of it is imported by its name.

    A thread that imports a module of a package waits for that package only if nobody has begun to import it. Of two
    threads that begin at different modules of MLflow, whose imports run in circles, one gets a deadlock error, and from
    then on MLflow cannot be imported in this process any more. For the package itself Python does wait.
    """
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # A server that is away should cost seconds; MLflow's own default retries for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow  # noqa: F401


class MlflowRuns:
    """MLflow's client with the methods of `SqliteClient`; what is the same is passed on."""

    def __init__(self, uri: str) -> None:
        load_mlflow()
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient(tracking_uri=uri)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def reopen(self) -> None:
        """Open the file that has come in place of a former one; MLflow keeps a store for each address."""
        store = self._client._tracking_client.store
        store.engine.dispose()
        store.__init__(store.db_uri, store.artifact_root_uri)

    def experiment_id(self, name: str, artifact_location: str | None) -> str:
        """The id of an experiment, made if there is none of that name."""
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=artifact_location))

    def get_run(self, run_id: str) -> Any:
        """One run; raises NoSuchRun."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise NoSuchRun(f"The run store knows no run {run_id!r}.") from error

    def all_runs(self, experiment_id: str, *, include_deleted: bool) -> list[Any]:
        """The runs of an experiment, newest first."""
        from mlflow.entities import ViewType

        view = ViewType.ALL if include_deleted else ViewType.ACTIVE_ONLY
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs(
                [experiment_id], run_view_type=view, max_results=_PAGE, order_by=["start_time DESC"], page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def brief_runs(self, experiment_id: str, tags: Sequence[str]) -> list[Any]:
        """The runs that are shown, newest first; a server sends them whole."""
        return self.all_runs(experiment_id, include_deleted=False)

    def delete_tag(self, run_id: str, key: str) -> None:
        """Take a tag away; nothing happens where there is none."""
        if key in self._client.get_run(run_id).data.tags:
            self._client.delete_tag(run_id, key)

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add finite metrics, parameters (those that are there stay) and tags (those that are there change)."""
        from mlflow import entities

        known = self._client.get_run(run_id).data.params if params else {}
        fresh = [entities.Param(*param) for param in (params or {}).items() if param[0] not in known]
        told = [entities.RunTag(*tag) for tag in (tags or {}).items()]
        if fresh or told:
            self._client.log_batch(run_id, params=fresh, tags=told)
        for start in range(0, len(metrics), _PAGE):
            logged = [entities.Metric(*metric) for metric in metrics[start : start + _PAGE]]
            self._client.log_batch(run_id, metrics=logged)


def repair_store() -> list[str]:
    """Look at the database of runs and make a damaged one anew; returns what was found and done, in sentences.

    States, names, settings and final figures come from the runs' folders; curves, tags and deleted runs' marks from
    what the damaged file still gives.
    """
    path = sqlite_path(tracking_uri())
    if path is None:
        return [f"The run store {tracking_uri()} is a server's; it is not looked at here."]
    if not is_damaged(path):
        return [f"{path} is whole."]
    aside = move_aside(path)
    folders = [*runs_dir().glob(f"*/{states.STATE_FILE}"), *trash_dir().glob(f"runs/*/{states.STATE_FILE}")]
    num_entered = sum(_enter(file.parent, path, aside) for file in folders)
    return [
        f"{path} was damaged and is now {aside}.",
        f"{num_entered} {'run was' if num_entered == 1 else 'runs were'} entered anew from their folders.",
    ]


def _enter(folder: Path, path: Path, aside: Path) -> bool:
    """Enter one run; False if its folder does not say what it is."""
    run_id, tags = folder.name, dict(_kept(aside, _KEPT_TAGS, folder.name))
    # A run that keeps its timeline has its curves there; of older ones the damaged file still has some.
    rows = [] if states.timeline_events(folder) else _kept(aside, _KEPT_METRICS, run_id)
    metrics = [(str(key), float(value), int(when), int(step)) for key, value, when, step in rows]
    if not enter_folder(folder, client(), experiment_id(), path, tags=tags, metrics=metrics):
        return False
    if folder.parent != runs_dir():
        client().delete_run(run_id)
    return True


def _kept(aside: Path, question: str, run_id: str) -> Iterable[Any]:
    """The rows that a damaged database still gives."""
    found = []
    with suppress(sqlite3.Error), closing(sqlite3.connect(aside, timeout=10)) as connection:
        for row in connection.execute(question, (run_id,)):  # those before the damage count
            found.append(row)
    return found
