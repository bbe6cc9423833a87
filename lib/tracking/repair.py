"""A damaged database of runs is moved aside, never deleted, and the runs are entered anew from their folders."""

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from lib.settings import runs_dir, tracking_uri, trash_dir
from lib.tracking import state as states
from lib.tracking.entering import enter_folder
from lib.tracking.store import client, experiment_id, sqlite_path
from lib.tracking.timeline import events

_KEPT_TAGS = "SELECT key, value FROM tags WHERE run_uuid = ?"
_KEPT_METRICS = "SELECT key, value, timestamp, step FROM metrics WHERE run_uuid = ? ORDER BY timestamp"


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
    rows = [] if events(folder) else _kept(aside, _KEPT_METRICS, run_id)
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
