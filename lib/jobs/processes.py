"""Processes by identity (pid and start time, since pids are used again): alive or not, and ending them.

A process under another host name (another machine, a container on the same volume, this machine before it was renamed)
is known by its heartbeats alone.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from lib.errors import UserError
from lib.progress import Progress
from lib.settings import HEARTBEAT_STALE_S, PROJECT_ROOT, home, torch_hub_dir
from lib.tracking.state import start_time_s

RUN_ID_VARIABLE = "TRANSFERSCOPE_RUN_ID"  # in the environment of a worker and of all its children
NICENESS = 10
_AUTOGROUP = Path("/proc/self/autogroup")
_START_TOLERANCE_S = 0.05  # starts are counted in hundredths of a second since the machine started
# Before that they were counted from 1970, with the time of the boot, which moves when the clock is corrected.
_SINCE_1970_S, _SINCE_1970_TOLERANCE_S = 1e9, 3.0
# A heartbeat that looks old may come from a machine whose clock differs: it is watched for so long, on our own clock.
WATCH_S = 3.0
_CHILD_POLL_S = 0.2
_COUNTED = re.compile(r"^(?P<what>.*?) (?P<done>\d+)/(?P<total>\d+)\b")
# Whatever else a child says (warnings of libraries) is not for a person.
_ERROR = "Error: "


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
                command, cwd=PROJECT_ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=opened,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        raise UserError(
            f"The worker process could not be started ({error}); free some memory and try again."
        ) from error


def lower_priority() -> None:
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


def is_alive(pid: int | None, started_s: float | None) -> bool:
    """Whether exactly this process still runs; a zombie does not."""
    if pid is None:
        return False
    try:
        process = psutil.Process(pid)
        return _is_same(process, started_s) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _is_same(process: psutil.Process, started_s: float | None) -> bool:
    if started_s is None:
        return True
    if started_s > _SINCE_1970_S:
        return abs(process.create_time() - started_s) < _SINCE_1970_TOLERANCE_S
    found = start_time_s(process.pid)
    return found is not None and abs(found - started_s) < _START_TOLERANCE_S


def is_worker_of(run_id: str, pid: int | None, started_s: float | None) -> bool:
    """Whether exactly this process runs here as the detached worker of a run, whatever the machine was called then."""
    if pid is None or not is_alive(pid, started_s):
        return False
    try:
        return psutil.Process(pid).environ().get(RUN_ID_VARIABLE) == run_id
    except (psutil.Error, OSError):
        return False


# Key -> the last heartbeat that this process has seen, since when (its own clock), whether it moved before our eyes.
_beats: dict[str, tuple[float, float, bool]] = {}


def is_beating(key: str, beat_s: float) -> bool:
    """Whether a process whose pid means nothing here lives, by its last heartbeat (seconds since 1970, its own clock).

    One that stood still for half a minute before our eyes is dead, one that moved before them lives. At the first look
    the clocks decide; what looks old by them is watched for `WATCH_S` first, since a clock that differs or was set must
    cost nobody the place in the queue.
    """
    return _judge_beat(key, beat_s) is not False


def watch_beats(read_beats: Callable[[], Mapping[str, float]]) -> None:
    """Wait, for `WATCH_S` at most, until `is_beating` can tell of heartbeats (key -> last) that look old."""
    while None in [_judge_beat(key, beat_s) for key, beat_s in read_beats().items()]:
        time.sleep(0.1)


def _judge_beat(key: str, beat_s: float) -> bool | None:
    """True: alive; False: dead; None: not known yet."""
    now = time.monotonic()
    before = _beats.get(key)
    if before is None or before[0] != beat_s:
        _beats[key] = (beat_s, now, before is not None)
    _, since, has_moved = _beats[key]
    if now - since > HEARTBEAT_STALE_S:
        return False
    if has_moved or -WATCH_S < time.time() - beat_s < HEARTBEAT_STALE_S:
        return True
    return None if now - since < WATCH_S else False


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


def run_child_command(arguments: Sequence[str], progress: Progress) -> dict[str, Any]:
    """Run `python -m lib ARGUMENTS --json` politely and return its answer.

    Args:
        arguments: a command that takes `--json`.
        progress: called several times a second with what the child says of its progress; if it raises (Stopped), the
            child is ended.

    Raises:
        UserError: what the command said was wrong, or that it broke off.
    """
    command = [sys.executable, "-m", "lib", *arguments, "--json"]
    pipe = subprocess.PIPE
    said: list[str] = []
    answer: list[str] = []

    # Each stream is read by a thread of its own, so that the child never waits for us.
    def read(stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(line.strip())

    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    ) as child:
        with suppress(psutil.Error):
            psutil.Process(child.pid).nice(NICENESS)
        streams = ((child.stderr, said), (child.stdout, answer))
        readers = [threading.Thread(target=read, args=pair, daemon=True) for pair in streams]
        for reader in readers:
            reader.start()
        try:
            while child.poll() is None:
                counted = next((found for line in reversed(said) if (found := _COUNTED.match(line))), None)
                if counted:
                    progress(int(counted["done"]), int(counted["total"]), counted["what"].lower())
                else:
                    progress(0, 0, "starting")
                time.sleep(_CHILD_POLL_S)
        except BaseException:
            child.kill()
            raise
        for reader in readers:
            reader.join()
    if child.returncode != 0 or not answer:
        errors = [line.removeprefix(_ERROR) for line in said if line.startswith(_ERROR)]
        raise UserError(errors[-1] if errors else f"The measurement broke off (exit status {child.returncode}).")
    return dict(json.loads(answer[-1]))
