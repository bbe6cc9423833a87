"""Writing a run: its MLflow entry and its folder."""

import importlib.metadata
import json
import logging
import math
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.atomic import read_json, write_json
from lib.errors import UserError, disk_fault
from lib.settings import HEARTBEAT_INTERVAL_S, PROJECT_ROOT, tracking_uri
from lib.tracking import state as states
from lib.tracking.store import MlflowRuns, client, experiment_id
from lib.tracking.timeline import TimelineWriter

_MAX_NOTES = 10


def create_run(
    config: Mapping[str, Any], *, name: str = "", state: str = "queued", parent: str | None = None
) -> "RunWriter":
    """Create a run (MLflow entry and folder) for a flat config; `parent` is the id of the run that it continues."""
    tags = {
        "state": state, "config": json.dumps(dict(config)), "host": states.host_name(),
        "code_version": code_version(), "dataset_version": str(config.get("dataset_version") or ""),
    }  # fmt: skip
    if parent:
        tags["mlflow.parentRunId"] = parent
    name = name or states.default_name(config)
    run = client().create_run(experiment_id(), run_name=name, tags=tags)
    run_id = run.info.run_id
    folder = states.run_folder(run_id)
    now = time.time()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / states.CONFIG_FILE, dict(config))
        states.update_state(
            run_id, state=state, message="", name=name, host=states.host_name(), created_s=now, heartbeat_s=now,
            progress={},
        )  # fmt: skip
        if state == "queued":
            client().update_run(run_id, status=states.MLFLOW_STATUS[state])
    except (OSError, UserError) as error:
        discard_run(run_id)
        raise disk_fault(error, folder) or error from error
    return RunWriter(run_id, folder)


def discard_run(run_id: str) -> None:
    """Take back a run that could not be made whole, as far as the disk allows."""
    shutil.rmtree(states.run_folder(run_id), ignore_errors=True)
    with suppress(Exception):  # a full disk: without a folder the run reads as never made
        client().delete_run(run_id)


