"""Jobs with a real worker process around a small experiment that the test writes."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from lib import jobs, tracking
from lib.errors import DiskFull, Stopped, UserError
from lib.jobs import control, processes, settlement, tickets
from lib.jobs.reserve import RESERVE_FILE
from lib.tracking.state import LOG_FILE, STOP_FILE, update_state
from tests.run_store import make_run_store

CONFIG = {"dataset": "cats_dogs", "backbone": "mobilenet_v2", "strategy": "linear_probe"}

# The worker's life is the real one; only what it trains is replaced. "kind" in the config chooses.
WORKER = """
import sys, time, threading, subprocess
from lib.errors import Stopped
from lib.jobs.worker import run_worker

def experiment(run, should_stop, listener):
    kind = run.config["kind"]
    if kind == "quick":
        return {"state": "finished"}
    if kind == "child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (run.folder / "child").write_text(str(child.pid))
    (run.folder / "working").touch()
    while kind == "stuck":
        pow(3, 30_000_000)  # a call that neither looks at the stop flag nor lets other threads run
    while not should_stop():
        run.heartbeat(phase="training", epoch=1)
        time.sleep(0.02)
    raise Stopped

run_worker(sys.argv[1], experiment=experiment)
"""


@pytest.fixture(autouse=True)
def _worker(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make_run_store()
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    monkeypatch.setattr(control, "worker_command", lambda run_id: [sys.executable, str(script), run_id])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(processes.PROJECT_ROOT), os.environ["PYTHONPATH"]]))
    yield
    for state in tracking.state.stored_states():
        if state.is_detached and state.pid is not None:
            processes.kill(state.pid, state.pid_started_s, is_group=True)


def launch(kind: str) -> str:
    run = tracking.create_run({**CONFIG, "kind": kind})
    tickets.draw(run.run_id)
    jobs.launch(run)
    return run.run_id


def wait_for(run_id: str, *wanted: str, timeout_s: float = 120.0) -> tracking.RunState:
    deadline = time.monotonic() + timeout_s
    while (state := tracking.read_state(run_id)).state not in wanted:
        assert time.monotonic() < deadline, f"{state}\n{jobs.tail_log(run_id)}"
        time.sleep(0.05)
    return state


def wait_for_file(run_id: str, name: str) -> Path:
    path = tracking.run_folder(run_id) / name
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, jobs.tail_log(run_id)
        time.sleep(0.05)
    return path


def in_front() -> tuple[str, subprocess.Popen]:
    """A run that holds the first ticket, as if somebody else's process worked on it."""
    process = subprocess.Popen(["sleep", "60"])
    run = tracking.create_run(CONFIG, state="running")
    tickets.draw(run.run_id)
    tickets.hold(run.run_id, process.pid)
    update_state(run.run_id, pid=process.pid, pid_started_s=processes.start_time_s(process.pid))
    return run.run_id, process


def test_stop_says_stopping_at_once_and_the_run_resumes():
    run_id = launch("waits")
    state = wait_for(run_id, "running")
    wait_for_file(run_id, "working")
    assert state.is_detached
    assert os.getsid(state.pid) == state.pid != os.getsid(0)
    assert psutil.Process(state.pid).nice() >= 10
    session = Path(f"/proc/{state.pid}/autogroup")  # of Linux kernels that share out time by session
    assert not session.is_file() or session.read_text().rstrip().endswith("nice 10")

    asked = time.monotonic()
    assert jobs.stop(run_id).state == "stopping"
    assert time.monotonic() - asked < 1
    assert processes.wait_until_gone(state.pid, state.pid_started_s, 5)
    assert "resume goes on" in wait_for(run_id, "stopped").message
    assert jobs.stop(run_id).state == "stopped"  # a second click does nothing

    assert jobs.resume(run_id) == run_id
    state = wait_for(run_id, "running")
    assert not (tracking.run_folder(run_id) / STOP_FILE).exists()
    with pytest.raises(UserError, match="is running; stop it first"):
        jobs.resume(run_id)
    os.kill(state.pid, signal.SIGTERM)  # a machine that shuts down
    assert wait_for(run_id, "stopped").message
    assert processes.wait_until_gone(state.pid, state.pid_started_s, 5)
    assert tickets.queue() == []


def test_a_worker_stuck_in_a_long_call_is_gone_within_five_seconds():
    run_id = launch("stuck")
    state = wait_for(run_id, "running")
    wait_for_file(run_id, "working")

    asked = time.monotonic()
    final = jobs.stop(run_id, wait=True)

    assert not processes.is_alive(state.pid, state.pid_started_s)
    assert time.monotonic() - asked < 6
    assert final.state == "stopped"
    assert final.is_resumable


