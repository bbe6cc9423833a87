import dataclasses
import json
import os
import time

import pytest

from lib.jobs import processes
from lib.sweeps import plan as plans
from lib.sweeps import state as states
from lib.sweeps.seeds import SeedSweep
from lib.sweeps.state import SweepState, heartbeats, read_sweep, write_sweep


@pytest.fixture(autouse=True)
def _quick(home, monkeypatch):
    """Half a minute of silence is half a second here."""
    for module in (processes, plans):
        monkeypatch.setattr(module, "HEARTBEAT_STALE_S", 0.5)
    monkeypatch.setattr(states, "HEARTBEAT_INTERVAL_S", 0.1)
    monkeypatch.setattr(processes, "WATCH_S", 0.2)
    monkeypatch.setattr(processes, "_beats", {})


def test_a_sweep_of_a_dead_machine_reads_as_ended_and_a_live_one_goes_on():
    plan = SeedSweep(group_id="ab12", num_seeds=2, config={})
    files = plan.files
    state = SweepState(state="running", pid=1, pid_started_s=1.0, host="elsewhere")
    write_sweep(files, state)
    with heartbeats(files):
        time.sleep(1.2)
        assert read_sweep(files).state == "running"
    deadline = time.monotonic() + 20
    while read_sweep(files).is_active:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert read_sweep(files).state == "failed"

    write_sweep(files, dataclasses.replace(state, step="again"))
    os.utime(files.state, (1.0, 1.0))
    assert plan.stop_and_wait().state == "stopped"
    assert json.loads(files.state.read_text())["state"] == "running"  # nobody wrote into what is not ours
