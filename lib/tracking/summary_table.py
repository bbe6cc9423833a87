"""What is worked out once of a finished run and shown many times: a line a run, in an SQLite file beside the runs.

A cache and nothing more: a file that is missing, damaged or of another program is begun anew, and where none can be
written (a home that is read-only) the lines are kept in this process. Each line has a key that says what it was made
of; whoever asks gives the present keys and gets only lines that still hold.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from lib.settings import runs_dir

SUMMARY_TABLE_FILE = "summaries.sqlite"
_TABLE = """CREATE TABLE IF NOT EXISTS summaries (run_id TEXT PRIMARY KEY, made_of TEXT NOT NULL, content TEXT NOT NULL)
    WITHOUT ROWID"""
_SAVE = "INSERT OR REPLACE INTO summaries (run_id, made_of, content) VALUES (?, ?, ?)"
_TIMEOUT_S = 10.0
_lock = threading.Lock()
# Lines that no file took, by file: (key, content) by run.
_unwritten: dict[Path, dict[str, tuple[str, dict[str, Any]]]] = {}


def read_summaries(made_of: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The kept lines of those runs (run_id -> key of what it is made of now) whose key is still the same."""
    with _lock:
        kept = dict(_unwritten.get(_path(), {}))
    found = {run_id: content for run_id, (key, content) in kept.items() if made_of.get(run_id) == key}
    rows: list[tuple[str, str]] = []
    with _opened(is_reading=True) as connection:
        if connection is not None:
            asked = connection.execute("SELECT run_id, made_of, content FROM summaries")
            rows = [(run_id, content) for run_id, key, content in asked if made_of.get(run_id) == key]
    with suppress(ValueError):  # one list is read in a third of the time of thousands of lines
        contents = json.loads(f"[{','.join(content for _, content in rows)}]")
        found |= dict(zip((run_id for run_id, _ in rows), contents, strict=True))
    return found


def keep_summaries(lines: Mapping[str, tuple[str, Mapping[str, Any]]]) -> bool:
    """Keep lines: run_id -> (key, content that JSON can hold). False where only this process can keep them."""
    if not lines:
        return True
    with _opened() as connection:
        if connection is not None:
            rows = [(run_id, key, json.dumps(content)) for run_id, (key, content) in lines.items()]
            connection.executemany(_SAVE, rows)
            connection.commit()
            return True
    with _lock:
        kept = _unwritten.setdefault(_path(), {})
        kept.update({run_id: (key, dict(content)) for run_id, (key, content) in lines.items()})
    return False


def _path() -> Path:
    return runs_dir() / SUMMARY_TABLE_FILE


@contextmanager
def _opened(*, is_reading: bool = False) -> Iterator[sqlite3.Connection | None]:
    """A transaction; None where there is no file to read, or none can be written.

    A damaged file is removed where it turns up, so that the next one to write begins anew.
    """
    path = _path()
    if is_reading and not path.exists():
        yield None
        return
    connection = _connect(path, is_reading=is_reading)
    if connection is None:
        yield None
        return
    with closing(connection):
        try:
            with connection:
                yield connection
        except sqlite3.OperationalError:  # full, locked for long, or read-only
            return
        except sqlite3.DatabaseError:
            _remove(path)


def _connect(path: Path, *, is_reading: bool) -> sqlite3.Connection | None:
    """The open file with its table, made anew where it is damaged."""
    for _ in range(2):
        try:
            connection = sqlite3.connect(path, timeout=_TIMEOUT_S)
            if not is_reading:
                connection.execute(_TABLE)
            connection.execute("SELECT run_id, made_of, content FROM summaries LIMIT 1").fetchall()
            return connection
        except sqlite3.OperationalError as error:
            if "no such" not in str(error) or is_reading:  # of another program: other tables or columns
                return None
            _remove(path)
        except sqlite3.DatabaseError:
            _remove(path)
            if is_reading:
                return None
    return None


def _remove(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(OSError):
            path.with_name(path.name + suffix).unlink()
