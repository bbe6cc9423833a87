"""The thread that keeps a training honest: heartbeat, stop flag and signals, and a hard exit if it cannot stop."""

import os
import select
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

import psutil

from lib.errors import UserError
from lib.settings import HEARTBEAT_INTERVAL_S
from lib.tracking.state import STOP_FILE, read_state, start_time_s
from lib.tracking.writer import RunWriter

STOPPED_MESSAGE = "Stopped on request; resume goes on from the last checkpoint."
LOST_MESSAGE = "This run was given up as dead meanwhile (no sign of life for too long), so this process ends."
CANCELLED_MESSAGE = "Cancelled before it started; resume puts it back into the queue."
HARD_EXIT_S = 3.5  # after the request; `enforce_stop` kills from outside at 4 s
HARD_EXIT_STATUS = 130
_POLL_S = 0.1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


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

    So does a run that is not ours any more (`is_ours`).
    Work that does not end within `HARD_EXIT_S` after that (a long call, an import) is ended with the process.
    """

    def __init__(self, run: RunWriter) -> None:
        self.run = run
        self._stop = threading.Event()
        self._closed = threading.Event()
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
            self._old_handlers = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
            signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        if self.run.is_stop_requested():  # before the thread's first look, the work could be over
            self._stop.set()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join()
        if self._old_handlers:
            signal.set_wakeup_fd(-1)
            for number, handler in self._old_handlers.items():
                signal.signal(number, handler)
        self._wake_reader.close()
        self._wake_writer.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop.set()

    def _watch(self) -> None:
        next_beat_s, asked_s = time.monotonic(), None
        while not self._closed.is_set():
            is_signalled = bool(select.select([self._wake_reader], [], [], _POLL_S)[0]) and self._read_signal()
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
                        self._say(LOST_MESSAGE)

    def _read_signal(self) -> bool:
        # The wake-up socket reports every handled signal, SIGCHLD and SIGWINCH among them.
        return any(number in _SIGNALS for number in self._wake_reader.recv(64))

    def _say(self, sentence: str) -> None:
        with suppress(Exception):
            print(f"\n{sentence}", file=sys.stderr, flush=True)  # noqa: T201

    def _exit_hard(self) -> None:
        # No final state from here: whoever asked, or looks next, settles a run whose process is gone (control.py).
        if self._closed.is_set():
            return
        self._say(f"{STOPPED_MESSAGE} python -m lib runs resume {self.run.run_id[:8]}")
        with suppress(psutil.Error):
            for child in psutil.Process().children(recursive=True):
                child.kill()
        os._exit(HARD_EXIT_STATUS)
