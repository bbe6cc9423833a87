import os
import re
import signal
import sqlite3
import time
from functools import partial
from pathlib import Path

import pytest

from lib import jobs, tracking
from lib.errors import DiskFull, Stopped, UserError
from lib.jobs import processes, queue, worker
from lib.jobs.worker import RESERVE_FILE, is_ours
from lib.tracking import writer
from lib.tracking.state import update_state
from tests.jobs.conftest import in_front, on_host, queued_run


@pytest.mark.parametrize(
    ("error", "sentence", "ending"),
    [
        (UserError("The class 'cat' has 1 image; add more."), "The class 'cat' has 1 image; add more.", "refused"),
        (DiskFull("The cache needs 2 GiB."), "The cache needs 2 GiB.", "disk_full"),
        (KeyError("no such thing"), "unexpected error (KeyError: 'no such thing')", "unexpected"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 TB"),
            "Memory ran out. Choose a smaller",
            "out_of_memory",
        ),
        (OSError(28, "No space left on device"), "The disk is full. Free some space, then resume", "disk_full"),
        (sqlite3.OperationalError("database or disk is full"), "The disk is full", "disk_full"),
    ],
)
def test_a_failure_is_one_sentence_and_the_log_has_the_rest(error, sentence, ending):
    run = queued_run()

    def experiment(run, should_stop, listener):
        raise error

    with pytest.raises(UserError, match=re.escape(sentence)):
        jobs.work(run, experiment=experiment, listener=print, on_wait=print)

    assert sentence in tracking.get_run(run.run_id).message
    state = tracking.read_state(run.run_id)
    assert (state.state, state.ending, state.is_resumable) == ("failed", ending, True)
    assert tracking.get_run(run.run_id).ending == ending
    assert not (run.folder / RESERVE_FILE).exists()
    assert ("Traceback" in jobs.tail_log(run.run_id)) == (not isinstance(error, UserError))
    assert queue.tickets() == []


def test_a_full_disk_is_said_with_the_room_that_was_kept(monkeypatch):
    """Every write fails until the run gives its reserve back, as on a disk without a free block."""
    run = queued_run()
    open_file = Path.open

    def is_full() -> bool:
        return (run.folder / RESERVE_FILE).exists()

    def open_or_fail(path, mode="r", *arguments, **options):
        if is_full() and mode[0] in "wa" and path.parent == run.folder and "lock" not in path.name:
            raise OSError(28, "No space left on device")
        return open_file(path, mode, *arguments, **options)

    def experiment(run, should_stop, listener):
        monkeypatch.setattr(Path, "open", open_or_fail)
        run.heartbeat(phase="Training")
        raise AssertionError("the heartbeat was written")

    with pytest.raises(UserError, match="The disk is full"):
        jobs.work(run, experiment=experiment, listener=print, on_wait=print)
    assert tracking.read_state(run.run_id).ending == "disk_full"


def test_work_in_this_process_waits_in_the_same_queue():
    ahead, process = in_front()
    run = queued_run()
    waits = []

    def on_wait(number: int) -> None:
        waits.append(number)
        process.kill()
        process.wait()

    def experiment(run, should_stop, listener):
        assert tracking.read_state(run.run_id).pid == os.getpid()
        return {"state": "finished", "test_accuracy": 1.0}

    summary = jobs.work(run, experiment=experiment, listener=print, on_wait=on_wait)

    assert summary == {"state": "finished", "test_accuracy": 1.0}
    assert waits[0] == 1
    assert jobs.reconcile() == [ahead]
    assert tracking.read_state(run.run_id).state == "finished"
    assert processes.RUN_ID_VARIABLE not in os.environ


def test_an_interrupt_in_the_queue_cancels_and_one_at_work_stops():
    before = signal.getsignal(signal.SIGINT)  # a shell that starts the tests in the background has it ignored
    ahead, process = in_front()
    queued = queued_run()
    interrupt = partial(os.kill, os.getpid(), signal.SIGINT)

    assert jobs.work(queued, listener=print, on_wait=lambda number: interrupt()) is None
    assert tracking.read_state(queued.run_id).message.startswith("Cancelled before it started")
    assert [state.run_id for state in jobs.active_runs()] == [ahead]

    process.kill()
    process.wait()
    started = queued_run()

    def experiment(run, should_stop, listener):
        interrupt()
        while not should_stop():
            time.sleep(0.01)
        raise Stopped

    assert jobs.work(started, experiment=experiment, listener=print, on_wait=print) is None
    assert tracking.read_state(started.run_id).state == "stopped"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("fate", ["given up", "resumed", "deleted"])
def test_a_process_that_lost_its_run_ends_and_leaves_it_alone(fate):
    """As a laptop that slept while another machine went on."""
    run = queued_run()

    def experiment(run, should_stop, listener):
        if fate == "deleted":
            run.folder.rename(run.folder.with_name("moved"))
        else:
            run.finish("killed", "It gave no sign of life.", "silent")
        if fate == "resumed":
            queue.release(run.run_id)
            with on_host("elsewhere"):
                jobs.prepare_resume(run.run_id)
            update_state(run.run_id, pid=1, pid_started_s=1.0, state="running")
            with on_host("elsewhere"):
                queue.claim(run.run_id, 1)
        deadline = time.monotonic() + 20
        while not should_stop():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        raise Stopped

    assert jobs.work(run, experiment=experiment, listener=print, on_wait=print) is None
    if fate == "deleted":
        assert not run.folder.exists()
        return
    state = tracking.read_state(run.run_id)
    assert (state.state, state.pid) == (("running", 1) if fate == "resumed" else ("killed", os.getpid()))
    assert len(queue.tickets()) == (fate == "resumed")


def test_heartbeats_go_on_while_the_work_is_one_long_step(monkeypatch):
    for module in (worker, writer):
        monkeypatch.setattr(module, "HEARTBEAT_INTERVAL_S", 0.3)
    run = queued_run()
    beats = []

    def experiment(run, should_stop, listener):
        deadline = time.monotonic() + 30
        while len(set(beats)) < 3 and time.monotonic() < deadline:
            sum(range(3_000_000))  # computes without ever saying how far it is
            beats.append(tracking.read_state(run.run_id).heartbeat_s)
        return {"state": "finished"}

    jobs.work(run, experiment=experiment, listener=print, on_wait=print)
    assert len(set(beats)) >= 3
    assert not is_ours("vanished")
