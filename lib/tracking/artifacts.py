"""The files of a run that MLflow lists as its artifacts."""

import os
from pathlib import Path

from lib.settings import tracking_uri
from lib.tracking import state as states
from lib.tracking.store import client

_UPLOADED = (
    states.CONFIG_FILE, states.SUMMARY_FILE, states.LOG_FILE, states.PREDICTIONS_FILE, states.CONFUSION_FILE,
    states.BUNDLE_FOLDER,
)  # fmt: skip


def link_artifacts(folder: Path) -> None:
    """Give MLflow the files of a run's folder where it looks for them in a store of this machine."""
    for name in _UPLOADED:
        if (folder / name).exists():
            _link_tree(folder / name, folder / "artifacts" / name)


def upload_artifacts(run_id: str, folder: Path) -> None:
    """Give MLflow the files of a run's folder that belong to the run, where it looks for its artifacts."""
    artifact_uri = client().get_run(run_id).info.artifact_uri
    local = artifact_uri.removeprefix("file://")
    for name in _UPLOADED:
        source = folder / name
        if not source.exists():
            continue
        if local.startswith("/"):
            _link_tree(source, Path(local) / name)
            continue
        from lib.tracking.mlflow_client import MlflowRuns

        remote = MlflowRuns(tracking_uri())
        if source.is_dir():
            remote.log_artifacts(run_id, str(source), name)
        else:
            remote.log_artifact(run_id, str(source))


def _link_tree(source: Path, target: Path) -> None:
    """Hard-link files instead of copying: the run folder's files are replaced, never changed in place."""
    if source.is_dir():
        for child in source.iterdir():
            _link_tree(child, target / child.name)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    os.link(source, target)
