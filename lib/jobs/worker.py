"""What happens in the process that trains: wait for the turn, hold the device, run watched, say how it ended."""

import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil
from filelock import FileLock, Timeout

from lib.distributed import ALONE, Ranks
from lib.errors import Stopped, UserError, disk_fault, is_disk_full
from lib.jobs import queue
from lib.jobs.event_text import write_event_to_log
from lib.jobs.processes import RUN_ID_VARIABLE, is_alive, lower_priority, start_time_s
from lib.out_of_memory import is_out_of_memory
from lib.settings import HEARTBEAT_INTERVAL_S, runs_dir
from lib.tracking.state import LOG_FILE, STOP_FILE, host_name, read_state, update_state
from lib.tracking.writer import RunWriter

STOPPED_MESSAGE = "Stopped on request; resume goes on from the last checkpoint."
LOST_MESSAGE = "This run was given up as dead meanwhile (no sign of life for too long), so this process ends."
CANCELLED_MESSAGE = "Cancelled before it started; resume puts it back into the queue."
HARD_EXIT_S = 3.5  # after the request; `enforce_stop` kills from outside at 4 s
HARD_EXIT_STATUS = 130
RESERVE_FILE = ".reserve"
RESERVE_BYTES = 2**20  # a state of some hundred bytes, and pages of SQLite's write-ahead log
_SHORT_OF_MEMORY = "Memory ran out. Choose a smaller batch size or image size, or a smaller backbone, then resume."
_DISK_FULL = "The disk is full. Free some space, then resume: it goes on from the last checkpoint."
_TURN_POLL_S, _WATCH_POLL_S = 0.2, 0.1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Listener = Callable[[Any], None]
ShouldStop = Callable[[], bool]
# Called as experiment(run, should_stop, listener), in the process that trains; returns the summary.
Experiment = Callable[[RunWriter, ShouldStop, Listener], dict[str, Any]]


def train_run(run: RunWriter, should_stop: ShouldStop, listener: Listener, ranks: Ranks = ALONE) -> dict[str, Any]:
    """The real experiment. Torch is imported here: after the turn and the device lease are ours."""
    from lib.experiment import run_experiment
    from lib.training.config import TrainConfig

    config = TrainConfig.from_dict(run.config)
    return run_experiment(config, run, should_stop=should_stop, listener=listener, ranks=ranks)


def run_worker(run_id: str, *, experiment: Experiment = train_run) -> None:
    """The whole life of a detached worker (`python -m lib train --run RUN_ID`)."""
    lower_priority()
    state = read_state(run_id)
    if not state.is_active or (state.pid != os.getpid() and is_alive(state.pid, state.pid_started_s)):
        raise UserError(
            f"The run {run_id[:8]} is {state.state}; resume it with: python -m lib runs resume {run_id[:8]}"
        )
    # Cancelled while it waited: loading MLflow to say so would take seconds; whoever asked finishes it (control.py).
    with suppress(Stopped):
        _work(RunWriter(run_id), experiment, lambda event: None, lambda ahead: None)


def work(
    run: RunWriter, *, experiment: Experiment = train_run, listener: Listener, on_wait: Callable[[int], None]
) -> dict[str, Any] | None:
    """Do one run in this process, from the queue to its final state.

    `on_wait` is called with the number of jobs in front whenever it changes. Returns the summary, None if it was
    stopped. Raises UserError after a failure; the run's state says the same.
    """
    try:
        return _work(run, experiment, listener, on_wait)
    except Stopped:
        _finish(run, "stopped", CANCELLED_MESSAGE, "cancelled")
        return None
    finally:
        queue.release_own(run.run_id)


def _work(
    run: RunWriter, experiment: Experiment, listener: Listener, on_wait: Callable[[int], None]
) -> dict[str, Any] | None:
    """As `work`; raises Stopped, and leaves the run as it is, if it was stopped before its turn came."""
    os.environ[RUN_ID_VARIABLE] = run.run_id
    queue.claim(run.run_id)
    update_state(run.run_id, pid=os.getpid(), pid_started_s=start_time_s(os.getpid()), host=host_name())
    try:
        with Watchdog(run) as watchdog, _device_lease(run.run_id, watchdog.should_stop, on_wait):
            return _work_leased(run, watchdog.should_stop, experiment, listener)
    finally:
        del os.environ[RUN_ID_VARIABLE]
        if not is_ours(run.run_id) or not read_state(run.run_id).is_active:
            queue.release_own(run.run_id)


def _work_leased(
    run: RunWriter, should_stop: ShouldStop, experiment: Experiment, listener: Listener
) -> dict[str, Any] | None:
    def listen(event: Any) -> None:
        write_event_to_log(event, run.folder / LOG_FILE)
        listener(event)

    _keep_reserve(run.folder)
    try:
        run.set_state("running", started_s=time.time())
        if should_stop():
            raise Stopped
        summary = experiment(run, should_stop, listen)
    except (Stopped, KeyboardInterrupt):
        summary = {"state": "stopped"}
    except Exception as error:
        ending, sentence = describe_failure(error)
        release_reserve(run.folder)  # a full disk must not keep the run from saying so
        if not isinstance(error, UserError):
            with suppress(OSError), (run.folder / LOG_FILE).open("a", encoding="utf-8") as log:
                traceback.print_exc(file=log)
        _finish(run, "failed", sentence, ending)
        if isinstance(error, UserError):
            raise
        raise UserError(sentence) from error
    is_stopped = summary.get("state") == "stopped"
    _finish(run, *(("stopped", STOPPED_MESSAGE, "stopped") if is_stopped else ("finished", "", "")))
    return None if is_stopped else summary


