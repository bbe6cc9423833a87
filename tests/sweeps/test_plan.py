import dataclasses
import json
import os
import time
from dataclasses import dataclass

import pytest

from lib.errors import UserError
from lib.jobs import processes
from lib.sweeps import plan as plans
from lib.sweeps.plan import SweepPlan, SweepState
from lib.sweeps.seeds import SeedSweep


@dataclass(frozen=True)
class Walk(SweepPlan):
    folder, id_field = "walks", "walk_id"
    noun, nouns = "walk", "walks"
    entries = ()

    walk_id: str = ""
    created_s: float = 0.0
    steps: int = 1

    @classmethod
    def parse(cls, content):
        if content["steps"] > 9:
            raise UserError("too far")
        return cls(**content)


FIRST, SECOND = Walk("ab10", 1.0), Walk("ab22", 2.0, steps=3)


@pytest.fixture(autouse=True)
def _kept(home):
    FIRST.write()
    SECOND.write()


def test_plans_are_found_by_their_id_the_beginning_of_it_or_as_the_latest():
    assert Walk.newest_first() == [SECOND, FIRST]
    assert Walk.find("latest") == Walk.find("ab2") == SECOND
    assert Walk.find("ab10") == FIRST
    assert FIRST.path(".plan.json").is_file()


@pytest.mark.parametrize("wrong", ["ab", "cd", "", "zz", "../ab10"])
def test_an_id_that_is_unknown_or_means_several_names_those_that_there_are(wrong):
    with pytest.raises(UserError, match=r"There is no walk '.*'; the walks here: ab22, ab10\."):
        Walk.find(wrong)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"walk_id": "aa", "created_s": 3, "steps": 10}'])
def test_a_plan_that_cannot_be_read_is_passed_over(content):
    Walk("aa").path(".plan.json").write_text(content)
    assert Walk.newest_first() == [SECOND, FIRST]


@pytest.fixture
def quick_silence(monkeypatch):
    """Half a minute of silence is half a second here."""
    for module in (processes, plans):
        monkeypatch.setattr(module, "HEARTBEAT_STALE_S", 0.5)
    monkeypatch.setattr(plans, "HEARTBEAT_INTERVAL_S", 0.1)
    monkeypatch.setattr(processes, "WATCH_S", 0.2)
    monkeypatch.setattr(processes, "_beats", {})


@pytest.mark.slow
def test_a_sweep_of_a_dead_machine_reads_as_ended_and_a_live_one_goes_on(quick_silence):
    plan = SeedSweep(group_id="ab12", num_seeds=2, config={})
    state = SweepState(state="running", pid=1, pid_started_s=1.0, host="elsewhere")
    plan.keep(state)
    with plan.heartbeats():
        time.sleep(1.2)
        assert plan.read().state == "running"
    deadline = time.monotonic() + 20
    while plan.read().is_active:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert plan.read().state == "failed"

    plan.keep(dataclasses.replace(state, step="again"))
    os.utime(plan.path(), (1.0, 1.0))
    assert plan.stop_and_wait().state == "stopped"
    assert json.loads(plan.path().read_text())["state"] == "running"  # nobody wrote into what is not ours