class RunWriter:
    """Everything a process writes about one run; safe to share between the training and the heartbeat thread."""

    def __init__(self, run_id: str, folder: Path | None = None) -> None:
        self.run_id = run_id
        self.folder = folder or states.run_folder(run_id)
        self._progress: dict[str, Any] = {}
        self._written_s = 0.0
        self._lock = threading.Lock()
        self._timeline = TimelineWriter(self.folder)

    @property
    def config(self) -> dict[str, Any]:
        """The stored config."""
        return dict(read_json(self.folder / states.CONFIG_FILE))

    @property
    def summary(self) -> dict[str, Any]:
        """The final figures; empty before there are any."""
        return states.read_summary(self.folder)

    @property
    def name(self) -> str:
        """The name to show."""
        return states.read_state(self.run_id).name

    def is_stop_requested(self) -> bool:
        """Whether somebody asked this run to stop."""
        return (self.folder / states.STOP_FILE).exists()

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; those that are there already stay as they are (a resumed run repeats them)."""
        client().log_batch(self.run_id, params={key: str(value)[:6000] for key, value in params.items()})

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at a step (an epoch, counted from 1); what is not a finite number is left out."""
        now_ms = int(time.time() * 1000)
        numbers = {
            key: float(value)
            for key, value in metrics.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }
        self._timeline.metrics(numbers, step)
        client().log_batch(self.run_id, metrics=[(key, value, now_ms, step or 0) for key, value in numbers.items()])

    def log_confusion(self, entry: Mapping[str, Any]) -> None:
        """Append an epoch's confusion matrix of the validation images: prefix, epoch and matrix (K, K)."""
        states.append_line(self.folder / states.CONFUSION_FILE, entry)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set text tags on the MLflow entry."""
        client().log_batch(self.run_id, tags={key: str(value)[:4000] for key, value in tags.items()})

    def set_state(self, state: str, message: str = "", *, ending: str = "", **details: Any) -> None:
        """Enter a state; `details` are further keys of state.json, such as pid. The file first, then MLflow.

        `ending` says how it came to a state that is none of success (EXIT_REASONS).
        """
        _check_state(state)
        if state == "running":
            pid = os.getpid()
            this_process = {"pid": pid, "pid_started_s": states.start_time_s(pid), "host": states.host_name()}
            details = {**this_process, **details}
        details = {"ending": ending, **details}
        states.update_state(self.run_id, state=state, message=message, heartbeat_s=time.time(), **details)
        self._timeline.state(state)
        self._tell_mlflow(state, message, details)

    def _tell_mlflow(self, state: str, message: str, details: Mapping[str, Any]) -> None:
        self.set_tags({"state": state, "message": message, **details})
        if state in states.ACTIVE_STATES:
            client().update_run(self.run_id, status=states.MLFLOW_STATUS[state])
        else:
            client().set_terminated(self.run_id, status=states.MLFLOW_STATUS[state])

    def heartbeat(self, **progress: Any) -> None:
        """Say that the process lives and, where given, how far it is; cheap enough to call for every batch."""
        with self._lock:
            changes_phase = progress.get("phase", self._progress.get("phase")) != self._progress.get("phase")
            # A number of the last phase, such as its total, would be wrong in the next; the epoch stays.
            if changes_phase:
                self._progress = {key: self._progress[key] for key in ("epoch", "epochs") if key in self._progress}
            self._progress = {**self._progress, **progress}
            now = time.monotonic()
            if not changes_phase and now - self._written_s < HEARTBEAT_INTERVAL_S / 2:
                return
            self._written_s = now
            if self._progress:
                self._timeline.progress(self._progress)
            changes = {"progress": self._progress} if self._progress else {}
            states.update_state(self.run_id, heartbeat_s=time.time(), **changes)

    def note(self, text: str) -> None:
        """Keep a sentence that the person should read beside the run, such as a fallback; said once."""
        known = states.read_state(self.run_id).notes
        if text not in known:
            states.update_state(self.run_id, notes=[*known, text][-_MAX_NOTES:])

    def log_summary(self, summary: Mapping[str, Any]) -> None:
        """Keep the final figures: summary.json, and its numbers as metrics."""
        write_json(self.folder / states.SUMMARY_FILE, dict(summary))
        self.log_metrics({key: value for key, value in summary.items() if isinstance(value, int | float)})

    def finish(self, state: str, message: str = "", ending: str = "") -> None:
        """End the run: upload what belongs to it, then enter the final state.

        A store that cannot be written (a full disk, a server that is away) does not stop that: the run's folder counts.

        Raises:
            OSError: not even the state in the folder could be written.
        """
        _check_state(state)
        try:
            _upload_artifacts(self.run_id, self.folder)
        except Exception:  # a full disk or a server that went away must not leave the run "running"
            logging.getLogger(__name__).exception("The artifacts of run %s could not be uploaded.", self.run_id)
        with self._lock, suppress(OSError):
            if self._progress:
                states.update_state(self.run_id, progress=self._progress)
        states.update_state(self.run_id, state=state, message=message, ending=ending, heartbeat_s=time.time())
        self._timeline.state(state)
        try:
            self._tell_mlflow(state, message, {"ending": ending})
        except Exception:
            logging.getLogger(__name__).exception("MLflow does not know yet that run %s is %s.", self.run_id, state)


def _check_state(state: str) -> None:
    if state not in states.STATES:
        raise ValueError(f"Unknown state {state!r}; choose one of {', '.join(states.STATES)}.")


@lru_cache(maxsize=1)
def code_version() -> str:
    """The commit of a checkout ("-dirty" if changed), else the installed version; "" where neither is known."""
    if not (PROJECT_ROOT / ".git").exists():  # asked there, git would answer for whatever lies around the installation
        try:
            return importlib.metadata.version("transferscope")
        except importlib.metadata.PackageNotFoundError:
            return ""
    command = ["git", "-C", str(PROJECT_ROOT), "describe", "--always", "--dirty"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _upload_artifacts(run_id: str, folder: Path) -> None:
    local = client().get_run(run_id).info.artifact_uri.removeprefix("file://")
    if local.startswith("/"):
        states.link_artifacts(folder, Path(local))
        return
    remote = MlflowRuns(tracking_uri())
    for source in (folder / name for name in states.ARTIFACTS):
        if source.is_dir():
            remote.log_artifacts(run_id, str(source), source.name)
        elif source.exists():
            remote.log_artifact(run_id, str(source))