@contextmanager
def _device_lease(run_id: str, should_stop: ShouldStop, on_wait: Callable[[int], None]) -> Iterator[None]:
    """Wait until this run is first in the queue and the device is free, and hold the device meanwhile."""
    lease = FileLock(runs_dir() / "device.lock")
    said = -1
    while True:
        if should_stop():
            raise Stopped
        if queue.is_first(run_id):
            with suppress(Timeout):
                lease.acquire(timeout=0)
                break
        ahead = sum(ticket.is_held for ticket in queue.tickets() if ticket.run_id != run_id)
        if ahead != said:
            on_wait(said := ahead)
        time.sleep(_TURN_POLL_S)
    try:
        yield
    finally:
        lease.release()


def _finish(run: RunWriter, state: str, message: str, ending: str) -> None:
    if not is_ours(run.run_id):
        return
    release_reserve(run.folder)
    # The experiment may have entered a final state itself.
    if read_state(run.run_id).is_active:
        run.finish(state, message, ending)


def describe_failure(error: BaseException) -> tuple[str, str]:
    """The exit reason that an exception is (lib/tracking/state.py), and a sentence that says what to do."""
    if is_disk_full(error):
        return "disk_full", _DISK_FULL
    if isinstance(error, UserError):
        return error.ending, str(error)
    if fault := disk_fault(error):
        return fault.ending, str(fault)
    if is_out_of_memory(error):
        return "out_of_memory", _SHORT_OF_MEMORY
    text = str(error).strip()
    first_line = text.splitlines()[0] if text else type(error).__name__
    sentence = f"The training broke off with an unexpected error ({type(error).__name__}: {first_line})"
    return "unexpected", f"{sentence}; its log has more."


def _keep_reserve(folder: Path) -> None:
    """Keep a little room on the disk, so that a run can still say that it is full; nothing where none is left."""
    with suppress(OSError), (folder / RESERVE_FILE).open("wb") as opened:
        opened.write(b"\0" * RESERVE_BYTES)


def release_reserve(folder: Path) -> None:
    """Give that room back, for the last words of a run."""
    with suppress(OSError):
        (folder / RESERVE_FILE).unlink(missing_ok=True)


def is_ours(run_id: str) -> bool:
    """Whether this process still has the run: not if it was given up as dead, deleted, or taken up by another one.

    A laptop that slept, or a machine that was cut off, comes back and must not write into what others go on with.
    """
    try:
        state = read_state(run_id)
    except UserError:
        return False
    return state.state != "killed" and (state.pid, state.pid_started_s) == (os.getpid(), start_time_s(os.getpid()))


class Watchdog:
    """While entered: writes heartbeats, and turns a stop flag or SIGTERM, SIGINT, SIGHUP into `should_stop()`.

    So does a run that is not ours any more (`is_ours`). Work that does not end within `HARD_EXIT_S` after that (a long
    call, an import) is ended with the process.
    """

    def __init__(self, run: RunWriter) -> None:
        self.run = run
        self._stop, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._old_handlers: dict[signal.Signals, Any] = {}
        self._wake_reader, self._wake_writer = socket.socketpair()

    def should_stop(self) -> bool:
        """Whether the work should end now."""
        return self._stop.is_set()

    def __enter__(self) -> Self:
        # A Python signal handler waits for the main thread to come out of a long C call; the wake-up socket is written
        # by the C handler at once, so that this thread knows.
        self._wake_writer.settimeout(0)
        if threading.current_thread() is threading.main_thread():
            self._old_handlers = {number: signal.signal(number, lambda *_: self._stop.set()) for number in _SIGNALS}
            signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        if self.run.is_stop_requested():  # before the thread's first look, the work could be over
            self._stop.set()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closed.set()
        self._thread.join()
        if self._old_handlers:
            signal.set_wakeup_fd(-1)
            for number, handler in self._old_handlers.items():
                signal.signal(number, handler)
        self._wake_reader.close()
        self._wake_writer.close()

    def _watch(self) -> None:
        next_beat_s, asked_s = time.monotonic(), None
        while not self._closed.is_set():
            # The wake-up socket reports every handled signal, SIGCHLD and SIGWINCH among them.
            is_told = bool(select.select([self._wake_reader], [], [], _WATCH_POLL_S)[0])
            is_signalled = is_told and any(number in _SIGNALS for number in self._wake_reader.recv(64))
            now = time.monotonic()
            if asked_s is None and (is_signalled or self.run.is_stop_requested()):
                asked_s = now
                self._stop.set()
                with suppress(OSError):
                    (self.run.folder / STOP_FILE).touch()
            if asked_s is not None and now - asked_s > HARD_EXIT_S:
                self._exit_hard()
            if now >= next_beat_s:
                next_beat_s = now + HEARTBEAT_INTERVAL_S
                with suppress(OSError, ValueError):  # a full disk must not end the watch over the stop flag
                    if is_ours(self.run.run_id):
                        self.run.heartbeat()
                    elif asked_s is None:
                        asked_s = now
                        self._stop.set()
                        _say(LOST_MESSAGE)

    def _exit_hard(self) -> None:
        # No final state from here: whoever asked, or looks next, finishes a run whose process is gone (control.py).
        if self._closed.is_set():
            return
        _say(f"{STOPPED_MESSAGE} python -m lib runs resume {self.run.run_id[:8]}")
        with suppress(psutil.Error):
            for child in psutil.Process().children(recursive=True):
                child.kill()
        os._exit(HARD_EXIT_STATUS)


def _say(sentence: str) -> None:
    with suppress(Exception):
        print(f"\n{sentence}", file=sys.stderr, flush=True)  # noqa: T201
