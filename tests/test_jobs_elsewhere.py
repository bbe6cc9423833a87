"""Runs of a process under another host name: a machine that shares the home, a container that came back renamed."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from lib import jobs, tracking
from lib.errors import Stopped
from lib.jobs import control, processes, settlement, tickets
from lib.jobs.watchdog import is_ours
from lib.sweeps import plan as sweep_plan
from lib.tracking.state import update_state
from tests.run_store import make_run_store

CONFIG = {"dataset": "cats_dogs", "backbone": "mobilenet_v2", "strategy": "linear_probe"}
HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def _quick(home, monkeypatch):
    """Half a minute of silence is a second here."""
    make_run_store()
    for module in (processes, settlement, control, sweep_plan):
        monkeypatch.setattr(module, "HEARTBEAT_STALE_S", 1.0)
    monkeypatch.setattr(processes, "WATCH_S", 0.3)
    monkeypatch.setattr(processes, "_beats", {})


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
        tickets.draw(run.run_id)
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


def finish_quickly(run, should_stop, listener):
    return {"state": "finished"}


@pytest.mark.parametrize("beat_age_s", [0.0, 2 * HOUR_S, -HOUR_S])
def test_a_silent_ticket_holds_up_nobody_and_its_run_is_resumed(beat_age_s):
    dead = left_elsewhere(beat_age_s=beat_age_s)
    run = tracking.create_run(CONFIG)
    tickets.draw(run.run_id)
    started_s = time.monotonic()
    assert jobs.work(run, experiment=finish_quickly, listener=print, on_wait=print) == {"state": "finished"}
    assert time.monotonic() - started_s < 20

    assert jobs.reconcile() == [dead.run_id]
    state = tracking.read_state(dead.run_id)
    assert (state.state, state.ending, state.title) == ("killed", "silent", "No sign of life")
    assert "elsewhere gave no sign of life" in state.message
    assert tickets.queue() == []
    assert jobs.prepare_resume(dead.run_id).run_id == dead.run_id
    assert [ticket.run_id for ticket in tickets.queue()] == [dead.run_id]


@pytest.mark.parametrize("clock_off_s", [0.0, -HOUR_S, HOUR_S])
def test_a_live_machine_keeps_its_place_whatever_its_clock_says(clock_off_s):
    alive = left_elsewhere(beat_age_s=-clock_off_s)
    run = tracking.create_run(CONFIG)
    tickets.draw(run.run_id)
    with beating(alive, clock_off_s):
        for _ in range(10):
            assert not tickets.is_first(run.run_id)
            assert jobs.reconcile() == []
            time.sleep(0.2)
        assert [state.run_id for state in jobs.active_runs()] == [alive.run_id, run.run_id]
    deadline = time.monotonic() + 20
    while not tickets.is_first(run.run_id):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("beat_age_s", [0.0, HOUR_S])
def test_stop_and_delete_work_on_a_silent_run(beat_age_s):
    dead = left_elsewhere(beat_age_s=beat_age_s)
    final = jobs.stop(dead.run_id, wait=True)
    assert (final.state, final.ending) == ("stopped", "stopped")
    assert tickets.queue() == []
    tracking.delete_run(dead.run_id)
    assert tracking.list_runs() == []


def test_stop_is_heard_by_a_live_machine():
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


def test_a_worker_of_this_machine_under_its_former_name_is_known_and_stopped():
    run = left_elsewhere(beat_age_s=HOUR_S)
    worker = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env={**os.environ, processes.RUN_ID_VARIABLE: run.run_id}, start_new_session=True,
    )  # fmt: skip
    threading.Thread(target=worker.wait, daemon=True).start()
    started_s = processes.start_time_s(worker.pid)
    with on_host("elsewhere"):
        tickets.hold(run.run_id, worker.pid)
    update_state(run.run_id, pid=worker.pid, pid_started_s=started_s, is_detached=True)
    time.sleep(0.5)
    assert jobs.reconcile() == []
    assert tickets.queue()[0].is_held
    assert jobs.stop(run.run_id, wait=True).state == "stopped"
    assert not processes.is_alive(worker.pid, started_s)


@pytest.mark.parametrize("fate", ["given up", "resumed", "deleted"])
def test_a_process_that_lost_its_run_ends_and_leaves_it_alone(fate):
    """As a laptop that slept while another machine went on."""
    run = tracking.create_run(CONFIG)
    tickets.draw(run.run_id)

    def experiment(run, should_stop, listener):
        if fate == "deleted":
            run.folder.rename(run.folder.with_name("moved"))
        else:
            run.finish("killed", "It gave no sign of life.", "silent")
        if fate == "resumed":
            tickets.hand_back(run.run_id)
            with on_host("elsewhere"):
                jobs.prepare_resume(run.run_id)
            update_state(run.run_id, pid=1, pid_started_s=1.0, state="running")
            with on_host("elsewhere"):
                tickets.hold(run.run_id, 1)
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
    assert len(tickets.queue()) == (fate == "resumed")


def test_a_clock_that_is_set_makes_no_process_another(monkeypatch):
    me = (os.getpid(), processes.start_time_s(os.getpid()))
    since_1970_s = psutil.Process().create_time()  # as runs of older versions have it
    assert processes.is_alive(os.getpid(), since_1970_s)
    assert not processes.is_alive(os.getpid(), since_1970_s - 100)
    boot_time = psutil._psplatform.boot_time
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot_time() + HOUR_S)
    assert processes.is_alive(*me)
    assert not processes.is_alive(os.getpid(), me[1] - 1)  # a pid that is used again


def test_heartbeats_go_on_while_the_work_is_one_long_step():
    run = tracking.create_run(CONFIG)
    tickets.draw(run.run_id)
    beats = []

    def experiment(run, should_stop, listener):
        deadline = time.monotonic() + 3.5
        while time.monotonic() < deadline:
            sum(range(3_000_000))  # computes without ever saying how far it is
            beats.append(tracking.read_state(run.run_id).heartbeat_s)
        return {"state": "finished"}

    jobs.work(run, experiment=experiment, listener=print, on_wait=print)
    assert len(set(beats)) >= 3
    assert not is_ours("vanished")


def test_a_run_whose_maker_vanished_is_not_waited_for():
    with on_host("elsewhere"):
        run = tracking.create_run(CONFIG)
    run.folder.rename(run.folder.with_name("moved"))
    record = tracking.get_run(run.run_id)
    assert record.state == "queued"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: record.created_s + 60)
        assert tracking.get_run(run.run_id).ending == "never_started"
