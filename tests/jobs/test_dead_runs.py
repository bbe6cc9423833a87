import signal
import subprocess
import time

import psutil
import pytest

from lib import jobs, tracking
from lib.jobs import dead_runs, processes, queue
from lib.tracking.state import STOP_FILE, update_state
from tests.jobs.conftest import CONFIG, beating, left_elsewhere, queued_run

HOUR_S = 3600.0


def finish_quickly(run, should_stop, listener):
    return {"state": "finished"}


def test_another_process_finishes_what_died_unseen():
    """As after a restart of the server: nobody waits for these workers any more."""
    gone = subprocess.Popen(["true"])
    started_s = processes.start_time_s(gone.pid)
    gone.wait()
    runs = {name: tracking.create_run(CONFIG, state="running") for name in ("asked", "killed", "rebooted", "fresh")}
    for name in ("asked", "killed", "rebooted"):
        update_state(runs[name].run_id, pid=gone.pid, pid_started_s=started_s, started_s=time.time())
    (runs["asked"].folder / STOP_FILE).touch()
    update_state(runs["rebooted"].run_id, heartbeat_s=psutil.boot_time() - 60)

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
    assert not dead_runs.finish_dead(run.run_id, -signal.SIGKILL)
    assert tracking.store.client().get_run(run.run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("exit_status", "ending"), [(-signal.SIGSEGV, "crashed"), (-signal.SIGKILL, "memory_kill"), (1, "unexpected")]
)
def test_the_way_a_process_died_names_the_ending(exit_status, ending):
    gone = subprocess.Popen(["true"])
    gone.wait()
    run = tracking.create_run(CONFIG, state="running")
    update_state(run.run_id, pid=gone.pid, started_s=time.time())
    assert dead_runs.finish_dead(run.run_id, exit_status)
    assert tracking.read_state(run.run_id).ending == ending


@pytest.mark.parametrize("beat_age_s", [0.0, 2 * HOUR_S, -HOUR_S])
def test_a_silent_ticket_holds_up_nobody_and_its_run_is_resumed(quick_silence, beat_age_s):
    dead = left_elsewhere(beat_age_s=beat_age_s)
    run = queued_run()
    started_s = time.monotonic()
    assert jobs.work(run, experiment=finish_quickly, listener=print, on_wait=print) == {"state": "finished"}
    assert time.monotonic() - started_s < 20

    assert jobs.reconcile() == [dead.run_id]
    state = tracking.read_state(dead.run_id)
    assert (state.state, state.ending, state.title) == ("killed", "silent", "No sign of life")
    assert "elsewhere gave no sign of life" in state.message
    assert queue.tickets() == []
    assert jobs.prepare_resume(dead.run_id).run_id == dead.run_id
    assert [ticket.run_id for ticket in queue.tickets()] == [dead.run_id]


@pytest.mark.slow
@pytest.mark.parametrize("clock_off_s", [0.0, -HOUR_S, HOUR_S])
def test_a_live_machine_keeps_its_place_whatever_its_clock_says(quick_silence, clock_off_s):
    alive = left_elsewhere(beat_age_s=-clock_off_s)
    run = queued_run()
    with beating(alive, clock_off_s):
        for _ in range(7):
            assert not queue.is_first(run.run_id)
            assert jobs.reconcile() == []
            time.sleep(0.2)
        assert [state.run_id for state in jobs.active_runs()] == [alive.run_id, run.run_id]
    deadline = time.monotonic() + 20
    while not queue.is_first(run.run_id):
        assert time.monotonic() < deadline
        time.sleep(0.05)
