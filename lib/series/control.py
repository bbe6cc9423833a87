"""Starting and stopping a series from a page: it has a process of its own and outlives page and server."""

import dataclasses
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from lib.errors import UserError
from lib.jobs import processes
from lib.series.state import SeriesFiles, SeriesState, read_series, run_state, write_series
from lib.settings import HEARTBEAT_STALE_S
from lib.tracking.state import host_name

# A training stops within four seconds by itself; making the run store on the first run must not be cut short.
STOP_TIMEOUT_S = 20.0


def start(files: SeriesFiles, arguments: Sequence[str]) -> SeriesState:
    """Start a series in a detached process, unless one runs; returns at once.

    Args:
        files: the series.
        arguments: what follows `python -m lib` on the command line of the worker.

    Raises:
        UserError: the process cannot be started.
    """
    state = read_series(files)
    if state.is_active:
        return state
    files.stop.unlink(missing_ok=True)
    process = processes.spawn_detached([sys.executable, "-m", "lib", *arguments], files.log)
    # Without a wait the dead worker would stay a zombie as long as this server lives.
    threading.Thread(target=process.wait, name=f"reap-{files.state.stem}", daemon=True).start()
    started_s = processes.start_time_s(process.pid)
    begun = SeriesState(state="running", step="Starting", runs=state.runs, host=host_name())
    write_series(files, dataclasses.replace(begun, pid=process.pid, pid_started_s=started_s))
    return read_series(files)


def stop(files: SeriesFiles, *, timeout_s: float = STOP_TIMEOUT_S) -> SeriesState:
    """Ask a series to stop; a process that does not within seconds is ended. What is done is kept."""
    from lib import jobs

    state = read_series(files)
    if not state.is_active:
        return state
    files.stop.touch()
    for run_id in state.runs.values():
        if run_state(run_id) in ("queued", "running"):
            with suppress(UserError):
                jobs.request_stop(run_id)
    threading.Thread(target=_enforce, args=(state, timeout_s), name=f"stop-{files.state.stem}", daemon=True).start()
    return read_series(files)


def stop_and_wait(files: SeriesFiles, *, timeout_s: float = STOP_TIMEOUT_S) -> SeriesState:
    """As `stop`, and wait until the process is gone."""
    state = stop(files, timeout_s=timeout_s)
    if state.is_active:
        _enforce(state, timeout_s)
    deadline = time.monotonic() + timeout_s + HEARTBEAT_STALE_S
    while state.host != host_name() and read_series(files).is_active and time.monotonic() < deadline:
        time.sleep(0.2)
    return read_series(files)


def _enforce(state: SeriesState, timeout_s: float) -> None:
    if state.host != host_name():
        return  # it can only be asked; without heartbeats it reads as ended
    if state.pid and not processes.wait_until_gone(state.pid, state.pid_started_s, timeout_s):
        processes.kill(state.pid, state.pid_started_s, is_group=False)
        processes.wait_until_gone(state.pid, state.pid_started_s, 1.0)
