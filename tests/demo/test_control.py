import time

from lib import demo
from lib.demo import control
from lib.demo.state import read_demo
from lib.jobs import processes


def test_start_and_stop_of_a_real_process(monkeypatch):
    spawn = processes.spawn_detached
    monkeypatch.setattr(processes, "spawn_detached", lambda command, log: spawn(["sleep", "60"], log))
    monkeypatch.setattr(control, "STOP_TIMEOUT_S", 0.2)
    assert control.stop().state == "new"  # nothing to stop
    state = demo.start()
    assert (state.state, state.step) == ("running", "Starting")
    assert demo.start().pid == state.pid  # a second click starts nothing
    assert demo.stop().state == "stopping"
    deadline = time.monotonic() + 10
    while read_demo().is_active:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert read_demo().state == "stopped"
    assert not processes.is_alive(state.pid, state.pid_started_s)
