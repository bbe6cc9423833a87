"""Starting, stopping and resuming, with a real worker process around a small experiment that the test writes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from lib import jobs, tracking
from lib.errors import UserError
from lib.jobs import control, processes, queue
from lib.tracking.state import STOP_FILE, update_state
from tests.jobs.conftest import CONFIG, beating, left_elsewhere, on_host, queued_run

HOUR_S = 3600.0

# The worker's life is the real one; only what it trains is replaced. "kind" in the config chooses.
WORKER = """
import sys, time, threading, subprocess
from lib.errors import Stopped
from lib.jobs import worker
from lib.tracking.writer import RunWriter

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

if RunWriter(sys.argv[1]).config["kind"] != "waits":
    worker.lower_priority = lambda: None  # a busy machine lets a nice process wait for a minute
worker.run_worker(sys.argv[1], experiment=experiment)
"""


@pytest.fixture(autouse=True)
def _worker(_store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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
    queue.enqueue(run.run_id)
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
    assert queue.tickets() == []


@pytest.mark.slow
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


@pytest.mark.slow
def test_five_quick_starts_run_in_order_and_can_be_cancelled():
    run_ids = [launch(kind) for kind in ("waits", "quick", "quick", "quick", "quick")]
    wait_for(run_ids[0], "running")

    assert [state.run_id for state in jobs.active_runs()] == run_ids
    assert [state.state for state in jobs.active_runs()] == ["running", *["queued"] * 4]

    for run_id in run_ids[2:]:
        cancelled = jobs.stop(run_id, wait=True)
        assert (cancelled.state, cancelled.started_s) == ("stopped", 0.0)
        assert "Cancelled" in cancelled.message
    assert [state.run_id for state in jobs.active_runs()] == run_ids[:2]

    jobs.stop(run_ids[0])
    wait_for(run_ids[1], "finished")
    assert tracking.read_state(run_ids[0]).state == "stopped"
    last = tracking.read_state(run_ids[1])
    assert processes.wait_until_gone(last.pid, last.pid_started_s, 60)
    assert jobs.active_runs() == queue.tickets() == []
    assert tracking.get_run(run_ids[1]).ended_s is not None


def test_a_worker_that_cannot_even_start_has_failed(monkeypatch):
    monkeypatch.setattr(
        control, "worker_command", lambda run_id: [sys.executable, "-c", "import sys; sys.exit('No module named lib')"]
    )
    run_id = launch("quick")
    assert "exit status 1 (No module named lib)" in wait_for(run_id, "failed").message

    monkeypatch.setattr(control, "worker_command", lambda run_id: ["/no/such/python"])
    with pytest.raises(UserError, match="could not be started"):
        launch("quick")
    assert queue.tickets() == []
    assert tracking.list_runs()[0].state == "failed"


def test_a_training_that_diverged_is_not_resumed():
    run = queued_run()
    error = UserError("The loss became nan at step 3; lower the learning rate.")
    error.ending = "diverged"

    def experiment(run, should_stop, listener):
        raise error

    with pytest.raises(UserError, match="loss became nan"):
        jobs.work(run, experiment=experiment, listener=print, on_wait=print)
    assert tracking.read_state(run.run_id).title == "Loss not a number"
    with pytest.raises(UserError, match=r"end the same way again .loss not a number.; start a new run"):
        jobs.resume(run.run_id)


@pytest.mark.parametrize(("state", "worked_s"), [("stopped", 37.0), ("killed", 30.0)])
def test_a_resumed_run_remembers_how_long_it_has_worked(state, worked_s):
    run = tracking.create_run(CONFIG, state="running")
    run.finish(state, "", state)
    # A killed process gave no sign of its end: the time until somebody noticed does not count.
    update_state(run.run_id, started_s=1000.0, heartbeat_s=1007.0, worked_s=30.0)
    jobs.prepare_resume(run.run_id)
    again = tracking.read_state(run.run_id)
    assert (again.state, again.started_s, again.worked_s) == ("queued", 0.0, worked_s)


@pytest.mark.parametrize("beat_age_s", [0.0, HOUR_S])
def test_stop_and_delete_work_on_a_silent_run(quick_silence, beat_age_s):
    dead = left_elsewhere(beat_age_s=beat_age_s)
    final = jobs.stop(dead.run_id, wait=True)
    assert (final.state, final.ending) == ("stopped", "stopped")
    assert queue.tickets() == []
    tracking.delete_run(dead.run_id)
    assert tracking.list_runs() == []


def test_stop_is_heard_by_a_live_machine(quick_silence):
    alive = left_elsewhere()

    def obey() -> None:
        while not alive.is_stop_requested():
            time.sleep(0.02)
        alive.finish("stopped", "Stopped on request.", "stopped")

    thread = threading.Thread(target=obey)
    with beating(alive):
        thread.start()
        assert jobs.stop(alive.run_id, wait=True).state == "stopped"
        thread.join()


@pytest.mark.slow
def test_a_worker_of_this_machine_under_its_former_name_is_known_and_stopped(quick_silence):
    run = left_elsewhere(beat_age_s=HOUR_S)
    worker = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env={**os.environ, processes.RUN_ID_VARIABLE: run.run_id}, start_new_session=True,
    )  # fmt: skip
    threading.Thread(target=worker.wait, daemon=True).start()
    started_s = processes.start_time_s(worker.pid)
    with on_host("elsewhere"):
        queue.claim(run.run_id, worker.pid)
    update_state(run.run_id, pid=worker.pid, pid_started_s=started_s, is_detached=True)
    time.sleep(0.5)
    assert jobs.reconcile() == []
    assert queue.tickets()[0].is_held
    assert jobs.stop(run.run_id, wait=True).state == "stopped"
    assert not processes.is_alive(worker.pid, started_s)
