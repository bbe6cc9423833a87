"""Runs that are there as folders alone are entered in the run store: those of a recording, or of a damaged store.

A damaged database is moved aside, never deleted.
"""

import json
import math
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from lib.atomic import read_json, write_json
from lib.settings import runs_dir
from lib.tracking import state as states
from lib.tracking.sqlite_client import INSERT_RUN, Metric

WAITING_FILE = "waiting_for_store.json"  # ids of runs to enter when the store is opened next
TAGS_FILE = "tags.json"  # of a run whose folder came from elsewhere


def let_wait(run_ids: Iterable[str]) -> None:
    """Remember runs whose folders are in place: whoever opens the run store next enters them."""
    known = _waiting()
    write_json(runs_dir() / WAITING_FILE, list(dict.fromkeys([*known, *run_ids])))


def has_waiting() -> bool:
    """Whether runs wait; one look at the disk."""
    return (runs_dir() / WAITING_FILE).exists()


def enter_waiting(connected: Any, experiment: str, path: Path) -> None:
    """Enter the runs that wait, for the one who has opened the store and locked it; arguments as `enter_folder`."""
    for run_id in _waiting():
        folder = states.run_folder(run_id)
        tags = read_json(folder / TAGS_FILE) if (folder / TAGS_FILE).is_file() else {}
        if enter_folder(folder, connected, experiment, path, tags=tags):
            states.link_artifacts(folder)
    (runs_dir() / WAITING_FILE).unlink(missing_ok=True)


def enter_folder(
    folder: Path,
    connected: Any,
    experiment: str,
    path: Path,
    *,
    tags: Mapping[str, str] | None = None,
    metrics: Iterable[Metric] = (),
) -> bool:
    """Enter one run in an SQLite store by what its folder says; one that is there already is made visible again.

    Args:
        folder: of the run.
        connected: the client of the store.
        experiment: the id of its experiment.
        path: its file.
        tags: further ones; what the folder says comes before them.
        metrics: known from elsewhere, beside those of the folder.

    Returns:
        False if the folder does not say what it is.
    """
    try:
        content = read_json(folder / states.STATE_FILE)
        state = states.RunState(**{key: content[key] for key in states.RunState.__dataclass_fields__ if key in content})
        config = read_json(folder / states.CONFIG_FILE)
        status = states.MLFLOW_STATUS[state.state]
    except (OSError, ValueError, TypeError, KeyError):
        return False
    run_id = folder.name
    times = (int(state.created_s * 1000), None if state.is_active else int(state.heartbeat_s * 1000))
    artifacts = str(states.run_folder(run_id) / "artifacts")
    with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        if connection.execute("SELECT 1 FROM runs WHERE run_uuid = ?", (run_id,)).fetchone():
            shown = "UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL WHERE run_uuid = ?"
            connection.execute(shown, (run_id,))
            return True
        connection.execute(INSERT_RUN, (run_id, state.name, status, *times, artifacts, int(experiment)))
    said = {
        "state": state.state, "message": state.message, "ending": state.ending, "host": state.host,
        "config": json.dumps(config), "mlflow.runName": state.name,
        "dataset_version": config.get("dataset_version") or "", "recorded_on": state.recorded_on,
    }  # fmt: skip
    all_tags = {
        key: value for key, value in {**(tags or {}), **state.marks, **said}.items() if value or key != "recorded_on"
    }
    connected.log_batch(
        run_id,
        metrics=[*metrics, *_metrics_of(folder, times[1] or times[0])],
        tags={key: str(value)[:4000] for key, value in all_tags.items()},
    )
    return True


def _metrics_of(folder: Path, ended_ms: int) -> list[Metric]:
    """What a folder says of a run's numbers: its timeline, and its final figures."""
    found = [
        (str(key), float(value), int(event["t"] * 1000), int(event.get("step") or 0))
        for event in states.timeline_events(folder)
        for key, value in (event.get("metrics") or {}).items()
    ]
    numbers = {k: value for k, value in states.read_summary(folder).items() if isinstance(value, int | float)}
    return found + [(key, float(value), ended_ms, 0) for key, value in numbers.items() if math.isfinite(value)]


def _waiting() -> list[str]:
    path = runs_dir() / WAITING_FILE
    try:
        return [str(run_id) for run_id in read_json(path)]
    except (OSError, ValueError, TypeError):
        return []


def is_damaged(path: Path) -> bool:
    """Whether a file is there and SQLite cannot read it whole."""
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(path, timeout=10)) as connection:
            answer: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        return answer != "ok"
    except sqlite3.OperationalError as error:  # locked, or not ours to read
        return "malformed" in str(error)
    except sqlite3.DatabaseError:
        return True


def move_aside(path: Path) -> Path:
    """Give a database and what SQLite keeps beside it another name; returns the new one."""
    target = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    return target