def test_stop_in_the_first_moment_is_heard():
    run_id = launch("quick")
    pid = tracking.read_state(run_id).pid
    final = jobs.stop(run_id, wait=True)
    assert final.state == "stopped"
    assert not processes.is_alive(pid, None)


def test_a_killed_worker_is_noticed_and_leaves_nothing_behind():
    run_id = launch("child")
    child = int(wait_for_file(run_id, "child").read_text())
    state = wait_for(run_id, "running")

    os.kill(state.pid, signal.SIGKILL)

    killed = wait_for(run_id, "killed")
    message = killed.message
    assert (killed.ending, killed.title) == ("memory_kill", "Killed, probably memory")
    assert "killed from outside, most often because memory ran out" in message
    assert "Resume" in message
    assert processes.wait_until_gone(child, None, 5)
    assert jobs.active_runs() == []


def test_five_quick_starts_run_in_order_and_can_be_cancelled():
    run_ids = [launch(kind) for kind in ("waits", "quick", "quick", "quick", "quick")]
    wait_for(run_ids[0], "running")

    assert [state.run_id for state in jobs.active_runs()] == run_ids
    assert [state.state for state in jobs.active_runs()] == ["running", *["queued"] * 4]

    for run_id in run_ids[2:]:
        cancelled = jobs.stop(run_id, wait=True)
        assert (cancelled.state, cancelled.started_s) == ("stopped", 0.0)
        assert "Cancelled before it started" in cancelled.message
    assert [state.run_id for state in jobs.active_runs()] == run_ids[:2]

    jobs.stop(run_ids[0])
    wait_for(run_ids[1], "finished")
    assert tracking.read_state(run_ids[0]).state == "stopped"
    last = tracking.read_state(run_ids[1])
    assert processes.wait_until_gone(last.pid, last.pid_started_s, 60)
    assert jobs.active_runs() == tickets.queue() == []
    assert tracking.get_run(run_ids[1]).ended_s is not None


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
    run = tracking.create_run(CONFIG)
    tickets.draw(run.run_id)

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
    assert tickets.queue() == []


def test_a_worker_that_cannot_even_start_has_failed(monkeypatch):
    monkeypatch.setattr(
        control, "worker_command", lambda run_id: [sys.executable, "-c", "import sys; sys.exit('No module named lib')"]
    )
    run_id = launch("quick")
    assert "exit status 1 (No module named lib)" in wait_for(run_id, "failed").message

    monkeypatch.setattr(control, "worker_command", lambda run_id: ["/no/such/python"])
    with pytest.raises(UserError, match="could not be started"):
        launch("quick")
    assert tickets.queue() == []
    assert tracking.list_runs()[0].state == "failed"


def test_another_process_settles_what_died_unseen():
    """As after a restart of the server: nobody waits for these workers any more."""
    gone = subprocess.Popen(["true"])
    started_s = processes.start_time_s(gone.pid)
    gone.wait()
    runs = {name: tracking.create_run(CONFIG, state="running") for name in ("asked", "killed", "rebooted", "fresh")}
    for name in ("asked", "killed", "rebooted"):
        update_state(runs[name].run_id, pid=gone.pid, pid_started_s=started_s, started_s=time.time())
    (runs["asked"].folder / STOP_FILE).touch()
    update_state(runs["rebooted"].run_id, heartbeat_s=processes.boot_time_s() - 60)

    assert set(jobs.reconcile()) == {runs[name].run_id for name in ("asked", "killed", "rebooted")}

    assert tracking.read_state(runs["asked"].run_id).state == "stopped"
    assert tracking.read_state(runs["killed"].run_id).state == "killed"
    assert "machine was restarted" in tracking.read_state(runs["rebooted"].run_id).message
    assert tracking.read_state(runs["fresh"].run_id).state == "running"  # its process may be on the way
    update_state(runs["fresh"].run_id, heartbeat_s=time.time() - 60)
    assert jobs.reconcile() == [runs["fresh"].run_id]
    assert jobs.reconcile() == []


def test_a_worker_killed_after_its_last_word_is_finished_everywhere():
    gone = subprocess.Popen(["true"])
    gone.wait()
    run = tracking.create_run(CONFIG, state="running")
    update_state(run.run_id, state="finished", message="", pid=gone.pid)  # the folder comes first, then MLflow
    assert not settlement.settle(run.run_id, -signal.SIGKILL)
    assert tracking.store.client().get_run(run.run_id).info.status == "FINISHED"


def test_a_training_that_diverged_is_not_resumed():
    run = tracking.create_run(CONFIG)
    tickets.draw(run.run_id)
    error = UserError("The loss became nan at step 3; lower the learning rate.")
    error.ending = "diverged"

    def experiment(run, should_stop, listener):
        raise error

    with pytest.raises(UserError, match="loss became nan"):
        jobs.work(run, experiment=experiment, listener=print, on_wait=print)
    assert tracking.read_state(run.run_id).title == "Loss not a number"
    with pytest.raises(UserError, match=r"end the same way again .loss not a number.; start a new run"):
        jobs.resume(run.run_id)


