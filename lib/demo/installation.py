"""Puts the recorded demo into a home: data set, runs and race, in seconds, without torch and without MLflow.

Runs appear as folders; whoever opens the run store next enters them there (lib/tracking/repair.py).
"""

import os
import shutil
import time
from contextlib import suppress
from typing import Any

from filelock import FileLock

from lib.atomic import read_json_or_empty, write_json
from lib.data.builtin import install_dataset
from lib.data.dataset import Dataset
from lib.demo.recording import DATASET_FOLDER, RACE_FOLDER, RUNS_FOLDER, Recording, find_recording, unpack_run
from lib.errors import UserError
from lib.progress import Progress, ignore_progress
from lib.settings import runs_dir, tracking_uri, trash_dir
from lib.sweeps.plan import run_state
from lib.tracking import delete_run
from lib.tracking.repair import let_wait
from lib.tracking.store import sqlite_path

_MARK_FILE = "demo_recording.json"  # which recording this home got; stays when its runs are deleted


def is_due() -> bool:
    """Whether this home has not had the recording that ships with the program; a look at one or two small files.

    A run store on a server is a team's: nothing is put there unasked.
    """
    try:
        recording = find_recording()
    except UserError:
        return not _mark()  # installing says what is wrong
    return recording is not None and not _is_here(recording) and _is_local()


def installed_runs() -> dict[str, str]:
    """Strategy -> recorded run that this home got, whether or not it is still there."""
    return {str(key): str(run_id) for key, run_id in (_mark().get("runs") or {}).items()}


def installed_recording() -> Recording | None:
    """The recording that this home got, if it is the one that ships; None otherwise."""
    with suppress(UserError):
        recording = find_recording()
        return recording if recording and _is_here(recording) else None
    return None


def missing_runs() -> list[str]:
    """The strategies whose recorded runs have been deleted here."""
    return [key for key, run_id in installed_runs().items() if run_state(run_id) != "finished"]


def install(*, progress: Progress = ignore_progress) -> Recording:
    """Install what is missing of the recorded demo; deleted runs come back, nothing else is touched.

    Raises:
        UserError: this copy ships no recording, it is damaged, the run store is a server's, or another data set has
            its name.
    """
    recording = _shipped()
    if not _is_local():
        raise UserError(f"The demo is installed into a run store of this machine, not into {tracking_uri()}.")
    with FileLock(runs_dir() / ".demo_install.lock"):
        recording.verify()
        install_dataset(recording.folder / DATASET_FOLDER, progress=progress)
        _remove_former(recording)
        for run_id in recording.runs.values():
            _install_run(recording, run_id)
        for path in (recording.folder / RACE_FOLDER).iterdir():
            target = runs_dir() / "races" / path.name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
        let_wait(recording.runs.values())
        mark = {"recording_id": recording.recording_id, "runs": recording.runs, "installed_s": time.time()}
        write_json(runs_dir() / _MARK_FILE, mark)
    return recording


def install_dataset_alone(progress: Progress = ignore_progress) -> Dataset:
    """Put the demo's data set into the library, without its runs; raises UserError as `install`."""
    recording = _shipped()
    recording.verify()
    return install_dataset(recording.folder / DATASET_FOLDER, progress=progress)


def _shipped() -> Recording:
    recording = find_recording()
    if recording is None:
        raise UserError("This copy of the program ships no recorded demo (assets/demo); make one: make demo")
    return recording


def _install_run(recording: Recording, run_id: str) -> None:
    target, deleted = runs_dir() / run_id, trash_dir() / "runs" / run_id
    staging = runs_dir() / f".{run_id}.{os.getpid()}"
    if target.exists():
        return
    try:
        if not deleted.exists():
            unpack_run(recording.folder / RUNS_FOLDER / run_id, staging)
        shutil.move(deleted if deleted.exists() else staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _remove_former(recording: Recording) -> None:
    """Runs of the recording of an earlier version of the program go into the trash."""
    for run_id in set(installed_runs().values()) - set(recording.runs.values()):
        if run_state(run_id) == "finished":
            with suppress(UserError):
                delete_run(run_id)


def _mark() -> dict[str, Any]:
    return read_json_or_empty(runs_dir() / _MARK_FILE)


def _is_here(recording: Recording) -> bool:
    return _mark().get("recording_id") == recording.recording_id


def _is_local() -> bool:
    return sqlite_path(tracking_uri()) is not None
