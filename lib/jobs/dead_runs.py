"""Runs whose process is gone are noticed, and get a final state and a sentence."""

import logging
import signal
import sqlite3
import time
from contextlib import suppress

import psutil
from filelock import FileLock

from lib.atomic import read_json
from lib.errors import UserError
from lib.jobs import processes, queue
from lib.jobs.event_text import tail_log
from lib.jobs.worker import CANCELLED_MESSAGE, STOPPED_MESSAGE, release_reserve
from lib.settings import HEARTBEAT_STALE_S, home
from lib.tracking.state import CONFIG_FILE, RunState, host_name, read_state, run_folder, stored_states
from lib.tracking.writer import RunWriter

_LOOK_S = 10.0  # between two looks at all run folders
_RESUME_HINT = "Resume goes on from the last checkpoint."
_logger = logging.getLogger(__name__)
_last_look: dict[str, float] = {}


def active_runs() -> list[RunState]:
    """Runs that are working or waiting, in the order of the queue; quick enough to ask each second."""
    if time.monotonic() - _last_look.get(str(home()), -_LOOK_S) > _LOOK_S:
        reconcile()
    found = []
    for ticket in queue.tickets():
        if not ticket.is_held:
            finish_dead(ticket.run_id)
        with suppress(UserError):
            state = read_state(ticket.run_id)
            if state.is_active:
                found.append(state)
    return found


def require_unused(dataset: str) -> None:
    """Raise UserError while a run that reads this data set works or waits: its images are about to be replaced."""
    using = []
    for run in active_runs():
        with suppress(OSError, ValueError):
            if read_json(run.folder / CONFIG_FILE).get("dataset") == dataset:
                using.append(run)
    if using:
        raise UserError(
            f"The images of {dataset!r} are read by {len(using)} training{'s' if len(using) > 1 else ''} at work or in "
            f"the queue ({using[0].name or using[0].run_id[:8]}); wait for them, or stop them first."
        )


def reconcile() -> list[str]:
    """Give every run whose process died a final state and a sentence; returns their ids.

    Takes three seconds where a heartbeat under another host name has to be watched before it can be told.
    """
    _last_look[str(home())] = time.monotonic()
    # Active runs whose process is not of this machine, as far as its name tells.
    processes.watch_beats(
        lambda: {run.run_id: run.heartbeat_s for run in stored_states() if run.is_active and is_elsewhere(run)}
    )
    held = {ticket.run_id: ticket.is_held for ticket in queue.tickets()}
    asked = dict.fromkeys([*held, *(state.run_id for state in stored_states() if state.is_active)])
    return [run_id for run_id in asked if not held.get(run_id) and finish_dead(run_id)]


def finish_dead(run_id: str, exit_status: int | None = None) -> bool:
    """Write the final state of a run whose process is gone; True if this call did it."""
    try:
        with job_lock(run_id):
            return _finish_dead_locked(run_id, exit_status)
    except UserError:
        queue.release(run_id)  # its folder is gone or damaged
    except (OSError, sqlite3.OperationalError) as error:  # a full disk: whoever looks next tries again
        _logger.warning("The run %s could not be finished: %s", run_id, error)
    return False


def _finish_dead_locked(run_id: str, exit_status: int | None) -> bool:
    state = read_state(run_id)
    if state.is_active and may_live(state):
        return False
    release_reserve(state.folder)
    queue.release(run_id)
    processes.kill_leftovers(run_id)
    if state.is_active:
        RunWriter(run_id).finish(*_verdict(state, exit_status))
    elif exit_status is not None and exit_status < 0:
        # Killed between its last word in the folder and the same word in MLflow.
        RunWriter(run_id).set_state(state.state, state.message, ending=state.ending)
    return state.is_active


def is_elsewhere(state: RunState) -> bool:
    """Whether the process of a run was started under another host name and is not found here by its run id."""
    is_foreign = state.host not in ("", host_name())
    return is_foreign and not processes.is_worker_of(state.run_id, state.pid, state.pid_started_s)


def may_live(state: RunState) -> bool:
    """Whether a process may be at work on a run, or on its way."""
    if is_elsewhere(state):
        return processes.is_beating(state.run_id, state.heartbeat_s)
    if state.pid is None:
        return state.heartbeat_age_s < HEARTBEAT_STALE_S
    return processes.is_alive(state.pid, state.pid_started_s)


def _verdict(state: RunState, exit_status: int | None) -> tuple[str, str, str]:
    """State, message and exit reason of a run whose process is gone."""
    if state.state == "stopping":
        is_begun = bool(state.started_s)
        return "stopped", *((STOPPED_MESSAGE, "stopped") if is_begun else (CANCELLED_MESSAGE, "cancelled"))
    if is_elsewhere(state):
        silence = f"Its process on {state.host} gave no sign of life for {HEARTBEAT_STALE_S:.0f} seconds"
        message, ending = f"{silence}: it or its machine has ended. {_RESUME_HINT}", "silent"
    elif state.pid is None:
        message, ending = "Its process never started. Resume tries again.", "never_started"
    elif state.heartbeat_s < psutil.boot_time():
        message, ending = f"The machine was restarted while this ran. {_RESUME_HINT}", "restarted"
    elif exit_status is not None and exit_status > 0:
        last = tail_log(state.run_id, 1) or "its log is empty"
        return "failed", f"The worker ended with exit status {exit_status} ({last}).", "unexpected"
    elif exit_status not in (None, 0, -signal.SIGKILL):
        known = {-number.value: number.name for number in signal.Signals}
        name = known.get(exit_status, f"signal {-exit_status}")
        message, ending = f"The process crashed ({name}). {_RESUME_HINT}", "crashed"
    else:  # our own kills follow a stop request, so this one came from outside
        reason = "The process was killed from outside, most often because memory ran out"
        advice = "choose a smaller batch size or image size if it happens again"
        message, ending = f"{reason}: {advice}. {_RESUME_HINT}", "memory_kill"
    return "killed", message, ending


def job_lock(run_id: str) -> FileLock:
    """A lock over changes of who works on a run; raises UserError if there is no such run."""
    folder = run_folder(run_id)
    if not folder.exists():
        raise UserError(f"There is no run {run_id!r} here; `python -m lib runs list` shows the runs.")
    return FileLock(folder / ".job.lock")