@pytest.mark.parametrize(
    ("exit_status", "ending"), [(-signal.SIGSEGV, "crashed"), (-signal.SIGKILL, "memory_kill"), (1, "unexpected")]
)
def test_the_way_a_process_died_names_the_ending(exit_status, ending):
    gone = subprocess.Popen(["true"])
    gone.wait()
    run = tracking.create_run(CONFIG, state="running")
    update_state(run.run_id, pid=gone.pid, started_s=time.time())
    assert settlement.settle(run.run_id, exit_status)
    assert tracking.read_state(run.run_id).ending == ending


@pytest.mark.parametrize(("state", "worked_s"), [("stopped", 37.0), ("killed", 30.0)])
def test_a_resumed_run_remembers_how_long_it_has_worked(state, worked_s):
    run = tracking.create_run(CONFIG, state="running")
    run.finish(state, "", state)
    # A killed process gave no sign of its end: the time until somebody noticed does not count.
    update_state(run.run_id, started_s=1000.0, heartbeat_s=1007.0, worked_s=30.0)
    jobs.prepare_resume(run.run_id)
    again = tracking.read_state(run.run_id)
    assert (again.state, again.started_s, again.worked_s) == ("queued", 0.0, worked_s)


def test_a_full_disk_is_said_with_the_room_that_was_kept(monkeypatch):
    """Every write fails until the run gives its reserve back, as on a disk without a free block."""
    run = tracking.create_run(CONFIG)
    tickets.draw(run.run_id)
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


def test_a_store_that_is_away_does_not_keep_a_run_from_ending(monkeypatch):
    run = tracking.create_run(CONFIG, state="running")

    def away(*arguments, **options):
        raise ConnectionError("no answer")

    for module in (tracking.writer, tracking.artifacts):
        monkeypatch.setattr(module, "client", away)
    run.finish("failed", "The disk is full.", "disk_full")
    assert tracking.read_state(run.run_id).ending == "disk_full"
    assert tracking.get_run(run.run_id).state == "failed"


def test_a_reused_pid_is_not_the_worker():
    assert processes.is_alive(os.getpid(), processes.start_time_s(os.getpid()))
    assert not processes.is_alive(os.getpid(), processes.start_time_s(os.getpid()) - 100)
    assert not processes.is_alive(None, None)


def test_a_run_has_one_ticket():
    run = tracking.create_run(CONFIG)
    tickets.draw(run.run_id)
    with pytest.raises(UserError, match="running or queued already"):
        tickets.draw(run.run_id)
    assert tickets.is_first(run.run_id)
    tickets.hand_back(run.run_id)
    tickets.hand_back(run.run_id)
    assert tickets.queue() == []


def test_a_ticket_whose_folder_is_gone_does_not_block_the_queue():
    gone = subprocess.Popen(["true"])
    tickets.draw("vanished")
    tickets.hold("vanished", gone.pid)
    gone.wait()
    assert jobs.active_runs() == []
    assert tickets.queue() == []


def test_work_in_this_process_waits_in_the_same_queue():
    ahead, process = in_front()
    run = tracking.create_run(CONFIG)
    tickets.draw(run.run_id)
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
    queued = tracking.create_run(CONFIG)
    tickets.draw(queued.run_id)
    interrupt = partial(os.kill, os.getpid(), signal.SIGINT)

    assert jobs.work(queued, listener=print, on_wait=lambda number: interrupt()) is None
    assert tracking.read_state(queued.run_id).message.startswith("Cancelled before it started")
    assert [state.run_id for state in jobs.active_runs()] == [ahead]

    process.kill()
    process.wait()
    started = tracking.create_run(CONFIG)
    tickets.draw(started.run_id)

    def experiment(run, should_stop, listener):
        interrupt()
        while not should_stop():
            time.sleep(0.01)
        raise Stopped

    assert jobs.work(started, experiment=experiment, listener=print, on_wait=print) is None
    assert tracking.read_state(started.run_id).state == "stopped"
    assert signal.getsignal(signal.SIGINT) is before


def test_the_log_shows_only_the_end_of_rewritten_lines():
    run = tracking.create_run(CONFIG)
    assert jobs.tail_log(run.run_id) == ""
    (run.folder / LOG_FILE).write_bytes(b"first\n10%\r50%\r100%\n\nlast \xff\r\n")
    assert jobs.tail_log(run.run_id) == "first\n100%\nlast �"
    assert jobs.tail_log(run.run_id, 1) == "last �"
