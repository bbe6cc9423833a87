"""The order of jobs: one row a run that is active or waits, in an SQLite table beside the runs."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lib.errors import UserError
from lib.jobs.processes import is_alive, is_beating, is_worker_of, start_time_s
from lib.settings import runs_dir
from lib.tracking.repair import is_damaged, move_aside
from lib.tracking.state import host_name, read_state
from lib.tracking.store import plain_faults

_TABLE = """CREATE TABLE IF NOT EXISTS tickets (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL UNIQUE,
    host TEXT NOT NULL,
    pid INTEGER,
    pid_started_s REAL,
    drawn_s REAL NOT NULL
)"""


@dataclass(frozen=True)
class Ticket:
    """A place in the queue and the process that holds it."""

    position: int
    run_id: str
    host: str
    pid: int | None
    pid_started_s: float | None
    drawn_s: float

    @property
    def is_held(self) -> bool:
        """Whether its process lives: by its pid here, by the run's heartbeats where its host has another name."""
        if self.host == host_name():
            return is_alive(self.pid, self.pid_started_s)
        heartbeat_s = self.drawn_s
        with suppress(UserError):  # its folder is gone
            heartbeat_s = read_state(self.run_id).heartbeat_s
        return is_beating(self.run_id, heartbeat_s) or is_worker_of(self.run_id, self.pid, self.pid_started_s)


def enqueue(run_id: str) -> None:
    """Take the next place, held by this process for now; raises UserError if the run has one already."""
    try:
        _change(
            "INSERT INTO tickets (run_id, host, pid, pid_started_s, drawn_s) VALUES (?, ?, ?, ?, ?)",
            run_id, host_name(), *_identity(os.getpid()), time.time(),
        )  # fmt: skip
    except sqlite3.IntegrityError:
        raise UserError(f"The run {run_id[:8]} is running or queued already; `python -m lib runs list`.") from None


def claim(run_id: str, pid: int | None = None) -> None:
    """Enter the process (by default this one) that holds the ticket."""
    holder = (host_name(), *_identity(pid or os.getpid()))
    _change("UPDATE tickets SET host = ?, pid = ?, pid_started_s = ? WHERE run_id = ?", *holder, run_id)


def release(run_id: str) -> None:
    """Leave the queue; nothing happens if the run is not in it."""
    _change("DELETE FROM tickets WHERE run_id = ?", run_id)


def release_own(run_id: str) -> None:
    """As `release`, if this process holds the ticket: a run that was given up may have been resumed elsewhere."""
    holder = _identity(os.getpid())
    _change("DELETE FROM tickets WHERE run_id = ? AND pid = ? AND pid_started_s = ?", run_id, *holder)


def tickets() -> list[Ticket]:
    """All tickets in order, the running job first."""
    if not _path().exists():
        return []
    columns = ", ".join(Ticket.__dataclass_fields__)
    with _table() as table:
        return [Ticket(*row) for row in table.execute(f"SELECT {columns} FROM tickets ORDER BY position")]  # noqa: S608


def is_first(run_id: str) -> bool:
    """Whether no living process is in front of this run."""
    for ticket in tickets():
        if ticket.run_id == run_id:
            return True
        if ticket.is_held:
            return False
    return True  # our ticket was taken away (a deleted table): the device lease still keeps the order safe


def repair() -> list[str]:
    """Move a damaged table aside; who waits goes on without an order, one at a time. Returns sentences."""
    path = _path()
    if not is_damaged(path):
        return [f"{path} is whole."] if path.exists() else []
    return [f"{path} was damaged and is now {move_aside(path)}; the queue begins anew."]


def _path() -> Path:
    return runs_dir() / "jobs.sqlite"


def _identity(pid: int) -> tuple[int, float | None]:
    return pid, start_time_s(pid)


def _change(statement: str, *values: object) -> None:
    with _table() as table:
        table.execute(statement, values)


@contextmanager
def _table() -> Iterator[sqlite3.Connection]:
    path = _path()
    with plain_faults(path), closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        connection.execute(_TABLE)
        yield connection
