"""Runs in the queue, of this machine or of another one, without a training."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lib import tracking
from lib.jobs import control, dead_runs, processes, queue
from lib.tracking.state import update_state
from tests.run_store import make_run_store

CONFIG = {"dataset": "cats_dogs", "backbone": "mobilenet_v2", "strategy": "linear_probe"}


@pytest.fixture(autouse=True)
def _store(home):
    make_run_store()


@pytest.fixture
def quick_silence(monkeypatch):
    """Half a minute of silence is a second here."""
    for module in (processes, dead_runs, control):
        monkeypatch.setattr(module, "HEARTBEAT_STALE_S", 1.0)
    monkeypatch.setattr(processes, "WATCH_S", 0.3)
    monkeypatch.setattr(processes, "_beats", {})


def queued_run() -> tracking.RunWriter:
    run = tracking.create_run(CONFIG)
    queue.enqueue(run.run_id)
    return run


def in_front() -> tuple[str, subprocess.Popen]:
    """A run that holds the first ticket, as if somebody else's process worked on it."""
    process = subprocess.Popen(["sleep", "60"])
    run = tracking.create_run(CONFIG, state="running")
    queue.enqueue(run.run_id)
    queue.claim(run.run_id, process.pid)
    update_state(run.run_id, pid=process.pid, pid_started_s=processes.start_time_s(process.pid))
    return run.run_id, process


@contextmanager
def on_host(name: str) -> Iterator[None]:
    """As if this process ran on a machine of that name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: name)
        yield


def left_elsewhere(*, beat_age_s: float = 0.0, **changes) -> tracking.RunWriter:
    """A run at the head of the queue whose process is of another machine; its pid means nothing here."""
    with on_host("elsewhere"):
        run = tracking.create_run(CONFIG, state="running")
        queue.enqueue(run.run_id)
    beaten_s = time.time() - beat_age_s
    update_state(run.run_id, pid=1, pid_started_s=1.0, started_s=beaten_s, heartbeat_s=beaten_s, **changes)
    return run


@contextmanager
def beating(run: tracking.RunWriter, clock_off_s: float = 0.0) -> Iterator[None]:
    """Heartbeats of a live process whose clock is off by so much."""
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(0.05):
            update_state(run.run_id, heartbeat_s=time.time() + clock_off_s)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
