"""Processes by identity (pid and start time, since pids are used again): alive or not, and ending them."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from lib.errors import UserError
from lib.settings import PROJECT_ROOT, home, torch_hub_dir

RUN_ID_VARIABLE = "TRANSFERSCOPE_RUN_ID"  # in the environment of a worker and of all its children
NICENESS = 10
_AUTOGROUP = Path("/proc/self/autogroup")
# psutil works the start time out from the boot time, which moves a little when the clock is corrected.
_START_TOLERANCE_S = 3.0


def spawn_detached(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process of this program that outlives its parent; output goes to `log`. Raises UserError if it cannot."""
    variables = {
        **os.environ,
        # It starts in the project's folder: relative paths of this process would mean something else there.
        "TRANSFERSCOPE_HOME": str(home()),
        "TORCH_HOME": str(torch_hub_dir().resolve().parent),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        **(environment or {}),
    }
    try:
        with log.open("ab") as opened:
            return subprocess.Popen(
                command,
                cwd=PROJECT_ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=opened,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise UserError(
            f"The worker process could not be started ({error}); free some memory and try again."
        ) from error


def give_way() -> None:
    """Let pages and other programs go first: for a detached worker, at its beginning.

    On Linux desktops niceness counts only among processes of one session, and a worker has its own: there, the session
    as a whole is made nicer too (sched(7), autogroups). Clicks during a race on two cores took 0.44 s (p95) without
    that, 0.26 s with it.
    """
    with suppress(OSError):
        os.nice(NICENESS)
    if hasattr(os, "getsid") and os.getsid(0) == os.getpid():
        with suppress(OSError):
            _AUTOGROUP.write_text(str(NICENESS))


def start_time_s(pid: int) -> float | None:
    """When a process started, in seconds since 1970; None if there is none."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def is_alive(pid: int | None, started_s: float | None) -> bool:
    """Whether exactly this process still runs; a zombie does not."""
    if pid is None:
        return False
    try:
        process = psutil.Process(pid)
        is_same = started_s is None or abs(process.create_time() - started_s) < _START_TOLERANCE_S
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def terminate(pid: int, started_s: float | None) -> None:
    """Ask a process to end (SIGTERM)."""
    if is_alive(pid, started_s):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)


def kill(pid: int, started_s: float | None, *, is_group: bool) -> None:
    """End a process and its descendants at once (SIGKILL); with `is_group` all of the group that it leads."""
    if not is_alive(pid, started_s):
        return
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in [*process.children(recursive=True), process]:
            with suppress(psutil.Error):
                member.kill()
    # Only for a process that we started as leader: a person's shell pipeline shares a foreground process's group.
    if is_group:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def kill_leftovers(run_id: str) -> None:
    """End processes that a dead worker of this run left behind, found by their environment."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(RUN_ID_VARIABLE) == run_id:
                process.kill()


def wait_until_gone(pid: int | None, started_s: float | None, timeout_s: float) -> bool:
    """Wait for a process to end; False if it still runs after that time."""
    deadline = time.monotonic() + timeout_s
    while is_alive(pid, started_s):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def boot_time_s() -> float:
    """When this machine started, in seconds since 1970."""
    return float(psutil.boot_time())
