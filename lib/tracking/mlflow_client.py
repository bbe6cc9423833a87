"""Runs through MLflow's own client: for servers, and for tables that `sqlite_client.py` does not know."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from lib.tracking.sqlite_client import Metric, NoSuchRun

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
