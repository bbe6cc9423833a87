"""Starting and stopping the preparation from a page: it has a process of its own and outlives page and server."""

import dataclasses
import sys
import threading
from contextlib import suppress

from lib.demo.state import DemoState, log_file, read_demo, run_state, stop_file, write_demo
from lib.errors import UserError
from lib.jobs import processes
from lib.tracking.state import host_name

# A training stops within four seconds by itself; making the run store on the first run must not be cut short.
STOP_TIMEOUT_S = 20.0


def start() -> DemoState:
    """Start the preparation in a detached process, unless one runs; returns at once. Raises UserError if it cannot."""
    state = read_demo()
    if state.is_active:
        return state
    stop_file().unlink(missing_ok=True)
    command = [sys.executable, "-m", "lib", "demo", "prepare", "--worker"]
    process = processes.spawn_detached(command, log_file())
    # Without a wait the dead worker would stay a zombie as long as this server lives.
    threading.Thread(target=process.wait, name="reap-demo", daemon=True).start()
    started_s = processes.start_time_s(process.pid)
    begun = DemoState(state="running", step="Starting", runs=state.runs, host=host_name())
    write_demo(dataclasses.replace(begun, pid=process.pid, pid_started_s=started_s))
    return read_demo()


def stop() -> DemoState:
    """Ask the preparation to stop; a process that does not within seconds is ended. What is done is kept."""
    from lib import jobs

    state = read_demo()
    if not state.is_active:
        return state
    stop_file().touch()
    for run_id in state.runs.values():
        if run_state(run_id) in ("queued", "running"):
            with suppress(UserError):
                jobs.request_stop(run_id)
    threading.Thread(target=_enforce, args=(state,), name="stop-demo", daemon=True).start()
    return read_demo()


def stop_and_wait() -> DemoState:
    """As `stop`, and wait until the process is gone."""
    state = stop()
    if state.is_active:
        _enforce(state)
    return read_demo()


def _enforce(state: DemoState) -> None:
    if state.pid and not processes.wait_until_gone(state.pid, state.pid_started_s, STOP_TIMEOUT_S):
        processes.kill(state.pid, state.pid_started_s, is_group=False)
        processes.wait_until_gone(state.pid, state.pid_started_s, 1.0)
